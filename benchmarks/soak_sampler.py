"""Looks at a stream under way: its processes, its checkpoints, what is stored, what waits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from benchmarks.soak_production import Production, Stored
from benchmarks.soak_samples import Kill, Memory, Sample, SliceCount, leaked_states
from tests.pipelines.streams import Stream
from transforms.errors import FlinkError
from transforms.testing.pulsar_admin import AdminError
from transforms.testing.pulsar_standalone import PulsarStandalone

#: Seconds between two samples.
EVERY = 2.0
_TOLD_EVERY = 10.0


class Sampler:
    """Looks at the stream every two seconds, and says every ten what it sees."""

    def __init__(
        self, stream: Stream, broker: PulsarStandalone, subscription: str, production: Production, stored: Stored
    ) -> None:
        self.samples: list[Sample] = []
        self.memory: list[Memory] = []
        self.kills: list[Kill] = []
        self._stream = stream
        self._broker = broker
        self._subscription = subscription
        self._production = production
        self._stored = stored
        self._job = stream.job.id
        self._slices = SliceCount()
        self._vertices: list[str] = []
        self._metrics: dict[str, str] = {}
        self._began = time.monotonic()
        self._next = self._told = 0.0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def watch(self, phase: str, done: Callable[[], bool]) -> None:
        """Sample until something is so. Raises AssertionError, with its log, if the launcher ends."""
        while not done():
            self._stream.must_go_on()
            if self.seconds >= self._next:
                self._next = max(self._next + EVERY, self.seconds)
                self._sample(phase)
            time.sleep(0.1)

    def for_seconds(self, phase: str, seconds: float) -> None:
        """Sample for so long."""
        self.until_second(phase, self.seconds + seconds)

    def until_second(self, phase: str, end: float) -> None:
        """Sample until so many seconds have passed since it began."""
        self.watch(phase, lambda: self.seconds >= end)

    def killed(self, kind: str) -> None:
        """Note a kill."""
        self.kills.append(Kill(round(self.seconds, 1), kind))

    def has_checkpoint(self) -> bool:
        """Whether one had completed at the last sample."""
        return bool(self.samples) and self.samples[-1].checkpoint is not None

    def complete(self) -> bool:
        """Whether at the last sample all that was produced was stored and acknowledged."""
        last = self.samples[-1]
        return last.stored == last.produced and last.backlog == 0

    def orphans(self) -> int:
        """Workers whose task manager is gone, and that have not ended."""
        left = {each.pid for each in self.memory if each.kind == "worker"} - set(self._stream.workers())
        return sum(b"--provision_endpoint" in _command(pid) for pid in left)

    def _sample(self, phase: str) -> None:
        now = round(self.seconds, 1)
        processes = self._processes(now)
        self.memory += processes
        checkpoint = self._asked(lambda: self._stream.flink.checkpoints(self._job)["latest"]["completed"]) or {}
        number = checkpoint.get("id")
        slices = self._slices.take(self._asked(self._counter))
        disk_bytes, leaked = _looked_into(checkpoint.get("external_path"))
        # Stored before produced: what comes between is missing then, not too much.
        stored = self._stored.count()
        sample = Sample(
            now,
            phase,
            self._production.count,
            stored,
            self._backlog(),
            number,
            checkpoint.get("state_size"),
            self._asked(lambda: self._source_bytes(number)),
            disk_bytes,
            leaked,
            slices,
            self._asked(self._heap),
            len(self.kills),
        )
        self.samples.append(sample)
        if now >= self._told + _TOLD_EVERY or not self._told:
            self._told = now
            self._say(sample, processes)

    def _say(self, sample: Sample, processes: list[Memory]) -> None:
        sizes: Counter[str] = Counter()
        for each in processes:
            sizes[each.kind] += each.bytes
        size = "starting" if sample.checkpoint_bytes is None else f"{sample.checkpoint_bytes / 1e6:.2f} MB"
        print(
            f"{sample.seconds / 60:6.1f} min  {sample.phase:11}  produced {sample.produced:>10,}  "
            f"stored {sample.stored:>10,}  backlog {sample.backlog}  checkpoint {size}  slices {sample.slices:,}  "
            f"worker {sizes['worker'] / 1e6:.0f} MB  task manager {sizes['task manager'] / 1e6:.0f} MB  "
            f"kills {sample.kills}",
            flush=True,
        )

    def _processes(self, now: float) -> list[Memory]:
        cluster = self._stream.cluster
        pids = [("worker", pid) for pid in self._stream.workers()]
        pids += [("task manager", each.pid) for each in cluster.task_managers if each.pid]
        pids += [("job manager", cluster.job_manager.pid or 0), ("job server", cluster.job_server.pid or 0)]
        pids.append(("launcher", self._stream.launcher))
        return [Memory(now, kind, pid, size) for kind, pid in pids if (size := _resident(pid))]

    def _backlog(self) -> int | None:
        total = 0
        for partition in self._production.partitions:
            try:
                stats = self._broker.admin.stats(partition)
            except (AdminError, OSError):
                return None
            total += stats["subscriptions"].get(self._subscription, {}).get("msgBacklog", 0)
        return total

    def _counter(self) -> int | None:
        """The counter of slices, as this attempt of the job has it; None while it has none."""
        request = self._stream.cluster.request
        if not self._vertices:
            self._vertices = [each["id"] for each in request("GET", f"/jobs/{self._job}")["vertices"]]
        for vertex in list(self._metrics) or self._vertices:
            path = f"/jobs/{self._job}/vertices/{vertex}/subtasks/metrics"
            if vertex not in self._metrics:
                names = [each["id"] for each in request("GET", path) if each["id"].endswith("_slices")]
                if not names:
                    continue
                self._metrics[vertex] = names[0]
            found = request("GET", f"{path}?get={quote(self._metrics[vertex])}&agg=sum")
            return int(found[0]["sum"]) if found else None
        return None

    def _source_bytes(self, checkpoint: int | None) -> int | None:
        """Of a checkpoint, the state of the stage that counts slices."""
        if checkpoint is None or not self._metrics:
            return None
        path = f"/jobs/{self._job}/checkpoints/details/{checkpoint}"
        tasks = self._stream.cluster.request("GET", path)["tasks"]
        return sum(int(tasks[vertex]["state_size"]) for vertex in self._metrics)

    def _heap(self) -> int | None:
        request = self._stream.cluster.request
        managers = request("GET", "/taskmanagers")["taskmanagers"]
        if not managers:
            return None
        newest = max(managers, key=lambda each: each["timeSinceLastHeartbeat"])["id"]
        found = request("GET", f"/taskmanagers/{newest}/metrics?get=Status.JVM.Memory.Heap.Used")
        return int(found[0]["value"]) if found else None

    def _asked(self, question: Callable[[], Any]) -> Any:
        """An answer of Flink's; None while it has none."""
        try:
            return question()
        except (OSError, FlinkError):
            return None


def _command(pid: int) -> bytes:
    """Its command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _resident(pid: int) -> int:
    """Bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def _looked_into(address: str | None) -> tuple[int | None, int | None]:
    """What a checkpoint's folder holds, bytes and leaked states; None if Flink has replaced it by now."""
    if address is None:
        return None, None
    size, leaked = 0, set[bytes]()
    try:
        for path in Path(urlsplit(address).path).iterdir():
            content = path.read_bytes()
            size += len(content)
            leaked |= leaked_states(content)
    except OSError:
        return None, None
    return size, len(leaked)
