"""Pieces of work that fail together: once one has failed for good, the others do not try again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import TypeVar

_Result = TypeVar("_Result")


class AbandonedError(Exception):
    """A request was not tried again, because other work that fails together with it has failed for good.

    Raised inside ``Together.run`` only, which turns it into that failure.
    """


class Together:
    """Work on several threads, of which the first failure is the failure of all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed = threading.Event()
        self._failure: BaseException | None = None

    def check(self) -> None:
        """Raise the first failure, if there is one."""
        if self._failure is not None:
            raise self._failure

    def fail(self, error: BaseException) -> None:
        """Take this for a failure of all, if there was none before."""
        with self._lock:
            self._failure = self._failure or error
        self._failed.set()

    def run(self, work: Callable[[], _Result]) -> _Result:
        """Do a piece of the work on this thread; raises the first failure where another piece has failed before.

        A piece that is being done goes on until it succeeds, fails, or calls ``pause``.
        """
        self.check()
        token = _together.set(self)
        try:
            return work()
        except AbandonedError:
            self.check()
            raise
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            _together.reset(token)

    def wait(self, seconds: float) -> None:
        """Wait so long; raises AbandonedError as soon as any piece has failed."""
        if self._failed.wait(seconds):
            raise AbandonedError


_together: ContextVar[Together | None] = ContextVar("together", default=None)


def pause(seconds: float) -> None:
    """Wait before a further try; raises AbandonedError where this is part of work that has failed meanwhile."""
    together = _together.get()
    if together is None:
        time.sleep(seconds)
    else:
        together.wait(seconds)


def as_part(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """A function for other threads, where it is part of the work that this thread does."""
    context = copy_context()
    return lambda *arguments: context.copy().run(function, *arguments)
