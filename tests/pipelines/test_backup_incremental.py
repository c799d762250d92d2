from __future__ import annotations

import random

from tests.pipelines.backups import Bucket, arguments, backup, run_process, start_job
from tests.pipelines.producing import numbered, send, sending
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.testing.raw_producer import Message, send_raw

INCREMENTAL = ["--subscription=backup", "--start=subscription"]


def backlogs(broker, partitions) -> list[int]:
    return [broker.admin.stats(each)["subscriptions"]["backup"]["msgBacklog"] for each in partitions]


def test_an_incremental_run_covers_exactly_the_rest(broker, client, topic, bucket):
    name = topic(partitions=2)
    partitions = [f"{name}-partition-{index}" for index in range(2)]
    sent = {each: send(client, each, numbered(55), batch=10) for each in partitions}
    first = backup(broker, name, bucket, *INCREMENTAL)
    assert_holds(messages_in(bucket), sent)
    assert backlogs(broker, partitions) == [0, 0]
    written = bucket.written()
    more = {each: send(client, each, numbered(33), batch=10) for each in partitions}
    second = backup(broker, name, bucket, *INCREMENTAL)
    assert_holds(messages_in(bucket), {each: sent[each] + more[each] for each in partitions})
    assert (first.summary["messages"], second.summary["messages"]) == (110, 66)
    assert second.summary["already_stored"] == 0
    assert written.items() < bucket.written().items()
    assert backlogs(broker, partitions) == [0, 0]


def test_an_incremental_run_without_news_writes_nothing(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(20), batch=10)
    backup(broker, name, bucket, *INCREMENTAL)
    written = bucket.written()
    run = backup(broker, name, bucket, *INCREMENTAL)
    assert (run.summary["messages"], bucket.written()) == (0, written)
    assert_holds(messages_in(bucket), {name: places})


def test_incremental_runs_across_ledgers(broker, client, topic, bucket):
    name = topic()
    places = []
    for _ in range(4):
        places += send(client, name, numbered(15), batch=10)
        backup(broker, name, bucket, *INCREMENTAL)
        broker.admin.unload(name)
    assert len({place.ledger for place in places}) == 4
    assert_holds(messages_in(bucket), {name: places})
    assert backlogs(broker, [name]) == [0]


def test_runs_in_a_row_under_live_production_lose_and_repeat_nothing(broker, topic, bucket):
    name = topic(partitions=2)
    partitions = [f"{name}-partition-{index}" for index in range(2)]
    total = 0
    with sending(broker.service_url, partitions) as sent:
        for _ in range(4):
            total += backup(broker, name, bucket, *INCREMENTAL, "--granularity=1s").summary["messages"]
    total += backup(broker, name, bucket, *INCREMENTAL, "--granularity=1s").summary["messages"]
    assert_holds(messages_in(bucket, granularity=1), sent)
    assert total == sum(map(len, sent.values()))
    assert backlogs(broker, partitions) == [0, 0]


def test_a_message_that_is_late_by_an_hour_is_stored_by_the_next_run(broker, topic, bucket):
    name = topic()
    noon = 1_772_366_400_000
    sent = send_raw(broker.service_url, name, [Message(b"%d" % n, publish_time=noon + n * 60_000) for n in range(60)])
    backup(broker, name, bucket, *INCREMENTAL)
    sent += send_raw(broker.service_url, name, [Message(b"late %d" % n, publish_time=noon + n) for n in range(3)])
    backup(broker, name, bucket, *INCREMENTAL)
    assert_holds(messages_in(bucket), {name: [each.position for each in sent]})


def test_sigkill_while_uploading_and_again_stores_each_message_once(broker, client, topic, bucket):
    name = topic(partitions=2)
    partitions = [f"{name}-partition-{index}" for index in range(2)]
    source = random.Random(1)
    sent = {each: send(client, each, [source.randbytes(100) for _ in range(6_000)], batch=100) for each in partitions}
    options = [*INCREMENTAL, "--max_file_messages=50", "--codec=null"]
    argv = arguments(broker, name, bucket, options)
    # Each kill comes while the run uploads: when so many of its 240 files stand there.
    bucket.server.latency = 0.02
    files = WithoutSpool(bucket)
    count, written = 0, {}
    for _ in range(3):
        killed_when(bucket, count + source.randrange(5, 50), argv)
        # What stands there is whole, and what stood there before is as it was.
        messages_in(files, most=50, named=False)
        before, written = written, files.written()
        assert before.items() < written.items()
        count = len(written)
    assert count < 240
    run = run_process(argv)
    assert run.code == 0, run.errors
    assert_holds(messages_in(files, most=50), sent)
    assert written.items() < files.written().items()
    assert backlogs(broker, partitions) == [0, 0]


class WithoutSpool:
    """A bucket without what a killed run may have left under ``_spool/``."""

    def __init__(self, bucket: Bucket) -> None:
        self.prefix, self.read, self.options = bucket.prefix, bucket.read, bucket.options
        self.everything, self.documents = bucket.everything, bucket.documents
        self._bucket = bucket

    def listed(self) -> list[str]:
        return [key for key in self._bucket.listed() if not key.startswith(f"{self.prefix}_spool/")]

    def written(self) -> dict[str, float]:
        times = self._bucket.written()
        return {key: times[key] for key in self.listed()}


def killed_when(bucket: Bucket, stored: int, argv: list[str]) -> None:
    """Start the job, and SIGKILL it as soon as so many objects are stored."""
    reached = bucket.when_stored(stored)
    with start_job(argv) as process:
        assert reached.wait(60), "the job was to upload more"
        process.kill()
        process.communicate()
    assert process.returncode == -9
