"""What a run holds in memory, measured from outside: large and small messages, and a destination that is slow."""

from __future__ import annotations

import os
import random
import sys

import pytest

from tests.pipelines.backups import SECRETS, Bucket, arguments
from transforms.testing.measured_process import measure

MB = 10**6
LARGE = 4_900_000
NOISE = random.Random(7).randbytes(8 * MB)
#: Of the least possible with messages of 5 MB: they are held whole, in a few places at once.
MARGIN = 50 * MB


def peak(broker, topic: str, bucket: Bucket, budget: int, *options: str) -> int:
    """Back up; gives the largest resident size of the job."""
    command = [sys.executable, "-m", "pipelines.backup", *arguments(broker, topic, bucket, options)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COS_")}
    cost = measure([*command, f"--memory_budget={budget}"], {**environment, **SECRETS}, seconds=1500)
    assert cost.code == 0, cost.errors
    return cost.peak_bytes


_undisturbed: list[int] = []


@pytest.fixture
def undisturbed(broker, topic, bucket, client) -> int:
    """What a run holds that has one message; measured once."""
    if not _undisturbed:
        name = topic("one")
        client.create_producer(name).send(b"one")
        _undisturbed.append(peak(broker, name, bucket, 64 * MB))
    return _undisturbed[0]


def produce_large(client, topic: str, count: int, partitions: int) -> None:
    producers = [
        client.create_producer(f"{topic}-partition-{n}", batching_enabled=False, max_pending_messages=8)
        for n in range(partitions)
    ]
    for number in range(count):
        begin = number * 7919 % (len(NOISE) - LARGE)
        producers[number % partitions].send(NOISE[begin : begin + LARGE])


def assert_stored(bucket: Bucket, topic: str, count: int) -> None:
    """By the names of the files, which tell how many messages each holds."""
    files = [key for key in bucket.listed() if f"/{topic.rpartition('/')[2]}/" in key]
    assert sum(int(key.removesuffix(".avro").rpartition("-")[2]) for key in files) == count


def test_large_messages_and_a_slow_bucket_stay_within_the_budget(broker, client, topic, bucket, torture, undisturbed):
    bucket.server.latency = torture.count(0, 2) or 0.3
    count = torture.count(25, 102)
    for partitions, budget in [(1, 64), (1, 256), (4, 64), (4, 256)] if torture.full else [(4, 64)]:
        name = topic(partitions=partitions)
        produce_large(client, name, count, partitions)
        reached = peak(broker, name, bucket, budget * MB, "--granularity=24h")
        torture.say(f"{partitions} partitions, budget {budget} MB: {reached // MB} MB")
        assert_stored(bucket, name, count)
        # Each partition holds a few messages in any case.
        assert reached < undisturbed + budget * MB + MARGIN
        assert reached < 700 * MB


def test_small_messages_and_a_slow_bucket_stay_within_the_budget(broker, client, topic, bucket, torture, undisturbed):
    name, count = topic(partitions=2), torture.count(100_000, 2_000_000)
    producers = [
        client.create_producer(f"{name}-partition-{n}", batching_enabled=True, block_if_queue_full=True)
        for n in range(2)
    ]
    for number in range(count):
        producers[number % 2].send_async(NOISE[number % MB : number % MB + 200], None)
    for producer in producers:
        producer.flush()
    bucket.server.latency = torture.count(0, 2) or 0.3
    budget = torture.count(64, 256) * MB
    reached = peak(broker, name, bucket, budget)
    torture.say(f"budget {budget // MB} MB: {reached // MB} MB")
    assert reached < undisturbed + budget + MARGIN // 2
    assert reached < 700 * MB
    assert_stored(bucket, name, count)


def test_large_messages_that_follow_small_ones_do_not_fill_the_queue_of_the_client(
    broker, client, topic, bucket, torture, undisturbed
):
    """The queue counts messages: what fits of the small ones would be gigabytes of the large ones."""
    name, count = topic(partitions=1), torture.count(24, 300)
    small = client.create_producer(f"{name}-partition-0", batching_enabled=True, block_if_queue_full=True)
    for number in range(20_000):
        small.send_async(NOISE[number % MB : number % MB + 200], None)
    small.flush()
    produce_large(client, name, count, 1)
    bucket.server.latency = torture.count(0, 1) or 0.3
    budget = 64 * MB
    reached = peak(broker, name, bucket, budget, "--granularity=24h")
    torture.say(f"budget {budget // MB} MB: {reached // MB} MB")
    assert reached < undisturbed + budget + MARGIN
    assert_stored(bucket, name, 20_000 + count)
