"""A stream on Flink as a person starts it, and what tests do to it."""

from __future__ import annotations

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
from pipelines.flink import FlinkJob
from tests.pipelines.backups import ALONE, SECRETS
from transforms.testing.flink_workers import Flink

_ROOT = Path(__file__).parents[2]
#: Seconds of a window.
GRANULARITY = 10
#: All in seconds, where a real stream has minutes.
QUICK = [
    "--streaming",
    f"--granularity={GRANULARITY}s",
    "--allowed_disorder=2s",
    "--discovery_interval=2s",
    "--checkpointing_interval=2000",
    "--execution_retry_delay=2000",
]


class Stream:
    """The launcher of a stream, and its job on the cluster. ``argv``: what is backed up, and where to."""

    def __init__(self, flink: Flink, argv: Sequence[str], folder: Path) -> None:
        self.cluster = flink.cluster
        self.flink = FlinkRest(flink.cluster.rest_url)
        self._argv = [*(each for each in argv if each != ALONE), *QUICK, *flink.options]
        self._log = folder / "stream.log"
        self._launcher: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Submit the job; returns when it runs."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("COS_")}
        with self._log.open("wb") as log:
            self._launcher = subprocess.Popen(
                [sys.executable, "-m", "pipelines.backup", *self._argv, *options],
                cwd=_ROOT,
                env={**clean, **SECRETS},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.until(lambda: ": RUNNING" in self.log)

    @property
    def log(self) -> str:
        """What the launcher has said since it was started."""
        return self._log.read_text()

    @property
    def launcher(self) -> int:
        """Process id of the launcher."""
        assert self._launcher is not None
        return self._launcher.pid

    @property
    def job(self) -> FlinkJob:
        """The job on the cluster."""
        name = re.search(r"Flink job \w+ \((\S+)\) runs", self.log)
        assert name is not None, self.log
        found = self.flink.find(name[1])
        assert found is not None
        return found

    def until(self, reached: Callable[[], bool], *, timeout: float = 240) -> None:
        """Wait until something is so; the launcher must not end before."""
        deadline = time.monotonic() + timeout
        while not reached():
            self.must_go_on()
            assert time.monotonic() < deadline, self.log + self._worker_log()
            time.sleep(0.2)

    def must_go_on(self) -> None:
        """Fail, with what it said, if the launcher has ended."""
        assert self._launcher is not None
        assert self._launcher.poll() is None, self.log

    def stop(self) -> str:
        """Ctrl-C; the place of the savepoint."""
        assert self._launcher is not None
        job = self.job
        self._launcher.send_signal(signal.SIGINT)
        assert self._launcher.wait(120) == 130, self.log
        found = re.search(r"^interrupted while streaming; .*--savepoint_path=(\S+)$", self.log, re.MULTILINE)
        assert found is not None, self.log
        ended = self.flink.find(job.id)
        assert ended is not None
        assert ended.ended
        return found[1]

    def ends(self, *, timeout: float = 60) -> int:
        """The exit code of the launcher, whose job somebody else has ended."""
        assert self._launcher is not None
        return self._launcher.wait(timeout)

    def cancel(self) -> None:
        """End the job without a savepoint, behind the launcher's back."""
        self.flink.cancel(self.job.id)
        assert self.ends() == 0, self.log

    def last_checkpoint(self) -> str:
        """Where the newest one that has completed is kept; waits for the first."""
        job = self.job.id
        self.until(lambda: self.flink.checkpoints(job)["latest"]["completed"] is not None)
        return str(self.flink.checkpoints(job)["latest"]["completed"]["external_path"])

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
        managers = {each.pid for each in self.cluster.task_managers}
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
            if b"--provision_endpoint" in command and parent in managers:
                found.append(int(entry.name))
        return found

    def kill_worker(self, source: random.Random) -> None:
        """SIGKILL one of them, or the next that comes."""
        self.until(lambda: bool(self.workers()))
        os.kill(source.choice(self.workers()), signal.SIGKILL)

    def kill_task_manager(self) -> None:
        """SIGKILL, and a new one in its place."""
        manager = self.cluster.task_managers[0]
        manager.kill()
        manager.start()

    def _worker_log(self) -> str:
        return "\n".join(self.cluster.task_managers[0].log.read_text(errors="replace").splitlines()[-60:])
