"""What a run leaves beside its files: manifests and a record. That each file is in one, reading_back.py proves."""

from __future__ import annotations

import json
from datetime import datetime

from tests.pipelines.backups import backup, refused
from tests.pipelines.documents import manifests, run_records
from tests.pipelines.reading_back import assert_holds, check_documents, messages_in, unnamed
from transforms.files.manifest import PartitionRead, moment
from transforms.pulsar.positions import EARLIEST, Position
from transforms.testing.cos_faults import ALWAYS
from transforms.testing.producers import produce_avro_versions
from transforms.testing.raw_producer import Message, send_raw

#: 2026-03-01T12:00:00Z
NOON = 1_772_366_400_000
SECOND, MINUTE = 1_000, 60_000


def send_at(broker, partition: str, times: list[int]) -> list[Position]:
    messages = [Message(b"%d" % number, publish_time=time) for number, time in enumerate(times)]
    return [each.position for each in send_raw(broker.service_url, partition, messages)]


def test_windows_have_manifests_and_the_run_a_record(broker, topic, bucket, folder):
    name = topic(partitions=3)
    zero, one = (f"{name}-partition-{index}" for index in range(2))
    sent = {
        # Ten windows, two of them in the other partition as well, and one long before.
        zero: send_at(broker, zero, [NOON + number * 30 * SECOND for number in range(100)]),
        one: send_at(broker, one, [NOON - 60 * MINUTE, *(NOON + number * SECOND for number in range(400))]),
    }
    run = backup(broker, name, bucket, "--subscription=manifests", "--log_format=json")
    assert_holds(messages_in(bucket), sent)
    found = manifests(bucket)
    windows = [NOON - 60 * MINUTE, *(NOON + number * 5 * MINUTE for number in range(10))]
    assert [(each.window, each.number) for each in found] == [(moment(window), 0) for window in windows]
    assert {(each.run, each.rule, each.topic, each.gaps) for each in found} == {(run.summary["run"], None, name, ())}
    behind = [places[-1].next_message() for places in sent.values()]
    end = found[-1].read
    assert end == (
        PartitionRead(topic=name, partition=0, start=start_of(run, zero), stop=behind[0], messages=100),
        PartitionRead(topic=name, partition=1, start=start_of(run, one), stop=behind[1], messages=401),
        PartitionRead(topic=name, partition=2, start=end[2].start, stop=end[2].start, messages=0),
    )
    folders = [f"{key.rpartition('/')[0]}/" for key in bucket.documents() if "_manifest-" in key]
    told = [line for line in map(json.loads, run.errors.splitlines()) if "manifest" in line]
    assert sorted((line["manifest"], line["files"]) for line in told) == [
        (f"{key}{each.name}", len(each.files)) for key, each in zip(folders, found, strict=True)
    ]

    (record,) = run_records(bucket)
    assert (record.run, record.rule) == (run.summary["run"], None)
    assert (record.started, record.ended) == (
        datetime.fromisoformat(run.summary["started"]),
        datetime.fromisoformat(run.summary["finished"]),
    )
    assert (record.granularity, record.format, record.payload, record.window_by) == (
        300,
        "avro",
        "bytes",
        "publish_time",
    )
    assert (record.files, record.bytes) == (run.summary["files"], run.summary["file_bytes"])
    # The third partition has nothing to be read.
    assert [(each.partition, each.messages, str(each.stop)) for each in record.read] == [
        (0, 100, run.partition(zero)["stop"]),
        (1, 401, run.partition(one)["stop"]),
    ]
    assert (record.gaps, record.schemas, record.compacted) == ((), (), False)

    # There is nothing more, and nothing more is said.
    before = bucket.everything()
    backup(broker, name, bucket, "--start=subscription", "--subscription=manifests")
    assert bucket.everything() == before
    # What comes late is in a further one, and nothing else is written.
    sent[zero] += send_at(broker, zero, [NOON])
    backup(broker, name, bucket, "--start=subscription", "--subscription=manifests")
    assert_holds(messages_in(bucket), sent)
    assert len(bucket.everything()) == len(before) + 3
    (late,) = (each for each in manifests(bucket) if each.number == 1)
    assert (late.window, [(file.first, file.messages) for file in late.files]) == (moment(NOON), [(sent[zero][-1], 1)])
    assert [each.messages for each in late.read] == [1, 0, 0]

    backup(broker, name, folder, "--manifest=off")
    assert_holds(messages_in(folder, named=False), sent)
    assert folder.documents() == []
    # They can be had later.
    backup(broker, name, folder)
    assert_holds(messages_in(folder), sent)
    assert [(each.window, len(each.files)) for each in manifests(folder)] == [
        (moment(window), 3 if window == NOON else 2 if window == NOON + 5 * MINUTE else 1) for window in windows
    ]


def start_of(run, partition: str) -> Position:
    return Position(*map(int, run.partition(partition)["start"].split(":")))


def test_a_run_that_cannot_write_manifests_fails_and_the_next_one_writes_them(broker, topic, bucket):
    name = topic()
    sent = {name: send_at(broker, name, [NOON + number * MINUTE for number in range(20)])}
    bucket.server.faults.add("access-denied", operation="PutObject", key="*_manifest-*", times=ALWAYS)
    run = refused(broker, name, bucket, "--subscription=ours")
    assert run.code == 3
    assert "Grant it name/cos:PutObject there" in run.errors
    assert bucket.documents() == []
    assert len(unnamed(bucket)) > 0
    bucket.server.faults.clear()
    run = backup(broker, name, bucket, "--subscription=ours", "--start=subscription")
    assert run.summary["messages"] == 20
    assert_holds(messages_in(bucket), sent)
    assert [len(each.files) for each in manifests(bucket)] == [1, 1, 1, 1]


def test_payloads_under_their_schema_are_named_with_those_in_quarantine_and_schemas_are_kept(broker, topic, bucket):
    name = topic()
    sent = produce_avro_versions(broker.service_url, broker.admin, name)
    fits_not = send_raw(broker.service_url, name, [Message(b"\xff" * 20, schema_version=1)])
    backup(broker, name, bucket, "--payload=value")
    assert check_documents(bucket) == set()
    files = [file for each in manifests(bucket) for file in each.files]
    assert [file.first for file in files if file.quarantined] == [fits_not[0].position]
    (record,) = run_records(bucket)
    assert record.read[0].messages == sum(file.messages for file in files) == len(sent) + 1
    assert [(each.topic, each.schema_version, each.type) for each in record.schemas] == [
        (name, 0, "AVRO"),
        (name, 1, "AVRO"),
    ]
    assert b'"city"' in record.schemas[1].definition
    assert b'"city"' not in record.schemas[0].definition
    assert record.read[0].start in (EARLIEST, sent[0].position)
