"""Streams in trouble with what the broker has deleted, or with the bucket; and what the launcher says of it."""

from __future__ import annotations

import time
import uuid

from tests.pipelines.backups import Bucket, arguments
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import Record, assert_holds, messages_in, unnamed
from tests.pipelines.streams import GRANULARITY
from tests.torture.ordeal import SUBSCRIPTION


def test_what_was_deleted_before_a_stream_read_it_is_said_and_the_stream_goes_on(
    broker, client, bucket, new_stream, torture
):
    namespace = f"test/trimmed-{uuid.uuid4().hex[:6]}"
    broker.admin.create_namespace(namespace, retention_minutes=0, retention_megabytes=0)
    name = f"persistent://{namespace}/orders"
    broker.admin.create_partitioned_topic(name, 1)
    name = f"{name}-partition-0"
    sent = send(client, name, numbered(25))
    stream = new_stream(arguments(broker, name, bucket, [f"--subscription={SUBSCRIPTION}"]))
    stream.start()
    stream.until(lambda: len(stored(bucket).get(name, ())) == len(sent))
    old = stream.stop()
    gone = send(client, name, numbered(25, "gone"))
    broker.admin.delete_subscription(name, SUBSCRIPTION)
    broker.admin.delete_old_ledgers(name)
    there = send(client, name, numbered(5, "there"))
    stream.start(f"--savepoint_path={old}")
    began = time.monotonic()
    stream.until(lambda: "deleted by the broker" in stream.log)
    torture.say(f"said after {time.monotonic() - began:.0f} s")
    assert f"{name}: messages have been deleted" in stream.log or f"{name}: messages may have been" in stream.log
    assert f"before they were read, from {gone[0]} to {there[0]}" in stream.log
    worker_log = stream.cluster.task_managers[0].log.read_text(errors="replace")
    assert f"before they were read, from {gone[0]} to {there[0]}" in worker_log
    assert sum(stream.flink.counters(stream.job.id, "gaps").values()) == 1
    more = send(client, name, numbered(5, "more"))
    stream.until(lambda: len(stored(bucket)[name]) == 35 and not unnamed(bucket))
    assert_holds(stored(bucket), {name: [*sent, *there, *more]})
    assert stream.log.count("deleted by the broker") == 1


def test_a_failure_on_a_worker_is_said_with_its_cure_and_the_stream_goes_on(broker, client, topic, bucket, new_stream):
    name = topic(partitions=1)
    bucket.server.faults.add("access-denied", operation="PutObject", key="*.avro", times=2)
    sent = {f"{name}-partition-0": send(client, f"{name}-partition-0", numbered(1))}
    stream = new_stream(arguments(broker, name, bucket, [f"--subscription={SUBSCRIPTION}"]))
    stream.start()
    stream.until(lambda: bool(bucket.listed()))
    stream.until(lambda: "(restart 2)" in stream.log)
    stream.until(lambda: not unnamed(bucket))
    assert_holds(stored(bucket), sent)
    said = [line for line in stream.log.splitlines() if " failed, and Flink starts it again" in line]
    assert len(said) == 2, stream.log
    assert all("AccessDenied" in line and "Grant it name/cos:PutObject" in line for line in said), said


def test_no_other_waits_for_a_topic_that_is_deleted_and_made_anew_it_is_read(broker, client, topic, bucket, new_stream):
    there, gone = topic(partitions=1), topic(partitions=1)
    partition, deleted = f"{there}-partition-0", f"{gone}-partition-0"
    sent = {partition: send(client, partition, numbered(10)), deleted: send(client, deleted, numbered(10, "gone"))}
    options = [f"--topic={gone}", f"--subscription={SUBSCRIPTION}"]
    stream = new_stream(arguments(broker, there, bucket, options))
    stream.start()
    stream.until(lambda: sum(map(len, stored(bucket).values())) == 20)
    broker.admin.delete_topic(gone, partitioned=True)
    sent[partition] += send(client, partition, numbered(10, "meanwhile"))
    stream.until(lambda: sum(stream.flink.counters(stream.job.id, "partitions_missing").values()) > 2)
    sent[partition] += send(client, partition, numbered(10, "behind"))
    stream.until(lambda: len(stored(bucket)[partition]) == 30 and not unnamed(bucket))
    stream.until(lambda: broker.admin.stats(partition)["subscriptions"][SUBSCRIPTION]["msgBacklog"] == 0)
    assert_holds(stored(bucket), sent)
    worker_log = stream.cluster.task_managers[0].log.read_text(errors="replace")
    assert f"{deleted}: no such topic" in worker_log
    assert "What was read of it is stored; it is read on if it comes back." in worker_log
    # Who subscribes, to acknowledge, would make it anew.
    namespace = there.removeprefix("persistent://").rpartition("/")[0]
    assert broker.admin.topics(namespace) == {partition}
    broker.admin.create_partitioned_topic(gone, 1)
    sent[deleted] += send(client, deleted, numbered(10, "anew"))
    stream.until(lambda: len(stored(bucket)[deleted]) == 20 and not unnamed(bucket))
    assert_holds(stored(bucket), sent)
    assert "Flink starts it again" not in stream.log


def stored(bucket: Bucket) -> dict[str, list[Record]]:
    """Every message at the destination, whether its window has a manifest yet or not."""
    return messages_in(bucket, granularity=GRANULARITY, named=False)
