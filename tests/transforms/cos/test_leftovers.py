from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from tests.transforms.cos.joining import META, uploads
from transforms.cos.folder_store import FolderStore
from transforms.cos.leftovers import StoredRange, clear_leftovers
from transforms.files.naming import QUARANTINE_LANE, Layout, PartName, StoredRun
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.testing.cos_server import TEST_BUCKET

LAYOUT = Layout(prefix="backup/")
NOON = 1_772_366_400_000
TOPIC = "persistent://cluster/shop/orders"
THREE = TopicPartition(TOPIC, 3)
RANGE = StoredRange(THREE, Position(10, 0), Position(20, 0))
OURS = PartName(NOON, 300, 3, Position(10, 5), "", "avro", 0)


def part(name=OURS, *, layout=LAYOUT, partition=THREE):
    layout = replace(layout, granularity=name.granularity)
    return layout.part(partition, name.lane, name.window, name.first, name.number, name.format)


GO = [
    part(),
    part(OURS._replace(number=1)),
    part(OURS._replace(first=Position(10, 0))),
    part(OURS._replace(first=Position(19, 10**9, 7))),
    part(OURS._replace(lane="v000003")),
    part(OURS._replace(lane="vnone")),
    part(OURS._replace(lane=QUARANTINE_LANE)),
    part(OURS._replace(window=0)),
    "backup/_spool/probe-0123456789abcdef0123456789abcdef",
]
STAY = [
    part(OURS._replace(first=Position(9, 9))),
    part(OURS._replace(first=Position(20, 0))),
    part(OURS._replace(granularity=60)),
    part(OURS._replace(format="jsonl")),
    part(OURS._replace(partition=4), partition=TopicPartition(TOPIC, 4)),
    part(partition=TopicPartition("persistent://cluster/shop/orders2", 3)),
    part(partition=TopicPartition("persistent://cluster/other/orders", 3)),
    part(layout=replace(LAYOUT, prefix="backup/inner/")),
    part(layout=replace(LAYOUT, template="{topic}/")),
    "backup/_spool/notes.txt",
    part().replace("_spool/", ""),
]


@pytest.fixture(params=["bucket", "folder"])
def any_store(request, tmp_path):
    return FolderStore(tmp_path / "folder") if request.param == "folder" else request.getfixturevalue("store")


def test_parts_of_stored_messages_go_and_all_others_stay(any_store, caplog):
    for key in [*GO, *STAY]:
        any_store.put_part(key, b"part")
    with caplog.at_level(logging.INFO):
        clear_leftovers(any_store, LAYOUT, "avro", [RANGE])
    assert list(any_store.list_keys("")) == sorted(STAY)
    for key in GO:
        assert f"removed {key}, which an earlier run left behind" in caplog.text
    for key in STAY[:2]:
        assert f"left {key} of an earlier run: its messages are not all stored" in caplog.text


def test_a_part_outside_of_what_was_read_goes_once_an_object_holds_its_messages(store):
    before = OURS._replace(first=Position(5, 0))
    store.put_part(part(before), b"part")
    other_lane = before._replace(lane="v000001")
    store.put_part(part(other_lane), b"part")
    store.put(LAYOUT.file(THREE, "", NOON, StoredRun(Position(4, 0), Position(6, 0), 9), "avro"), b"file", META)
    clear_leftovers(store, LAYOUT, "avro", [RANGE])
    assert list(store.list_keys("backup/_spool/")) == [part(other_lane)]


def test_a_topic_without_partitions_is_not_taken_for_its_partition_0(store):
    alone, zero = TopicPartition("persistent://c/n/a"), TopicPartition("persistent://c/n/b", 0)
    name = OURS._replace(partition=0)
    for partition in (alone, zero):
        store.put_part(part(name, partition=partition), b"part")
    clear_leftovers(store, LAYOUT, "avro", [replace(RANGE, partition=alone)])
    assert list(store.list_keys("backup/_spool/")) == [part(name, partition=zero)]


def test_uploads_to_objects_of_stored_messages_are_ended_and_all_others_go_on(server, store, caplog):
    run = StoredRun(Position(10, 5), Position(12, 0), 7)
    ours = [
        LAYOUT.file(THREE, "", NOON, run, "avro"),
        LAYOUT.file(THREE, "v000001", NOON, run, "avro"),
        LAYOUT.file(THREE, QUARANTINE_LANE, NOON, run, "avro"),
    ]
    others = [
        LAYOUT.file(THREE, "", NOON, run._replace(first=Position(9, 0)), "avro"),
        LAYOUT.file(THREE, "", NOON, run, "jsonl.gz"),
        LAYOUT.file(TopicPartition(TOPIC, 4), "", NOON, run, "avro"),
        LAYOUT.file(TopicPartition("persistent://c/n/other", 3), "", NOON, run, "avro"),
        replace(LAYOUT, granularity=60).file(THREE, "", NOON, run, "avro"),
        replace(LAYOUT, prefix="other/").file(THREE, "", NOON, run, "avro"),
        "backup/something.else",
    ]
    for key in [*ours, *others]:
        server.disk.start_upload(TEST_BUCKET, key, {})
    with caplog.at_level(logging.INFO):
        clear_leftovers(store, LAYOUT, "avro", [RANGE])
    assert uploads(server) == sorted(others, key=str.encode)
    assert caplog.text.count("ended the multipart upload") == len(ours)


def test_without_the_permission_to_list_uploads_a_lifecycle_rule_is_said_to_be_needed(server, store, caplog):
    server.faults.add("access-denied", operation="ListMultipartUploads", times=9)
    store.put_part(part(), b"part")
    with caplog.at_level(logging.INFO):
        clear_leftovers(store, LAYOUT, "avro", [RANGE])
    assert "stay until a lifecycle rule ends them: The key that" in caplog.text
    assert "Grant it name/cos:ListMultipartUploads" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert list(store.list_keys("")) == []


@pytest.mark.parametrize("operation", ["GetBucket", "DeleteObject", "ListMultipartUploads", "AbortMultipartUpload"])
def test_what_cannot_be_cleared_is_a_warning_and_the_rest_is_cleared(server, store, caplog, monkeypatch, operation):
    monkeypatch.setattr("transforms.cos.leftovers._DEADLINE", 0.2)
    store.put_part(part(), b"part")
    run = StoredRun(Position(10, 5), Position(12, 0), 7)
    server.disk.start_upload(TEST_BUCKET, LAYOUT.file(THREE, "", NOON, run, "avro"), {})
    server.faults.add("503", operation=operation, times=1_000_000)
    clear_leftovers(store, LAYOUT, "avro", [RANGE])
    of_parts = operation in ("GetBucket", "DeleteObject")
    assert len(server.stored_keys(TEST_BUCKET)) == of_parts
    assert len(uploads(server)) == (not of_parts)
    assert f"left behind were not all {'removed' if of_parts else 'ended'}: Gave up after" in caplog.text
    server.faults.clear()
    clear_leftovers(store, LAYOUT, "avro", [RANGE])
    assert (server.stored_keys(TEST_BUCKET), uploads(server)) == ([], [])
