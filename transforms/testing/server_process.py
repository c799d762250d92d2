"""A server as a child process: started, watched, stopped by its own process id.

Contract of :class:`ServerProcess`: standard output and standard error go to one log file, which a restart continues.
The child has a session of its own, so that Ctrl-C at a terminal reaches the test run first and not the server.
However our process ends, also by SIGKILL, the server ends with it: a small shell holds the other end of a pipe and
kills the server when the pipe closes. Secrets never go on a command line (any user of the machine can read it); pass
them in files.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from typing_extensions import Self

#: Waits for the end of its input, which is the end of its parent, then kills the process it was given.
_GUARD = 'read -r _ <&0; kill -9 "$1" 2>/dev/null'


class ServerError(RuntimeError):
    """A test server did not start, or died. The text ends with the last lines of its log."""


class Server(ABC):
    """A server made of such processes: a context manager that leaves nothing behind, started or not."""

    @abstractmethod
    def start(self) -> None:
        """Start it; returns when it can be used. Raises ServerError if it cannot."""

    @abstractmethod
    def close(self) -> None:
        """Stop it, and delete its folder."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago; another process may still take one first."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class ServerProcess:
    """One server process and its log."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._command = list(command)
        self._directory = directory
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.log = log

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process; whether the server answers is for :meth:`wait_until` to find out."""
        if self.pid is not None:
            raise ServerError(f"{self._name} is already running as process {self.pid}.")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                self._command,
                cwd=self._directory,
                env=None if self._environment is None else {**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._guard = subprocess.Popen(  # noqa: S603 - as above
            ["/bin/sh", "-c", _GUARD, "guard", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_until(self, ready: Callable[[], bool], *, timeout: float) -> None:
        """Poll ``ready`` until it is true; stop the process and raise ServerError if it dies or time runs out."""
        deadline = time.monotonic() + timeout
        while not ready():
            if self._process is None or self._process.poll() is not None:
                code = None if self._process is None else self._process.returncode
                self._dismiss_guard()
                raise ServerError(f"{self._name} ended while it was starting (exit code {code}).{self._tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise ServerError(f"{self._name} did not become ready in {timeout:.0f} s.{self._tail()}")
            time.sleep(0.1)

    def stop(self, *, timeout: float = 20) -> None:
        """SIGTERM, and SIGKILL after ``timeout`` seconds. Nothing happens if it does not run."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine would look to clients, but without the loss of its page cache."""
        self._end(signal.SIGKILL, None)

    def _end(self, number: signal.Signals, timeout: float | None) -> None:
        # The guard goes first: it must not outlive the process whose id it holds.
        self._dismiss_guard()
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.communicate()

    def _tail(self, lines: int = 30) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f" Its log, {self.log}, ends with:\n" + "\n".join(text.splitlines()[-lines:])
