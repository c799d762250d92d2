"""A manifest is derived from what stands at the destination, in a bucket and in a folder alike."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.transforms.cos.made_files import LAYOUT, MINUTES, NOON, TOPIC, put_file
from transforms.cos.destination import parse_destination
from transforms.cos.object_metadata import NAMES, metadata_of
from transforms.cos.window_manifest import ManifestSettings, ManifestWriter, WindowOfTopic
from transforms.errors import AccessError, ArchivedError
from transforms.files.manifest import GapFound, Manifest, PartitionRead, from_json, moment
from transforms.files.naming import DEFAULT_PATH, QUARANTINE_LANE
from transforms.files.roll import OpenFile
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.testing.cos_server import TEST_BUCKET

FOLDER = LAYOUT.folder(TopicPartition(TOPIC), NOON)
WANTED = WindowOfTopic(TOPIC, NOON)
SETTINGS = ManifestSettings(parse_destination("file:///nowhere/"), LAYOUT, "avro", "run-1", "orders")


def writer(store, known=(), **changed):
    known = {made.key: made.facts for made in known}
    return ManifestWriter(store, replace(SETTINGS, **changed), known.get)


def stored(store, number):
    key = f"{FOLDER}_manifest-20260301T120000Z-300s-avro-{number:04d}.json"
    return from_json(Manifest, b"".join(store.read(key)), key)


def names(manifest):
    return [file.name for file in manifest.files]


def test_a_manifest_says_what_the_objects_are_whatever_is_known_of_them(any_store):
    made = [
        put_file(any_store, 10, index=0),
        put_file(any_store, 5, 7, index=3),
        put_file(any_store, 90, 1, index=3, with_metadata=False),  # as an older version wrote it
    ]
    # Of other windows, lengths of windows and formats.
    put_file(any_store, 1, window=NOON + MINUTES)
    put_file(any_store, 1, layout=replace(LAYOUT, granularity=30))
    put_file(any_store, 1, kind=("jsonl", "gzip"))
    any_store.put(f"{FOLDER}20260301T120000Z-300s-notes.avro", b"somebody's", {})
    read = (PartitionRead(topic=TOPIC, partition=0, start=Position(7, 0), stop=Position(7, 13), messages=3),)
    gaps = (GapFound(topic=TOPIC, partition=0, start=Position(1, 0), stop=Position(2, 0), certain=True),)
    manifest = writer(any_store, made[:1]).write(replace(WANTED, read=read, gaps=gaps))
    assert manifest == stored(any_store, 0)
    assert (manifest.topic, manifest.window, manifest.granularity) == (TOPIC, moment(NOON), 300)
    assert (manifest.format, manifest.number, manifest.run, manifest.rule) == ("avro", 0, "run-1", "orders")
    assert (manifest.read, manifest.gaps) == (read, gaps)
    assert names(manifest) == sorted(each.name for each in made)
    by_name = {each.name: each.facts for each in made}
    for file in manifest.files:
        facts = by_name[file.name]
        assert (file.bytes, file.crc64) == (facts.bytes, str(facts.crc64))
        assert (file.first_publish_time, file.last_publish_time) == (facts.first_time, facts.last_time)
        assert file.messages == file.last.entry - file.first.entry + 1
        assert not file.quarantined
    assert [(file.partition, file.first) for file in manifest.files] == [
        (0, Position(7, 10)),
        (3, Position(7, 5)),
        (3, Position(7, 90)),
    ]


def test_nothing_new_writes_nothing_and_what_comes_late_has_a_further_one(any_store):
    writes = writer(any_store)
    assert writes.write(WANTED) is None
    first = put_file(any_store, 10)
    assert writes.write(WANTED) is not None
    assert writes.write(WANTED) is None
    late = [put_file(any_store, 20), put_file(any_store, 21, 1, lane=QUARANTINE_LANE)]
    manifest = writer(any_store, run="run-2", rule=None).write(WANTED)
    assert (manifest.number, manifest.run, manifest.rule) == (1, "run-2", None)
    assert [(file.name, file.quarantined) for file in manifest.files] == [
        (late[0].name, False),
        (late[1].name, True),
    ]
    assert names(stored(any_store, 0)) == [first.name]
    assert writes.write(WANTED) is None


def test_the_same_name_in_quarantine_is_another_file(any_store):
    put_file(any_store, 10)
    writer(any_store).write(WANTED)
    put_file(any_store, 10, lane=QUARANTINE_LANE)
    manifest = writer(any_store).write(WANTED)
    assert [file.quarantined for file in manifest.files] == [True]


@pytest.mark.parametrize("template", ["{topic}/", "{topic}/%H/", DEFAULT_PATH])
def test_windows_with_files_are_found_between_two_times(any_store, template):
    layout = replace(LAYOUT, template=template)
    stored = [NOON + number * MINUTES for number in (-40, -13, -12, 0, 1, 5, 40)]
    for window in stored:
        put_file(any_store, 10, window=window, layout=layout)
        put_file(any_store, 20, window=window, index=1, layout=layout)
    put_file(any_store, 1, window=NOON + 2 * MINUTES, layout=layout, kind=("jsonl", "none"))
    put_file(any_store, 1, window=NOON + 3 * MINUTES, layout=replace(layout, granularity=60))
    finds = writer(any_store, layout=layout)
    finds.write(WANTED)
    assert finds.stored_windows(TOPIC, NOON - 12 * MINUTES + 7, NOON + 5 * MINUTES) == set(stored[2:5])
    assert finds.stored_windows(TOPIC, NOON - 100 * MINUTES, NOON + 100 * MINUTES) == set(stored)
    assert finds.stored_windows(TOPIC, 0, 0) == set()


def test_a_topic_without_partitions_has_none_in_its_manifest(any_store):
    put_file(any_store, 10, index=-1)
    manifest = writer(any_store).write(replace(WANTED, unpartitioned=True))
    assert manifest.files[0].partition == -1


def test_other_formats_have_manifests_of_their_own(any_store):
    put_file(any_store, 10)
    made = put_file(any_store, 10, kind=("jsonl", "zstd"))
    writer(any_store).write(WANTED)
    manifest = writer(any_store, format_name="jsonl").write(WANTED)
    assert (manifest.number, names(manifest)) == (0, [made.name])
    assert manifest.files[0].crc64 == str(made.facts.crc64)


def test_two_writers_at_once_name_each_file_once(any_store):
    writers = [writer(any_store, run=f"run-{number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for first in range(0, 60, 10):
            put_file(any_store, first)
            list(pool.map(lambda each: each.write(WANTED), writers))
    keys = [key for key in any_store.list_keys(FOLDER) if "_manifest" in key]
    found = [from_json(Manifest, b"".join(any_store.read(key)), key) for key in keys]
    assert [manifest.number for manifest in found] == list(range(6))
    assert [len(manifest.files) for manifest in found] == [1] * 6
    assert len({name for manifest in found for name in names(manifest)}) == 6


def test_what_is_damaged_is_said_and_does_not_stop_the_others(any_store, caplog):
    caplog.set_level(logging.WARNING)
    made = put_file(any_store, 10)
    any_store.put(made.key.replace("7.", "8."), b"Obj\x01", {})
    any_store.put_part(f"{FOLDER}_manifest-20260301T120000Z-300s-avro-0004.json", b'{"kind": "manifest"}')
    manifest = writer(any_store).write(WANTED)
    assert (manifest.number, names(manifest)) == (5, [made.name])
    said = caplog.messages
    assert len(said) == 2
    assert said[0].endswith("What it named is named again.")
    assert said[1].endswith("No manifest names it.")


def test_known_files_cost_no_request_and_are_believed_only_where_the_size_is_right(server, store):
    made = [put_file(store, 10 * number) for number in range(20)]
    changed = made[3]._replace(facts=made[3].facts._replace(bytes=1, crc64=7))
    before = server.requests["HeadObject"]
    manifest = writer(store, [*made[:3], changed, *made[4:]]).write(WANTED)
    assert server.requests["HeadObject"] - before == 1
    assert server.requests["GetObject"] == 0
    assert [file.crc64 for file in manifest.files] == [str(each.facts.crc64) for each in made]


def test_quarantine_is_looked_at_where_there_may_be_one(server, store):
    put_file(store, 10)
    before = server.requests["GetBucket"]
    plain = writer(store, quarantines=False)
    for _ in range(3):
        plain.write(WANTED)
    assert server.requests["GetBucket"] - before == 1 + 3 * 2
    made = put_file(store, 20, lane=QUARANTINE_LANE)
    assert names(writer(store, quarantines=False).write(WANTED)) == [made.name]
    made = put_file(store, 30, lane=QUARANTINE_LANE)
    assert names(writer(store).write(WANTED)) == [made.name]


def test_one_line_tells_of_a_manifest(any_store, caplog):
    caplog.set_level(logging.INFO)
    put_file(any_store, 10, 4)
    writer(any_store).write(WANTED)
    (record,) = [each for each in caplog.records if "_manifest" in each.message]
    key = f"{FOLDER}_manifest-20260301T120000Z-300s-avro-0000.json"
    assert record.message == f"wrote {key}: 1 files, 4 messages"
    assert record.fields == {
        "manifest": key,
        "topic": TOPIC,
        "window": "2026-03-01T12:00:00Z",
        "files": 1,
        "messages": 4,
    }


def test_a_manifest_is_at_hand_where_files_are_archived(server, make_store):
    archived = make_store(headers={"x-cos-storage-class": "ARCHIVE", "x-cos-server-side-encryption": "AES256"})
    made = put_file(archived, 10)
    writer(archived).write(WANTED)
    key = f"{FOLDER}_manifest-20260301T120000Z-300s-avro-0000.json"
    kept = {}
    for each in (made.key, key):
        found, content = server.disk.open_object(TEST_BUCKET, each)
        content.close()
        kept[each] = {name.lower(): value for name, value in found.headers.items()}
    assert kept[made.key]["x-cos-storage-class"] == "ARCHIVE"
    assert "x-cos-storage-class" not in kept[key]
    assert kept[key]["x-cos-server-side-encryption"] == "AES256"


def test_a_missing_permission_names_it(server, store):
    put_file(store, 10)
    writer(store).write(WANTED)
    put_file(store, 20)
    server.faults.add("access-denied", operation="GetObject", key="*_manifest-*", times=10)
    with pytest.raises(AccessError, match=r"Grant it name/cos:GetObject"):
        writer(store).write(WANTED)


def test_the_metadata_of_an_object_fits_into_what_is_kept_free_for_it():
    largest = Position(2**63 - 1, 2**63 - 1, 2**31 - 1)
    file = OpenFile(
        253_402_300_799_000, "", b"", largest, largest, 999_999, 10**12, first_time=2**64 - 1, last_time=2**64 - 1
    )
    metadata = metadata_of(file, 2**64 - 1) | {"content-crc64": str(2**64 - 1)}
    assert metadata.keys() == NAMES
    assert sum(len(f"x-cos-meta-{name}{value}") for name, value in metadata.items()) <= 512


def test_an_archived_manifest_leaves_what_came_late_unnamed_and_ends_nothing(any_store, monkeypatch, caplog):
    put_file(any_store, 0)
    assert writer(any_store).write(WANTED) is not None
    put_file(any_store, 10)

    def archived(key, *_):
        raise ArchivedError(f"{key} is archived")

    with monkeypatch.context() as patched:
        patched.setattr(any_store, "read", archived)
        assert writer(any_store).write(WANTED) is None
    assert "gets no further manifest" in caplog.text
    assert writer(any_store).write(WANTED) is not None
    assert len(names(stored(any_store, 1))) == 1
