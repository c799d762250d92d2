"""Looking at what is stored: listings with sizes, heads, pieces of an object; in a bucket and in a folder alike."""

from __future__ import annotations

import time

import pytest
from fastcrc import crc64

from transforms.cos.folder_store import FolderStore
from transforms.cos.store import StoredSize
from transforms.errors import DestinationError

BODY = bytes(range(256)) * 3000


def test_a_listing_tells_sizes_and_goes_on_behind_a_key(any_store):
    for number in range(5):
        any_store.put(f"t/{number}", b"x" * number, {})
    assert list(any_store.list_objects("t/")) == [StoredSize(f"t/{number}", number) for number in range(5)]
    assert [found.key for found in any_store.list_objects("t/", after="t/2")] == ["t/3", "t/4"]
    assert list(any_store.list_objects("t/", after="t/4")) == []


def test_a_head_tells_of_an_object_and_of_none(any_store):
    any_store.put("t/a.avro", BODY, {"messages": "7"})
    head = any_store.head("t/a.avro")
    assert head is not None
    assert head.size == len(BODY)
    assert abs(head.modified - time.time()) < 3600
    if isinstance(any_store, FolderStore):
        assert (head.crc64, head.metadata) == (None, {})
    else:
        assert head.crc64 == crc64.xz(BODY)
        assert head.metadata["messages"] == "7"
    assert any_store.head("t/none") is None


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 10), (700_000, None), (5, 300_000), (767_000, 10_000_000)])
def test_a_piece_of_an_object_is_read(any_store, start, stop):
    any_store.put("t/a", BODY, {})
    assert b"".join(any_store.read("t/a", start, stop)) == BODY[start:stop]


def test_a_piece_goes_on_where_its_connection_broke(server, store):
    store.put("t/a", BODY, {})
    server.faults.add("short", operation="GetObject", nth=1)
    assert b"".join(store.read("t/a", 1000, 700_000)) == BODY[1000:700_000]
    assert server.requests["GetObject"] == 2


def test_what_is_not_there_cannot_be_read(any_store):
    with pytest.raises(DestinationError):
        b"".join(any_store.read("t/none"))
