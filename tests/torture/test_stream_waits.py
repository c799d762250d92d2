"""Streams that have to wait: for a bucket that does not answer, and for messages that do not come."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from pathlib import Path

from tests.pipelines.backups import arguments
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in, unnamed
from tests.pipelines.streams import GRANULARITY
from tests.torture.ordeal import OPTIONS, SUBSCRIPTION, Backlog, Ordeal
from tests.torture.stream_ordeal import completes, goes_on, production
from transforms.files.naming import parse_name
from transforms.testing.cos_server import TEST_BUCKET
from transforms.testing.raw_producer import Message, send_raw

MB = 10**6
DAYS_MS = 24 * 3600 * 1000


def test_a_bucket_that_falls_silent_makes_a_stream_wait_and_catch_up(
    broker, client, topic, bucket, torture, tmp_path, new_stream
):
    ordeal = Ordeal(broker, bucket, Backlog(client, topic(partitions=3), 3, torture.random), tmp_path)
    ordeal.granularity = GRANULARITY
    ordeal.backlog.grow(large=0)
    stream = new_stream(arguments(broker, ordeal.backlog.topic, bucket, OPTIONS))
    stream.start()
    goes_on(stream, ordeal)
    manager = stream.cluster.task_managers[0]
    before = peak(stream.workers()), peak([manager.pid])
    with production(ordeal, small=torture.count(200, 3_000)):
        bucket.server.awake.clear()
        time.sleep(torture.count(5, 120))
        bucket.server.awake.set()
    began = time.monotonic()
    completes(stream, ordeal)
    torture.say(
        f"{ordeal.backlog.count:,} messages; {time.monotonic() - began:.0f} s to catch up; peak of worker and task "
        f"manager {[each // MB for each in before]} MB before, {peak(stream.workers()) // MB} and "
        f"{peak([manager.pid]) // MB} MB behind it"
    )


def test_windows_close_though_other_partitions_are_empty_idle_or_days_behind(
    broker, client, topic, bucket, torture, new_stream
):
    name = topic(partitions=3)
    old = int(time.time() * 1000) - 3 * DAYS_MS
    late = [Message(b"%d" % number, publish_time=old + 1000 * number) for number in range(torture.count(60, 6_000))]
    behind, idle = f"{name}-partition-0", f"{name}-partition-1"
    sent = {behind: [each.position for each in send_raw(broker.service_url, behind, late)]}
    stream = new_stream(arguments(broker, name, bucket, [f"--subscription={SUBSCRIPTION}"]))
    stream.start("--parallelism=3")
    live = sent[idle] = []
    for _ in range(torture.count(2, 12)):
        live += send(client, idle, numbered(1))
        time.sleep(7)
    count = len(late) + len(live)
    stream.until(lambda: sum(names_of(bucket.listed())) == count)
    stream.until(lambda: not unnamed(bucket))
    assert_holds(messages_in(bucket, granularity=GRANULARITY), sent)
    delays = []
    for stored in bucket.server.disk.list(TEST_BUCKET, bucket.prefix, "", -1):
        file = parse_name(stored.key.rpartition("/")[2])
        if file is not None and file.partition == 1:
            delays.append(stored.modified - file.window / 1000 - GRANULARITY)
    assert min(delays) > 2, "a window was closed before the disorder that is allowed"
    torture.say(f"behind the end of their windows, files of the partition that is idle came after {seconds(delays)} s")


def names_of(keys: Iterable[str]) -> list[int]:
    """How many messages each object holds, by its name."""
    files = (parse_name(key.rpartition("/")[2]) for key in keys)
    return [file.run.messages for file in files if file is not None]


def seconds(delays: Iterable[float]) -> str:
    """Smallest, median and largest."""
    ordered = sorted(delays)
    return ", ".join(f"{each:.1f}" for each in (ordered[0], ordered[len(ordered) // 2], ordered[-1]))


def peak(pids: Iterable[int | None]) -> int:
    """The largest resident size that the processes have had, the largest of them."""
    lines = itertools.chain.from_iterable(Path(f"/proc/{pid}/status").read_text().splitlines() for pid in pids)
    return max(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
