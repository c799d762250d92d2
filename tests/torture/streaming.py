"""A stream on Flink that tests break in every way, over the backlog of an ordeal."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.flink import FlinkCluster as FlinkRest
from tests.pipelines.backups import SECRETS, arguments
from tests.torture.ordeal import ROOT, SUBSCRIPTION, Ordeal
from transforms.testing.flink import FlinkCluster

#: Seconds of a window.
GRANULARITY = 10
STREAM_OPTIONS = [
    f"--subscription={SUBSCRIPTION}",
    "--streaming",
    f"--granularity={GRANULARITY}s",
    "--allowed_disorder=2s",
    "--discovery_interval=2s",
    "--checkpointing_interval=2000",
    "--execution_retry_delay=2000",
    "--memory_budget=64MB",
    "--max_file_messages=300",
    "--max_file_bytes=10MB",
]


class Stream:
    """The launcher of a stream, its job on the cluster, and the ordeal that it goes through."""

    def __init__(self, cluster: FlinkCluster, options: Sequence[str], ordeal: Ordeal) -> None:
        self.cluster = cluster
        self.flink = FlinkRest(cluster.rest_url)
        self._options = options
        self._ordeal = ordeal
        self._numbers = itertools.count(1)
        self._launcher: subprocess.Popen[bytes] | None = None
        self._log = Path()
        self.name = ""

    def start(self, *options: str) -> None:
        """Submit the job; returns when it runs."""
        ordeal = self._ordeal
        argv = arguments(
            ordeal.broker, ordeal.backlog.topic, ordeal.bucket, [*STREAM_OPTIONS, *self._options, *options]
        )
        self._log = ordeal.folder / f"stream-{next(self._numbers)}.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("COS_")}
        with self._log.open("wb") as log:
            self._launcher = subprocess.Popen(
                [sys.executable, "-m", "pipelines.backup", *argv],
                cwd=ROOT,
                env={**clean, **SECRETS},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.until(lambda: ": RUNNING" in self.log)
        found = re.search(r"Flink job \w+ \((\S+)\) runs", self.log)
        assert found is not None, self.log
        self.name = found[1]

    @property
    def log(self) -> str:
        """What the launcher has said."""
        return self._log.read_text()

    def until(self, reached: Callable[[], bool], *, timeout: float = 240) -> None:
        """Wait until something is so; the launcher must not end before."""
        deadline = time.monotonic() + timeout
        while not reached():
            assert self._launcher is not None
            assert self._launcher.poll() is None, self.log
            assert time.monotonic() < deadline, self.log + self.worker_log()
            time.sleep(0.2)

    def stop(self) -> str:
        """Ctrl-C; the place of the savepoint."""
        assert self._launcher is not None
        self._launcher.send_signal(signal.SIGINT)
        assert self._launcher.wait(120) == 130, self.log
        found = re.search(r"--savepoint_path=(\S+)", self.log)
        assert found is not None, self.log
        assert all(job.ended for job in self.flink.jobs())
        return found[1]

    def cancel(self) -> None:
        """End the job without a savepoint, behind the launcher's back."""
        assert self._launcher is not None
        job = self.flink.find(self.name)
        assert job is not None
        self.flink.cancel(job.id)
        assert self._launcher.wait(60) == 0, self.log

    def last_checkpoint(self) -> str:
        """Where the newest one that has completed is kept."""
        job = self.flink.find(self.name)
        assert job is not None
        return str(self.flink.checkpoints(job.id)["latest"]["completed"]["external_path"])

    def close(self) -> None:
        """End whatever is still there."""
        if self._launcher is not None and self._launcher.poll() is None:
            self._launcher.kill()
            self._launcher.wait()
        for job in self.flink.jobs():
            if not job.ended:
                self.flink.cancel(job.id)

    def workers(self) -> list[int]:
        """Process ids of the cluster's worker processes."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue  # it has ended meanwhile
                if b"--provision_endpoint" in b" ".join(words) and parent in self._task_manager_pids():
                    found.append(int(entry.name))
        return found

    def kill_worker(self, source: random.Random) -> bool:
        """SIGKILL; False if there was none at that moment."""
        workers = self.workers()
        if not workers:
            return False
        os.kill(source.choice(workers), signal.SIGKILL)
        return True

    def kill_task_manager(self) -> None:
        """SIGKILL, and a new one in its place."""
        manager = self.cluster.task_managers[0]
        manager.kill()
        manager.start()

    def complete(self, *, timeout: float = 240) -> None:
        """Wait until all that was sent is stored and acknowledged; then the statement of the ordeal."""

        def done() -> bool:
            self._ordeal.look()
            return self._ordeal.missing() == 0 and self._ordeal.all_acknowledged()

        self.until(done, timeout=timeout)
        self._ordeal.assert_complete()

    def worker_log(self) -> str:
        """The end of the task manager's log, for when a test fails."""
        return "\n".join(self.cluster.task_managers[0].log.read_text(errors="replace").splitlines()[-60:])

    def _task_manager_pids(self) -> set[int]:
        return {each.pid for each in self.cluster.task_managers if each.pid is not None}
