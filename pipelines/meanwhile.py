"""Something that is done again and again while something else is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def meanwhile(work: Callable[[], object], seconds: float) -> Iterator[None]:
    """While the body runs, do ``work`` in a thread each time so many seconds have passed; not once it has ended."""
    ended = threading.Event()

    def again() -> None:
        while not ended.wait(seconds):
            work()

    thread = threading.Thread(target=again, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
