"""Streams whose parts are killed, resumed, or begun again without their state: every message in exactly one object."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.pipelines.backups import arguments
from tests.pipelines.streams import GRANULARITY, Stream
from tests.torture.ordeal import OPTIONS, Backlog, Ordeal

PARTITIONS = 3


@pytest.fixture
def ordeal(broker, client, topic, bucket, torture, tmp_path):
    """A topic with a backlog, and a bucket that takes its time."""
    backlog = Backlog(client, topic(partitions=PARTITIONS), PARTITIONS, torture.random)
    backlog.grow()
    bucket.server.latency = 0.02
    return Ordeal(broker, bucket, backlog, tmp_path, granularity=GRANULARITY)


@pytest.fixture
def stream(flink, ordeal, tmp_path):
    made = Stream(flink, arguments(ordeal.broker, ordeal.backlog.topic, ordeal.bucket, OPTIONS), tmp_path)
    yield made
    made.close()


@contextmanager
def production(ordeal: Ordeal, *, small: int) -> Iterator[None]:
    """Producers that go on in the background, some of them by clocks of their own."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def produce() -> None:
        try:
            while not ended.wait(0.5):
                ordeal.backlog.grow(small=small, large=20)
                ordeal.backlog.grow_from_other_clocks(ordeal.broker.service_url)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert failures == []


def goes_on(stream: Stream, ordeal: Ordeal) -> None:
    """Wait for something new at the destination: what is killed before stores nothing."""
    before = ordeal.objects()
    stream.until(lambda: ordeal.objects() > before)


def completes(stream: Stream, ordeal: Ordeal) -> None:
    """Wait until all that was sent is stored and acknowledged; then the statement of the ordeal."""

    def complete() -> bool:
        ordeal.look()
        return ordeal.missing() == 0 and ordeal.all_acknowledged()

    stream.until(complete, timeout=400)
    ordeal.assert_complete()


def test_a_stream_whose_parts_are_killed_stores_every_message_once(torture, stream, ordeal):
    kills = ["worker"] * torture.count(1, 20) + ["task manager"] * torture.count(1, 5)
    torture.random.shuffle(kills)
    stream.start()
    with production(ordeal, small=torture.count(60, 600)):
        for number, kind in enumerate(kills, 1):
            goes_on(stream, ordeal)
            time.sleep(torture.random.uniform(0, 6))
            if kind == "worker":
                stream.kill_worker(torture.random)
            else:
                stream.kill_task_manager()
            ordeal.look()
            torture.say(f"{number} of {len(kills)} kills, the last of a {kind}; {ordeal.objects()} objects")
    completes(stream, ordeal)
    assert ordeal.spooled > 0, "no file was large enough to be written in parts"
    torture.say(f"{ordeal.backlog.count:,} messages in {ordeal.objects():,} objects, {ordeal.spooled} in parts: whole")


def test_a_stream_that_is_resumed_or_begun_anew_stores_every_message_once(torture, stream, ordeal):
    stream.start()
    for _ in range(torture.count(1, 3)):
        with production(ordeal, small=60):
            goes_on(stream, ordeal)
            savepoint = stream.stop()
            ordeal.look()
            torture.say("stopped with a savepoint")
            stream.start(f"--savepoint_path={savepoint}")
            goes_on(stream, ordeal)
            checkpoint = stream.last_checkpoint()
            stream.cancel()
            ordeal.look()
            torture.say("cancelled behind its back")
            stream.start(f"--savepoint_path={checkpoint}")
            goes_on(stream, ordeal)
            stream.cancel()
            ordeal.look()
            torture.say("its state is lost")
            stream.start("--start=subscription")
        completes(stream, ordeal)
    torture.say(f"{ordeal.backlog.count:,} messages in {ordeal.objects():,} objects, {ordeal.spooled} in parts: whole")
