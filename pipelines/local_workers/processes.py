"""The worker processes of a run on this machine, from the side of the process that they work for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import cast

from pipelines.local_workers.told import Done, Ended, Failed, FromWorker, Order
from transforms.errors import WorkerError

_HOST = "pipelines.local_workers.host"
#: Libraries that Beam loads start threads when they are loaded, with which the host must not fork.
_WITHOUT_THREADS = {
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
#: The process of the run hears them, and its workers end with it: Ctrl-C goes to all of them.
_NOT_HEARD = {signal.SIGINT, signal.SIGTERM}
_END_SECONDS = 10.0

_GO_ON = "What is stored stays, and nothing was acknowledged. Run it again to complete it."
_KILLED = (
    "was killed (SIGKILL), as a rule by the system for want of memory: give the machine or the container more, or the "
    f"run a smaller --memory_budget or fewer --local_workers. {_GO_ON}"
)


class _Trace(Exception):
    """The traceback of an error in another process; shown as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class WorkerProcesses:
    """Works on an order while it is entered; none of the processes is left when it has been. For one thread.

    Raises WorkerError where they cannot be started.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._ended: dict[int, int] = {}

    def __enter__(self) -> WorkerProcesses:
        with ExitStack() as theirs, ExitStack() as ours:
            pairs = [Pipe() for _ in range(1 + len(self._order.shares))]
            for here, there in pairs:
                ours.enter_context(here)
                theirs.enter_context(there)
            self._control, *self._ends = (here for here, _ in pairs)
            self._host = _started([there for _, there in pairs])
            self._opened = ours.pop_all()
        with suppress(OSError):  # it is gone already, which is found out where something is expected of it
            self._control.send(self._order)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The workers end by themselves when their sockets do, and the host kills those that do not.
        self._opened.close()
        try:
            self._host.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._host.kill()
            self._host.wait()

    def told(self) -> Iterator[tuple[int, FromWorker]]:
        """What the workers tell, each with its number, until all of them have done their shares.

        Raises what a worker has failed with, and WorkerError for one that has ended without having said so.
        """
        numbers = {end: number for number, end in enumerate(self._ends)}
        while numbers:
            for end in cast(list[Connection], wait(list(numbers))):
                number = numbers[end]
                try:
                    message: FromWorker = end.recv()
                except (EOFError, OSError):
                    raise WorkerError(self._why(number)) from None
                if isinstance(message, Failed):
                    raise message.error from _Trace(message.trace)
                if isinstance(message, Done):
                    del numbers[end]
                yield number, message

    def _why(self, worker: int) -> str:
        """Why a worker has ended that had not done its share."""
        with suppress(EOFError, OSError):
            while worker not in self._ended:
                ended: Ended = self._control.recv()
                self._ended[ended.worker] = ended.code
        code = self._ended.get(worker)
        if code is None:
            with suppress(subprocess.TimeoutExpired):
                code = self._host.wait(_END_SECONDS)
            return _sentence("the process that starts the workers of the run", code)
        return _sentence("a worker process of the run", code)


def _sentence(what: str, code: int | None) -> str:
    if code == -signal.SIGKILL:
        return f"{what} {_KILLED}"
    how = f"ended with exit code {code}"
    if code is not None and code < 0:
        how = f"was ended by {signal.Signals(-code).name}"
    return f"{what} {how}; what it said of that, if anything, is above. {_GO_ON} With --local_workers=1 there is none."


def _started(ends: list[Connection]) -> subprocess.Popen[bytes]:
    """Start the host with these ends. Raises WorkerError."""
    numbers = [end.fileno() for end in ends]
    # Inherited, so that there is no moment in which they hear one.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_HEARD)
    try:
        return subprocess.Popen(  # noqa: S603 - the program is ours
            [sys.executable, "-m", _HOST, *map(str, numbers)],
            env={**os.environ, **_WITHOUT_THREADS},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=numbers,
        )
    except OSError as error:
        raise WorkerError(
            f"the worker processes of the run cannot be started ({error.strerror}). Free memory or processes, or give "
            "--local_workers=1."
        ) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
