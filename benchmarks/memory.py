"""What a backup holds in memory, at most: large and small messages, many partitions, a slow destination.

    python -m benchmarks.memory [--case 5MB] [--memory_budget 64MB --memory_budget 256MB] [--scale 0.2]

Starts a real broker and a COS server on this machine, fills topics, and runs the job once for each case and budget.
The peak is the largest resident size of the job's process, as ``/usr/bin/time -v`` tells it; the servers are processes
of their own. The first case is a run over an empty topic: the interpreter, Beam and the client.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulsar

from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY, CosServer
from transforms.testing.measured_process import Cost, measure
from transforms.testing.pulsar_admin import PulsarAdmin
from transforms.testing.pulsar_standalone import PulsarStandalone

_MB = 10**6
_LARGE = 4_900_000
_NOISE = random.Random(1).randbytes(64 * _MB)
_TEXT = b"".join(b'{"order": %d, "state": "paid", "text": "all of it is much the same"}' % n for n in range(200_000))
_DAY = 86_400_000
_EVENT_TIME = 1_700_006_400_000
_ONE_FILE = ("--granularity=24h",)


@dataclass(frozen=True)
class Topic:
    """What a case reads."""

    count: int
    size: int
    partitions: int = 1
    source: bytes = _NOISE
    chunked: bool = False
    event_times: bool = False
    """Spread over a day, in no order."""
    larger_from: int | None = None
    """From this message on, messages are large."""

    def payloads(self) -> Iterator[bytes]:
        view, last = memoryview(self.source), len(self.source) - _LARGE
        for number in range(self.count):
            size = _LARGE if self.larger_from is not None and number >= self.larger_from else self.size
            begin = number * 7919 % max(last if size <= _LARGE else len(self.source) - size, 1)
            yield bytes(view[begin : begin + size])


@dataclass(frozen=True)
class Case:
    name: str
    topic: Topic
    options: Sequence[str] = ()
    latency: float = 0.0
    """Seconds before each answer of the COS server."""


_RANDOM, _COMPRESSIBLE, _SMALL = Topic(102, _LARGE), Topic(102, _LARGE, source=_TEXT), Topic(2_000_000, 200)
_LARGE_4, _SMALL_8 = Topic(102, _LARGE, partitions=4), Topic(2_000_000, 200, partitions=8)

CASES = [
    Case("empty topic", Topic(0, 0)),
    Case("5 MB, one file", _RANDOM, _ONE_FILE),
    Case("5 MB, one file, text", _COMPRESSIBLE, _ONE_FILE),
    Case("5 MB, 4 partitions", _LARGE_4, _ONE_FILE),
    Case("5 MB, one file, COS 2 s", _RANDOM, _ONE_FILE, 2.0),
    Case("5 MB, 4 partitions, COS 2 s", _LARGE_4, _ONE_FILE, 2.0),
    Case("200 B", _SMALL),
    Case("200 B, 8 partitions", _SMALL_8),
    Case("200 B, COS 2 s", _SMALL, (), 2.0),
    Case("200 B, 8 partitions, COS 2 s", _SMALL_8, (), 2.0),
    Case("200 B, JSON lines", _SMALL, ("--format=jsonl", "--payload=json")),
    Case("5 MB, one file, no codec", _RANDOM, (*_ONE_FILE, "--codec=null")),
    Case("5 MB, one file, JSON lines", _RANDOM, (*_ONE_FILE, "--format=jsonl")),
    Case("12 MB, chunked", Topic(40, 12 * _MB, chunked=True), _ONE_FILE),
    Case("50 MB, chunked", Topic(10, 50 * _MB, chunked=True), _ONE_FILE),
    Case("5 kB, event times of a day", Topic(100_000, 5_000, event_times=True), ("--window_by=event_time",)),
    Case("5 kB, 64 partitions", Topic(100_000, 5_000, partitions=64), _ONE_FILE),
    Case("200 B, then 5 MB", Topic(200_102, 200, larger_from=200_000), _ONE_FILE),
    Case("200 B, then 5 MB, COS 2 s", Topic(200_102, 200, larger_from=200_000), _ONE_FILE, 2.0),
]


def fill(service_url: str, admin: PulsarAdmin, topic: str, content: Topic) -> int:
    """Produce what a case reads. Gives its bytes."""
    if content.partitions > 1:
        admin.create_partitioned_topic(topic, content.partitions)
    elif not content.count:
        admin.create_topic(topic)
    names = [f"{topic}-partition-{n}" for n in range(content.partitions)] if content.partitions > 1 else [topic]
    client = pulsar.Client(service_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
    dice, total, batching = random.Random(2), 0, not content.chunked
    producers = [
        client.create_producer(
            name,
            batching_enabled=batching,
            chunking_enabled=not batching,
            batching_max_publish_delay_ms=10,
            compression_type=pulsar.CompressionType.LZ4,
            block_if_queue_full=True,
            max_pending_messages=max(min(5_000, 64 * _MB // max(content.size, 1)), 1),
        )
        for name in names
    ]
    failures: list[object] = []

    def receipt(outcome: pulsar.Result, _: object) -> None:
        if outcome != pulsar.Result.Ok:
            failures.append(outcome)

    for number, payload in enumerate(content.payloads()):
        if len(payload) == _LARGE and number % 10 == 0:
            producers[number % len(names)].flush()
        time = _EVENT_TIME + dice.randrange(_DAY) if content.event_times else None
        producers[number % len(names)].send_async(payload, receipt, event_timestamp=time)
        total += len(payload)
    for producer in producers:
        producer.flush()
    client.close()
    if failures:
        raise SystemExit(f"{topic}: {len(failures)} messages were not taken: {failures[0]}")
    return total


def run(case: Case, service_url: str, topic: str, budget: str, folder: Path) -> Cost:
    """Run the job once, to a COS server of its own."""
    secrets = {"COS_SECRET_ID": TEST_SECRET_ID, "COS_SECRET_KEY": TEST_SECRET_KEY}
    with tempfile.TemporaryDirectory(dir=folder) as place, CosServer(place) as server:
        server.latency = case.latency
        command = [sys.executable, "-m", "pipelines.backup", f"--service_url={service_url}", f"--topic={topic}"]
        command += [f"--destination=cos://{TEST_BUCKET}/memory/", f"--cos_endpoint={server.endpoint}"]
        command += ["--cos_region=ap-guangzhou", "--log_level=ERROR", "--local_workers=1"]
        command += [f"--memory_budget={budget}", *case.options]
        cost = measure(command, {**os.environ, **secrets}, seconds=1800)
    if cost.code:
        raise SystemExit(f"{case.name}: the job failed with exit code {cost.code}:\n{cost.errors}")
    return cost


def compare(cases: Sequence[Case], budgets: Sequence[str], service_url: str, admin: PulsarAdmin, folder: Path) -> None:
    topics: dict[Topic, tuple[str, int]] = {}
    print(f"{'':34}{'MB':>6}{'budget':>8}{'peak MB':>9}{'s':>7}{'MB/s':>7}{'CPU s':>7}", flush=True)
    for case in cases:
        if case.topic not in topics:
            name = f"persistent://test/memory/{uuid.uuid4().hex[:8]}"
            topics[case.topic] = name, fill(service_url, admin, name, case.topic)
        name, size = topics[case.topic]
        for budget in budgets:
            cost = run(case, service_url, name, budget, folder)
            print(
                f"{case.name:34}{size / _MB:>6.0f}{budget:>8}{cost.peak_bytes / _MB:>9.0f}{cost.seconds:>7.1f}"
                f"{size / _MB / cost.seconds:>7.1f}{cost.cpu_seconds:>7.1f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", help="only cases with this in their name; repeatable")
    parser.add_argument("--memory_budget", action="append", help="repeatable; 256MB by default")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.case or any(part in case.name for part in options.case)]
    with PulsarStandalone() as broker, tempfile.TemporaryDirectory() as folder:
        broker.admin.create_tenant("test")
        broker.admin.create_namespace("test/memory")
        compare(cases, options.memory_budget or ["256MB"], broker.service_url, broker.admin, Path(folder))


if __name__ == "__main__":
    main()
