"""Bodies that lie in several pieces, in a bucket and in a folder alike."""

from __future__ import annotations

import random

import pytest
from fastcrc import crc64

from tests.transforms.cos.joining import KEY, META, MIB
from transforms.cos.folder_store import FolderStore
from transforms.cos.store import ObjectStore
from transforms.errors import DestinationError
from transforms.files.pieces import Pieces

CONTENT = random.Random(1).randbytes(3 * MIB + 5)
VIEW = memoryview(CONTENT)
PIECES = Pieces(CONTENT[:7], VIEW[7:MIB], VIEW[MIB : 3 * MIB], CONTENT[3 * MIB :])


def content(store: ObjectStore) -> bytes:
    return b"".join(store.read(KEY))


def test_an_object_of_pieces_holds_all_of_them(any_store):
    assert any_store.put(KEY, PIECES, META) is True
    assert content(any_store) == CONTENT
    assert any_store.put(KEY, PIECES, META) is False


def test_an_object_is_joined_of_parts_and_a_tail_in_pieces(any_store):
    any_store.put_part("_spool/0", PIECES)
    assert any_store.join(KEY, ["_spool/0"], PIECES, crc64.xz(CONTENT * 2), META) is True
    assert content(any_store) == CONTENT * 2


def test_an_object_of_no_pieces_is_empty(any_store):
    assert any_store.put(KEY, Pieces(), META) is True
    any_store.put_part("_spool/0", Pieces())
    assert content(any_store) == b"".join(any_store.read("_spool/0")) == b""


@pytest.mark.parametrize("fault", ["500", "reset-before", "reset-during", "reset-after", "corrupt"])
def test_all_pieces_are_sent_again_after_a_failure(server, store, fault):
    server.faults.add(fault, operation="PutObject", nth=1)
    assert store.put(KEY, PIECES, META) is True
    assert content(store) == CONTENT
    server.faults.add(fault, operation="PutObject", nth=1)
    store.put_part("backup/_spool/0", PIECES)
    server.faults.add(fault, operation="UploadPart", nth=1)
    key = KEY.replace("p0003", "p0004")
    assert store.join(key, ["backup/_spool/0"], PIECES, crc64.xz(CONTENT * 2), META) is True
    assert b"".join(store.read(key)) == CONTENT * 2


def test_a_part_that_was_damaged_on_the_disk_is_not_joined(tmp_path):
    store = FolderStore(tmp_path)
    store.put_part("_spool/0", PIECES)
    (tmp_path / "_spool/0").write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(DestinationError, match="its parts have CRC64"):
        store.join(KEY, ["_spool/0"], b"", crc64.xz(CONTENT), META)
