"""Uploads that run at once while a bundle is processed, and have all ended before it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from transforms.cos.together import Together

T = TypeVar("T")
A = TypeVar("A")

UPLOADS_AT_ONCE = 8


class Uploads:
    """A pool of threads, bounded by the bytes that its work holds in memory."""

    def __init__(self, max_bytes: int, workers: int = UPLOADS_AT_ONCE) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="upload")
        self._max_bytes = max_bytes
        self._bytes = 0
        self._freed = threading.Condition()
        self._together = Together()

    def begin(self) -> None:
        """Start afresh after what was submitted before has ended, failed or not."""
        self._together = Together()

    def submit(self, size: int, work: Callable[[], T], after: Iterable[Future[object]] = ()) -> Future[T]:
        """Run ``work``, which holds ``size`` bytes, once all of ``after`` have ended well.

        Waits until the bytes fit; work larger than all of the budget runs alone. Once any work has failed, what waits,
        what comes and what would try a request again fails with it: else each would wait out an outage for itself.
        """
        for future in list(after):
            future.result()
        with self._freed:
            self._freed.wait_for(lambda: not self._bytes or self._bytes + size <= self._max_bytes)
            together = self._together
            together.check()
            self._bytes += size

        def run() -> T:
            try:
                return together.run(work)
            finally:
                with self._freed:
                    self._bytes -= size
                    self._freed.notify_all()

        return self._pool.submit(run)

    def abandon(self, error: BaseException) -> None:
        """Have what waits and what would try a request again fail with this."""
        self._together.fail(error)

    def map(self, function: Callable[[A], T], items: Iterable[A]) -> Iterator[T]:
        """Apply a function to each item in the pool; results in order."""
        return self._pool.map(function, items)

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._pool.shutdown(wait=True)


def results(futures: list[Future[T]]) -> list[T]:
    """The results of all, once all have ended; raises the first failure then, so that nothing goes on behind it."""
    wait(futures)
    return [future.result() for future in futures]
