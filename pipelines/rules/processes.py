"""Runs in processes of their own, and their stderr passed on with the rule's name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import IO, cast

from pipelines.rules.records import RunRecord

_DRAIN_SECONDS = 2.0
_SIGNALLED = 128
_CHILD = (sys.executable, "-m", "pipelines.rules.child")


class Launch:
    """How runs are started: ``command`` and, behind it, the run's id, and the form and the level of its log.

    ``environment`` is added to this process's own.
    """

    def __init__(
        self,
        *,
        log_format: str = "text",
        log_level: str = "INFO",
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = _CHILD,
    ) -> None:
        self._words = (log_format, log_level)
        self._environment = {**os.environ, **(environment or {})}
        self._command = command

    def start(self, record: RunRecord, ended: Callable[[], None]) -> Child:
        """Start the process of a run; ``ended`` is called when it has ended. Raises OSError."""
        process = subprocess.Popen(  # noqa: S603 - the program is ours
            [*self._command, record.id, *self._words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl-C is for the service, which tells its runs; and who kills it leaves them alone.
            start_new_session=True,
        )
        return Child(record, process, self._words[0], ended)


class Child:
    """The process of one run."""

    def __init__(
        self, record: RunRecord, process: subprocess.Popen[bytes], log_format: str, ended: Callable[[], None]
    ) -> None:
        self.record = record
        self.rule = record.rule_name
        self.counted = False
        """Whether its end was counted."""
        self._process = process
        self._stderr = cast(IO[bytes], process.stderr)
        self._form = log_format
        self._ended = ended
        self._reader = threading.Thread(target=self._pass_on, name=f"stderr of {record.id}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """As ``Popen.returncode``: None while it runs, negative where a signal ended it."""
        return self._process.poll()

    @property
    def exit_code(self) -> int:
        """As a shell tells it; once it has ended."""
        code = self._process.returncode
        return _SIGNALLED - code if code < 0 else code

    def why_ended(self) -> str:
        """A sentence about a process that has ended without a word."""
        code = self._process.returncode
        if code == -signal.SIGKILL:
            return (
                "The process of this run was killed (SIGKILL): by hand, or by the system, out of memory. Give "
                "it more, or the rule a smaller memory_budget, or serve fewer --runs."
            )
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"The process of this run ended {how}, and did not say why. Look at the log of serve."

    def terminate(self) -> None:
        """Tell it to end."""
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for its end; kill it after so long."""
        try:
            self._process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def drain(self) -> None:
        """Wait a moment until what it said last is passed on."""
        self._reader.join(_DRAIN_SECONDS)

    def _pass_on(self) -> None:
        with self._stderr as stderr:
            for line in stderr:
                _say(self._as_ours(line.decode(errors="replace").rstrip("\r\n")))
        self._process.wait()
        self._ended()

    def _as_ours(self, line: str) -> str:
        if self._form != "json":
            return f"{self.rule}: {line}"
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            said = {"time": now, "level": "INFO", "logger": __name__, "message": line}
        return json.dumps({**said, "rule": self.rule, "run": self.record.id}, ensure_ascii=False, default=str)


_lock = threading.Lock()


def _say(line: str) -> None:
    """Write a line that another process has logged; not by logging, which is silent while this process ends."""
    with _lock:
        try:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return  # a stderr that is gone
