from __future__ import annotations

import random

import pytest

from tests.pipelines.backups import Bucket, backup
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.pulsar.positions import Position
from transforms.testing.cos_server import TEST_BUCKET
from transforms.testing.raw_producer import Message, send_raw

NOON = 1_772_366_400_000

FORMATS = [
    ["--format=avro", "--codec=null"],
    ["--format=avro", "--codec=deflate"],
    ["--format=avro", "--codec=snappy"],
    ["--format=avro", "--codec=zstandard"],
    ["--format=jsonl", "--codec=none"],
    ["--format=jsonl", "--codec=gzip"],
    ["--format=jsonl", "--codec=zstd"],
    ["--format=jsonl", "--payload=json"],
]


@pytest.fixture(scope="module")
def disordered(broker) -> tuple[str, dict[str, list[Position]]]:
    """Two partitions, singly sent and in batches, over a dozen windows and out of order in time."""
    broker.admin.create_namespace("test/again")
    name = f"persistent://test/again/disordered-{random.SystemRandom().randrange(10**9)}"
    broker.admin.create_partitioned_topic(name, 2)
    source = random.Random(1)
    sent = {}
    for partition in (f"{name}-partition-{index}" for index in range(2)):
        sent[partition] = []
        for start in range(0, 600, 20):
            time = NOON + start * 6_000 - source.randrange(120_000)
            messages = [
                Message(source.randbytes(source.randrange(300)), key=f"k{number % 7}", publish_time=time)
                for number in range(start, start + 20)
            ]
            sent[partition] += [
                each.position for each in send_raw(broker.service_url, partition, messages, batch=start % 40 == 0)
            ]
    return name, sent


def assert_nothing_written(bucket: Bucket, requests) -> None:
    # Each run proves with an object of its own, which it deletes, that it may write; and leaves a record.
    assert (requests["PutObject"], requests["DeleteObject"]) == (2, 1)
    assert requests["InitiateMultipartUpload"] == requests["CompleteMultipartUpload"] == 0
    assert requests["PUT"] == 2


@pytest.mark.parametrize("options", FORMATS)
def test_a_second_run_writes_nothing_and_an_empty_bucket_gets_the_same(broker, disordered, new_bucket, options):
    name, sent = disordered
    first, second = new_bucket(), new_bucket()
    backup(broker, name, first, *options)
    if "--payload=json" not in options:
        assert_holds(messages_in(first), sent)
    before, written = first.contents(), first.written()
    with first.counted() as requests:
        run = backup(broker, name, first, *options)
    assert_nothing_written(first, requests)
    assert first.written() == written
    assert run.summary["files"] == 0
    assert run.summary["messages"] == run.summary["already_stored"] == 1200
    backup(broker, name, second, *options)
    assert second.contents() == before


def test_a_second_run_into_a_folder_writes_nothing(broker, disordered, folder):
    name, sent = disordered
    backup(broker, name, folder)
    assert_holds(messages_in(folder), sent)
    before = {key: (folder.path / key).stat().st_mtime_ns for key in folder.listed()}
    run = backup(broker, name, folder)
    assert {key: (folder.path / key).stat().st_mtime_ns for key in folder.listed()} == before
    assert (run.summary["files"], run.summary["already_stored"]) == (0, 1200)


def test_a_folder_and_a_bucket_get_the_same(broker, disordered, folder, bucket):
    name, _ = disordered
    backup(broker, name, folder)
    backup(broker, name, bucket)
    assert {bucket.prefix + key: folder.read(key) for key in folder.listed()} == bucket.contents()


@pytest.mark.parametrize(("most", "budget"), [(7, "64MB"), (59, "1GB")])
def test_memory_budgets_make_no_difference_whatever_the_size_of_files(broker, disordered, new_bucket, most, budget):
    name, sent = disordered
    first, second = new_bucket(), new_bucket()
    options = [f"--max_file_messages={most}"]
    backup(broker, name, first, *options)
    assert_holds(messages_in(first, most=most), sent)
    backup(broker, name, second, *options, f"--memory_budget={budget}")
    assert second.contents() == first.contents()


def test_a_run_with_other_limits_writes_nothing_that_is_stored(broker, disordered, bucket):
    name, sent = disordered
    backup(broker, name, bucket, "--max_file_messages=37")
    written = bucket.written()
    backup(broker, name, bucket, "--max_file_messages=5000", "--memory_budget=64MB")
    backup(broker, name, bucket, "--max_file_messages=3", "--codec=null")
    assert bucket.written() == written
    assert_holds(messages_in(bucket, most=37), sent)


def test_objects_that_are_lost_are_written_again_and_no_others(broker, disordered, bucket):
    name, sent = disordered
    backup(broker, name, bucket, "--max_file_messages=50")
    before, written = bucket.contents(), bucket.written()
    lost = random.Random(2).sample(list(before), 7)
    for key in lost:
        bucket.server.disk.delete(TEST_BUCKET, key)
    run = backup(broker, name, bucket, "--max_file_messages=50")
    assert_holds(messages_in(bucket, most=50), sent)
    assert {key: time for key, time in bucket.written().items() if key not in lost} == {
        key: time for key, time in written.items() if key not in lost
    }
    assert 0 < run.summary["files"] <= 7


def test_the_other_format_is_a_backup_of_its_own(broker, disordered, bucket):
    name, sent = disordered
    backup(broker, name, bucket, "--format=avro")
    backup(broker, name, bucket, "--format=jsonl")
    kinds = {"avro": Only(bucket, ".avro"), "jsonl": Only(bucket, ".jsonl.gz")}
    for only in kinds.values():
        assert_holds(messages_in(only), sent)


class Only:
    """The objects of a bucket that end so."""

    def __init__(self, bucket: Bucket, ending: str) -> None:
        self.prefix, self.read, self.options = bucket.prefix, bucket.read, bucket.options
        self._bucket, self._ending, self.everything = bucket, ending, bucket.everything

    def listed(self) -> list[str]:
        return [key for key in self._bucket.listed() if key.endswith(self._ending)]

    def documents(self) -> list[str]:
        kind = self._ending.split(".")[1]
        return [key for key in self._bucket.documents() if f"-{kind}-" in key]


@pytest.mark.parametrize("seed", range(2))
def test_runs_over_ranges_that_overlap_store_each_message_once(broker, client, topic, bucket, seed):
    name = topic()
    places = send(client, name, numbered(300), batch=10)
    source = random.Random(seed)
    covered: set[Position] = set()
    for _ in range(5):
        first, last = sorted(source.sample(range(300), 2))
        options = [f"--start={places[first]}", f"--end={places[last]}", f"--max_file_messages={source.choice([7, 50])}"]
        backup(broker, name, bucket, *options)
        covered |= set(places[first : last + 1])
        assert_holds(messages_in(bucket), {name: sorted(covered)})
    written = bucket.written()
    backup(broker, name, bucket)
    assert_holds(messages_in(bucket), {name: places})
    assert written.items() <= bucket.written().items()
