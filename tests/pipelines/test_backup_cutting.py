from __future__ import annotations

import random

import pytest

from tests.pipelines.backups import backup
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in, read_files
from transforms.pulsar.positions import Position
from transforms.testing.raw_producer import Message, send_raw

#: One window for all.
DAY = "--granularity=24h"


@pytest.mark.parametrize("most", [1, 7, 100, 101])
def test_files_are_cut_by_count(broker, client, topic, bucket, most):
    name = topic()
    places = send(client, name, numbered(100), batch=10)
    backup(broker, name, bucket, f"--max_file_messages={most}", DAY)
    assert_holds(messages_in(bucket, granularity=86400, most=most), {name: places})
    full, rest = divmod(100, most)
    assert [len(file.records) for file in read_files(bucket)] == [most] * full + [rest] * bool(rest)


def test_files_are_cut_at_5000_messages_unless_told_otherwise(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(12_000), batch=1000)
    backup(broker, name, bucket, DAY)
    assert_holds(messages_in(bucket, granularity=86400), {name: places})
    assert [len(file.records) for file in read_files(bucket)] == [5000, 5000, 2000]


@pytest.mark.parametrize("options", [["--format=avro", "--codec=null"], ["--format=jsonl", "--codec=none"]])
def test_files_are_cut_by_bytes_of_uncompressed_records(broker, client, topic, bucket, options):
    name = topic()
    source = random.Random(3)
    places = send(client, name, [source.randbytes(source.randrange(3000)) for _ in range(300)])
    backup(broker, name, bucket, "--max_file_bytes=20KB", DAY, *options)
    assert_holds(messages_in(bucket, granularity=86400), {name: places})
    files = read_files(bucket)
    sizes = [int(bucket.metadata(file.key)["records-bytes"]) for file in files]
    assert len(files) > 10
    assert max(sizes) <= 20_000
    # Full, but for the last: the first record of the next file would not have fitted. None is above 5 KB.
    assert all(size > 15_000 for size in sizes[:-1])


def test_a_record_above_the_limit_is_alone_in_its_file(broker, client, topic, bucket):
    name = topic()
    sizes = [10, 10, 50_000, 10, 60_000, 70_000, 10, 10]
    places = send(client, name, [bytes(size) for size in sizes])
    backup(broker, name, bucket, "--max_file_bytes=10KB", DAY)
    assert_holds(messages_in(bucket, granularity=86400), {name: places})
    lengths = [[len(record["payload"]) for record in file.records] for file in read_files(bucket)]
    assert lengths == [[10, 10], [50_000], [10], [60_000], [70_000], [10, 10]]


@pytest.mark.parametrize(
    "options",
    [
        ["--format=avro", "--codec=null"],
        ["--format=avro", "--codec=deflate"],
        ["--format=jsonl", "--codec=none"],
        ["--format=jsonl", "--codec=zstd"],
    ],
)
def test_a_large_file_is_spooled_in_parts_and_joined(broker, topic, bucket, options):
    name, sent, payloads = large_messages(broker, topic)
    with bucket.counted() as requests:
        backup(broker, name, bucket, DAY, "--memory_budget=64MB", *options)
    stored = messages_in(bucket, granularity=86400)
    assert_holds(stored, {name: sent})
    assert [record["payload"] for record in stored[name]] == payloads
    assert len(bucket.listed()) == 1, "parts are left"
    assert requests["UploadPartCopy"] >= 2
    assert requests["CompleteMultipartUpload"] == 1
    # The probe, and the parts that were spooled; all of them are deleted again. The manifest and the run record stay.
    assert requests["PutObject"] - 2 == requests["UploadPartCopy"] + 1 == requests["DeleteObject"]


def test_a_large_file_in_a_folder(broker, topic, folder):
    name, sent, payloads = large_messages(broker, topic)
    backup(broker, name, folder, DAY, "--memory_budget=64MB")
    stored = messages_in(folder, granularity=86400)
    assert_holds(stored, {name: sent})
    assert [record["payload"] for record in stored[name]] == payloads
    assert len(folder.listed()) == 1


def test_the_way_a_large_file_is_spooled_does_not_show_in_it(broker, topic, new_bucket):
    """The size of its parts follows from the memory budget and from how many partitions share it."""
    name, *_ = large_messages(broker, topic)
    others = [topic() for _ in range(7)]
    for other in others:
        send_raw(broker.service_url, other, [Message(b"one")])
    alone, together = new_bucket(), new_bucket()
    backup(broker, name, alone, DAY, "--memory_budget=2GB")
    backup(broker, [name, *others], together, DAY, "--memory_budget=64MB")
    parts = [bucket.server.requests["UploadPartCopy"] for bucket in (alone, together)]
    assert 0 < parts[0] < parts[1]
    contents = together.contents()
    assert alone.contents() == {key: contents[key] for key in alone.listed()}


def large_messages(broker, topic) -> tuple[str, list[Position], list[bytes]]:
    """40 MB that do not compress, in messages of 5 MB and some small ones between them."""
    name = topic()
    source = random.Random(4)
    payloads = [source.randbytes(5_000_000 if number % 2 else 100) for number in range(16)]
    sent = send_raw(broker.service_url, name, [Message(payload) for payload in payloads])
    return name, [each.position for each in sent], payloads
