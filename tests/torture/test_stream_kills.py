"""Streams whose parts are killed, resumed, or begun again without their state: every message in exactly one object."""

from __future__ import annotations

import threading

import pytest

from tests.pipelines.on_flink import flink_cluster
from tests.torture.ordeal import Backlog, Ordeal
from tests.torture.streaming import GRANULARITY, Stream

PARTITIONS = 3


@pytest.fixture(scope="module")
def flink(tmp_path_factory):
    with flink_cluster(tmp_path_factory.mktemp("flink")) as found:
        yield found


@pytest.fixture
def new_stream(flink, broker, client, topic, bucket, torture, tmp_path):
    """Makes a topic with a backlog, and a stream over it into a bucket that takes its time."""
    streams = []

    def make() -> tuple[Stream, Ordeal]:
        backlog = Backlog(client, topic(partitions=PARTITIONS), PARTITIONS, torture.random)
        backlog.grow()
        bucket.server.latency = 0.02
        ordeal = Ordeal(broker, bucket, backlog, tmp_path, granularity=GRANULARITY)
        stream = Stream(*flink, ordeal)
        streams.append(stream)
        return stream, ordeal

    yield make
    for stream in streams:
        stream.close()


class _Production:
    """Producers that go on in the background, some of them by clocks of their own."""

    def __init__(self, ordeal: Ordeal, *, small: int) -> None:
        self._ordeal, self._small = ordeal, small
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        assert self._failure is None, self._failure

    def _run(self) -> None:
        try:
            while not self._ended.wait(0.5):
                self._ordeal.backlog.grow(small=self._small, large=20)
                self._ordeal.backlog.grow_from_other_clocks(self._ordeal.broker.service_url)
        except BaseException as error:
            self._failure = error


def test_a_stream_whose_parts_are_killed_stores_every_message_once(torture, new_stream):
    stream, ordeal = new_stream()
    workers, managers = torture.count(2, 20), torture.count(1, 5)
    kills = ["worker"] * workers + ["task manager"] * managers
    torture.random.shuffle(kills)
    stream.start()
    production = _Production(ordeal, small=torture.count(60, 600))
    for done, kind in enumerate(kills, 1):
        # Not before something new was stored: a stream that is killed while it starts stores nothing.
        before, moment = ordeal.objects(), torture.random.uniform(0, 6)
        stream.until(lambda before=before: ordeal.objects() > before)
        threading.Event().wait(moment)
        if kind == "worker":
            while not stream.kill_worker(torture.random):
                threading.Event().wait(0.2)
        else:
            stream.kill_task_manager()
        ordeal.look()
        torture.say(f"{done} of {len(kills)} kills, the last of a {kind}; {ordeal.objects()} objects")
    production.end()
    stream.complete()
    assert ordeal.spooled > 0, "no file was large enough to be written in parts"
    torture.say(f"{ordeal.backlog.count:,} messages in {ordeal.objects():,} objects, {ordeal.spooled} in parts: whole")


def test_a_stream_that_is_stopped_and_resumed_or_begun_anew_stores_every_message_once(torture, new_stream):
    stream, ordeal = new_stream()
    stream.start()
    for _ in range(torture.count(1, 3)):
        production = _Production(ordeal, small=60)
        before = ordeal.objects()
        stream.until(lambda before=before: ordeal.objects() > before)
        savepoint = stream.stop()
        ordeal.look()
        torture.say("stopped with a savepoint")
        stream.start(f"--savepoint_path={savepoint}")
        before = ordeal.objects()
        stream.until(lambda before=before: ordeal.objects() > before)
        checkpoint = stream.last_checkpoint()
        stream.cancel()
        ordeal.look()
        torture.say("cancelled behind its back")
        stream.start(f"--savepoint_path={checkpoint}")
        before = ordeal.objects()
        stream.until(lambda before=before: ordeal.objects() > before)
        stream.cancel()
        torture.say("its state is lost")
        stream.start("--start=subscription")
        production.end()
        stream.complete()
    torture.say(f"{ordeal.backlog.count:,} messages in {ordeal.objects():,} objects, {ordeal.spooled} in parts: whole")
