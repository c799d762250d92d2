"""When the feeds of a run may read ahead: on demand, or while whoever works on the messages waits for some.

Python runs one thread at a time. Threads that read while another one encodes take the interpreter from each other with
every message, which costs as much as a fifth of all that is done with it; and what they read is out of the processor's
caches when it is worked on. The broker's client, where that reads, reads ahead in threads of its own.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transforms.pulsar.feed import PartitionFeed

#: Seconds after which one that waits for messages lets all others be read meanwhile: some portions can be read in it.
PROMPT_SECONDS = 0.02


class Pace:
    """Shared by the feeds of one run in one process."""

    def __init__(self) -> None:
        self._feeds: weakref.WeakSet[PartitionFeed] = weakref.WeakSet()
        self._awaited: list[PartitionFeed | None] = []
        self._lock = threading.Lock()

    def join(self, feed: PartitionFeed) -> None:
        """Take in a feed, which is woken when another one is waited for."""
        with self._lock:
            self._feeds.add(feed)

    def has_leisure(self, feed: PartitionFeed) -> bool:
        """Whether somebody waits for the messages of another feed, so that there is time to read this one's."""
        with self._lock:
            return any(awaited is not feed for awaited in self._awaited)

    @contextmanager
    def waiting(self, feed: PartitionFeed | None = None) -> Iterator[None]:
        """While the body runs, somebody waits for messages of a feed, which do not come promptly."""
        with self._lock:
            self._awaited.append(feed)
            others = [each for each in self._feeds if each is not feed]
        for each in others:
            each.wake()
        try:
            yield
        finally:
            with self._lock:
                self._awaited.remove(feed)
