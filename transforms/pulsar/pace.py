"""When the feeds of a run may read ahead: on demand, or while whoever works on the messages waits for some.

Python runs one thread at a time. Threads that read while another one encodes take the interpreter from each other with
every message, which costs as much as a fifth of all that is done with it; and what they read is out of the processor's
caches when it is worked on. The broker's client reads ahead in threads of its own.
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
        self._waiting = 0
        self._lock = threading.Lock()

    def join(self, feed: PartitionFeed) -> None:
        """Take in a feed, which is told when others are waited for."""
        with self._lock:
            self._feeds.add(feed)

    @property
    def leisure(self) -> bool:
        """Whether somebody waits for messages that do not come promptly, so that there is time to read others."""
        return self._waiting > 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While the body runs, somebody waits for messages."""
        with self._lock:
            self._waiting += 1
            feeds = list(self._feeds) if self._waiting == 1 else []
        for feed in feeds:
            feed.wake()
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
