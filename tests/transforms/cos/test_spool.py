"""Parts of large files: kept, joined and deleted, in a bucket and in folders, by state that others read and by none."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastcrc import crc64

from tests.transforms.cos.joining import META, MIB, files
from transforms.cos.folder_store import FolderStore
from transforms.cos.spool import GrowingFiles, SpooledObjects, spool_of
from transforms.errors import DestinationError, ObjectConflictError
from transforms.files.assemble import Body, Part
from transforms.files.naming import Layout, StoredRun
from transforms.files.pieces import Pieces
from transforms.files.roll import OpenFile
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

LAYOUT = Layout(prefix="backup/")
PARTITION = TopicPartition("persistent://shop/orders/paid", 3)
FIRST = Position(7, 0, 0)
KEY = LAYOUT.file(PARTITION, "", 0, StoredRun(FIRST, Position(7, 9, 0), 10), "avro")
CONTENT = os.urandom(4 * MIB + 8192 + 5)
#: Where parts end, and behind the last of them the tail.
ENDS = [MIB, 2 * MIB + 4096, 4 * MIB + 8192]


@pytest.fixture(params=["bucket", "folder", "folder, by reference"])
def spool(request, tmp_path):
    if request.param == "bucket":
        return spool_of(request.getfixturevalue("store"), LAYOUT, "avro", by_reference=True)
    return spool_of(FolderStore(tmp_path), LAYOUT, "avro", by_reference="reference" in request.param)


@pytest.fixture
def growing(tmp_path):
    return spool_of(FolderStore(tmp_path), LAYOUT, "avro", by_reference=True)


def keep(spool, ends=ENDS, content=CONTENT) -> OpenFile:
    """Keep the parts of a file, all at once."""
    file = OpenFile(0, "", b"", FIRST, FIRST)
    with ThreadPoolExecutor() as pool:
        keeping = []
        for begin, end in zip([0, *ends], ends, strict=False):
            name = spool.part_of(PARTITION, file)
            if name not in file.parts:
                file.parts += (name,)
            keeping.append(pool.submit(spool.keep, name, Part(begin, Pieces(content[begin:end]))))
        for each in keeping:
            each.result()
    return file


def body(file, content=CONTENT, end=ENDS[-1]) -> Body:
    return Body(file.parts, Pieces(content[end:]), len(content), crc64.xz(content), 0)


def test_only_a_folder_of_this_process_has_files_that_grow(store, tmp_path):
    kinds = [
        type(spool_of(place, LAYOUT, "avro", by_reference=by_reference))
        for place in (store, FolderStore(tmp_path))
        for by_reference in (False, True)
    ]
    assert kinds == [SpooledObjects, SpooledObjects, SpooledObjects, GrowingFiles]


def test_an_object_is_its_parts_and_the_tail_and_nothing_is_left_of_them(spool):
    store = spool._store
    assert spool.join(KEY, body(keep(spool)), META) is True
    assert b"".join(store.read(KEY)) == CONTENT
    assert list(store.list_keys("")) == [KEY]
    assert spool.join(KEY, body(keep(spool)), META) is False
    assert list(store.list_keys("")) == [KEY]


@pytest.mark.parametrize("tail", [0, 1, 4096, 100_000])
def test_a_tail_may_have_any_size(spool, tail):
    content = CONTENT[: ENDS[1]] + os.urandom(tail)
    assert spool.join(KEY, body(keep(spool, ENDS[:2]), content, ENDS[1]), META) is True
    assert b"".join(spool._store.read(KEY)) == content


def test_deleted_parts_leave_nothing(spool, tmp_path):
    file = keep(spool)
    spool.delete(file.parts)
    spool.delete(file.parts)
    assert list(spool._store.list_keys("")) == []


def test_a_growing_file_is_hidden_below_the_spool(growing, tmp_path):
    file = keep(growing)
    (hidden,) = files(tmp_path)
    assert file.parts == (hidden,)
    assert hidden.startswith("backup/_spool/")
    assert list(growing._store.list_keys("")) == []
    growing.delete(file.parts)
    assert files(tmp_path) == []


def test_two_files_that_begin_alike_grow_apart(growing, tmp_path):
    """Such as those of two runs at once, whose records may differ."""
    one, other = keep(growing), keep(growing, content=CONTENT[::-1])
    assert one.parts != other.parts
    assert growing.join(KEY, body(one), META) is True
    with pytest.raises(ObjectConflictError, match="taken by other content"):
        growing.join(KEY, body(other, CONTENT[::-1]), META)
    assert files(tmp_path) == [KEY]
    assert (tmp_path / KEY).read_bytes() == CONTENT


def test_the_next_run_removes_the_growing_file_of_a_killed_one(tmp_path):
    script = (
        "import os, sys\n"
        "from tests.transforms.cos.test_spool import *\n"
        "keep(spool_of(FolderStore(sys.argv[1]), LAYOUT, 'avro', by_reference=True))\n"
        "os._exit(9)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, cwd=Path(__file__).parents[3], check=False).returncode == 9
    assert len(files(tmp_path)) == 1
    assert list(FolderStore(tmp_path, clean=False).list_keys("backup/_spool/")) == []
    assert len(files(tmp_path)) == 1
    assert list(FolderStore(tmp_path).list_keys("backup/_spool/")) == []
    assert files(tmp_path) == []


def test_a_growing_file_that_was_deleted_is_not_made_again_with_a_hole(growing, tmp_path):
    file = keep(growing)
    (tmp_path / file.parts[0]).unlink()
    with pytest.raises(DestinationError, match="is not there"):
        growing.keep(file.parts[0], Part(ENDS[-1], Pieces(b"x" * 4096)))
    with pytest.raises(DestinationError, match="is not there"):
        growing.join(KEY, body(file), META)
    assert files(tmp_path) == []


def test_a_growing_file_of_another_size_does_not_become_an_object(growing, tmp_path):
    file = keep(growing)
    os.truncate(tmp_path / file.parts[0], 4096)
    with pytest.raises(DestinationError, match=f"has 4096 bytes instead of {ENDS[-1]}. Check the disk"):
        growing.join(KEY, body(file), META)
    assert files(tmp_path) == []


def test_what_the_file_system_refuses_is_said_plainly_and_leaves_nothing(growing, tmp_path, monkeypatch):
    file = keep(growing)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DestinationError, match=f"The file system of {tmp_path} is full"):
        growing.join(KEY, body(file), META)
    assert files(tmp_path) == []
