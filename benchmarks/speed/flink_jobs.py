"""Our job on Flink, with an end and without one: what its worker processes cost, the task manager told apart.

A task manager starts workers and waits for those that end, so the kernel has added up what they used. That is what a
run with an end is measured by. Of a stream, what workers use is held against what is stored, many times on the way.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed.measurements import Measurement, Spent
from benchmarks.speed.processes import busiest, idle_seconds, of_threads, peak_bytes, thread_name, used
from benchmarks.speed.servers import SECRETS, Broker, CosProcess, cos_process
from tests.pipelines.streams import Stream
from transforms.testing.flink_workers import Flink

#: As the job has them; the tests' streams, on whose launcher this builds, have seconds in their place.
_AS_EVER = ("--granularity=5m", "--allowed_disorder=30s", "--checkpointing_interval=10000", "--discovery_interval=1m")
#: Of all messages: where the costs of a stream begin and end. In front is the start, behind it files wait to be full.
_FROM, _TO = 0.2, 0.9
_EVERY = 0.25
_LIMIT_SECONDS = 900.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Look:
    """A stream at a moment."""

    seconds: float
    stored: int
    cpu: Mapping[str, float]
    """CPU seconds so far, by kind of process: worker, task manager, broker, COS server, job manager."""
    idle: float
    """Of all cores."""


@dataclass
class Watched:
    """What was seen of a stream between two of its messages."""

    looks: list[Look] = field(default_factory=list)
    workers: int = 0
    peak_bytes: int = 0
    busiest: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """The thread of each kind of process that used most: its name, and its share of a core."""

    @property
    def between(self) -> list[Look]:
        """Without the start and the end."""
        whole = self.looks[-1].stored
        return [each for each in self.looks if _FROM / _TO * whole <= each.stored <= whole]


def run_bounded(broker: Broker, flink: Flink, payload: int, count: int, options: Sequence[str], workers: int) -> Spent:
    """A run with an end, into COS."""
    topic, manager = broker.topic(payload, count), flink.cluster.task_managers[0].pid or 0
    with cos_process() as cos, tempfile.TemporaryDirectory() as folder:
        seen = Stream(flink, [], Path(folder))
        before, jvm, servers, began = used(manager).ended_children, used(manager).own, broker.cpu_seconds, time.time()
        argv = [*_job(broker, topic, cos, options, workers), *flink.options]
        peak, most = _run_to_its_end(argv, seen)
        seconds = time.time() - began
        while seen.workers():
            time.sleep(0.1)
        if most != workers:
            raise SystemExit(f"{most} worker processes ran, not {workers}.")
        stored = sum(each.messages for each in cos.stored())
        if stored != count:
            raise SystemExit(f"{count:,} messages were sent, and {stored:,} are stored.")
        after = used(manager)
        spent = broker.cpu_seconds - servers + used(cos.pid).own
        more = {"task_manager_cpu": after.own - jvm}
        return Spent(count, seconds, after.ended_children - before, spent, peak, workers * peak, more)


def run_stream(
    broker: Broker, flink: Flink, part: str, number: int, way: str, size: tuple[int, int], workers: int
) -> Measurement:
    """A run without an end, into COS, over messages that are there; ends when nearly all are stored."""
    payload, count = size
    topic = broker.topic(payload, count)
    with cos_process() as cos, tempfile.TemporaryDirectory() as folder:
        given = [f"--subscription=stream-{next(_numbers)}", f"--admin_url={broker.admin_url}"]
        argv = _job(broker, topic, cos, ["--format=avro", "--codec=null", *given], workers)
        stream = Stream(flink, argv, Path(folder))
        began = time.monotonic()
        try:
            stream.start(*_AS_EVER)
            watched = _watch(stream, broker, cos, count)
            seconds = time.monotonic() - began
            if watched.workers != workers:
                raise SystemExit(f"{watched.workers} worker processes ran, not {workers}.")
            checkpoints = stream.flink.checkpoints(stream.job.id)
        finally:
            stream.close()
    return _told(part, number, way, count, watched, seconds, checkpoints)


def _job(broker: Broker, topic: str, cos: CosProcess, options: Sequence[str], workers: int) -> list[str]:
    where = [f"--service_url={broker.service_url}", f"--topic={topic}", *cos.options]
    return [*where, f"--sdk_worker_parallelism={workers}", *options]


def _run_to_its_end(argv: Sequence[str], seen: Stream) -> tuple[int, int]:
    """Gives the largest peak of a worker, and how many there were at most."""
    peak = most = 0
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "pipelines.backup", *argv]
        launcher = subprocess.Popen(command, env={**os.environ, **SECRETS}, stdout=log, stderr=subprocess.STDOUT)
        while launcher.poll() is None:
            workers = seen.workers()
            most = max(most, len(workers))
            peak = max([peak, *map(peak_bytes, workers)])
            time.sleep(_EVERY)
        if launcher.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)}: {log.read().decode()}")
    return peak, most


def _watch(stream: Stream, broker: Broker, cos: CosProcess, count: int) -> Watched:
    watched, deadline = Watched(), time.monotonic() + _LIMIT_SECONDS
    kinds: dict[str, list[int]] = {}
    threads: dict[int, dict[int, float]] = {}
    first: Look | None = None
    while not watched.looks or watched.looks[-1].stored < _TO * count:
        stream.must_go_on()
        if time.monotonic() > deadline:
            raise SystemExit(f"only {watched.looks[-1].stored:,} of {count:,} messages are stored:\n{stream.log}")
        workers = stream.workers()
        kinds = {
            "worker": workers,
            "task manager": [stream.cluster.task_managers[0].pid or 0],
            "broker": [broker.pid],
            "COS server": [cos.pid],
            "job manager": [stream.cluster.job_manager.pid or 0],
        }
        cpu = {kind: sum(used(pid).own for pid in pids) for kind, pids in kinds.items()}
        stored = sum(each.messages for each in cos.stored())
        watched.looks.append(Look(time.monotonic(), stored, cpu, idle_seconds()))
        watched.workers = max(watched.workers, len(workers))
        watched.peak_bytes = max([watched.peak_bytes, *map(peak_bytes, workers)])
        if first is None and stored >= _FROM * count:
            first = watched.looks[-1]
            threads = {pid: of_threads(pid) for pids in kinds.values() for pid in pids}
        time.sleep(_EVERY)
    if first is None or first is watched.looks[-1]:
        raise SystemExit(f"{count:,} messages are too few: all were stored between two looks.")
    seconds = watched.looks[-1].seconds - first.seconds
    watched.busiest = {
        kind: _busiest_of([(pid, threads.get(pid, {})) for pid in pids], seconds) for kind, pids in kinds.items()
    }
    return watched


def _busiest_of(processes: Sequence[tuple[int, Mapping[int, float]]], seconds: float) -> tuple[str, float]:
    found = [(pid, *busiest(before, of_threads(pid))) for pid, before in processes]
    pid, thread, spent = max(found, key=lambda each: each[2])
    return "main" if pid == thread else thread_name(pid, thread), spent / seconds


def _told(
    part: str, number: int, way: str, count: int, watched: Watched, seconds: float, checkpoints: Mapping[str, Any]
) -> Measurement:
    looks = watched.between
    stored = [each.stored / 1e6 for each in looks]
    lasted = looks[-1].seconds - looks[0].seconds

    def cost(kind: str) -> float:
        return statistics.linear_regression(stored, [each.cpu[kind] for each in looks]).slope

    def share(kind: str) -> float:
        return (looks[-1].cpu[kind] - looks[0].cpu[kind]) / lasted

    sizes = checkpoints["summary"]["state_size"]
    more = {
        "task_manager_cpu": cost("task manager"),
        "checkpoints": checkpoints["counts"]["completed"],
        "largest_checkpoint_bytes": sizes["max"],
        "checkpoint_ms": checkpoints["summary"]["end_to_end_duration"]["max"],
        "shares_of_a_core": {kind: share(kind) for kind in looks[0].cpu},
        "idle_cores": (looks[-1].idle - looks[0].idle) / lasted,
        "busiest_threads": dict(watched.busiest),
    }
    cpu = cost("worker")
    return Measurement(
        part,
        number,
        way,
        count,
        cpu,
        looks[-1].cpu["worker"] - cpu * stored[-1],
        watched.looks[-1].stored / seconds,
        1e6 * statistics.linear_regression([each.seconds for each in looks], stored).slope,
        watched.peak_bytes / 1e6,
        watched.workers * watched.peak_bytes / 1e6,
        cost("broker") + cost("COS server"),
        more,
    )
