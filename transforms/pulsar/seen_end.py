"""Whether a reader has read a partition to its end, so that nothing was lost when the ledger behind it is deleted.

A ledger that was read, stored and acknowledged to its end is deleted when the broker has begun the next one. To who
then reads on, that looks as if messages in between had been deleted.
"""

from __future__ import annotations

import time

from transforms.errors import BackupError
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import partition_ends
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

#: The broker is asked for its last entry once nothing has come for so long, ...
_IDLE_SECONDS = 1.0
#: ... and again after so long, where that was not the last one that was read.
_AGAIN_SECONDS = 30.0
#: A reader that was told within this time that there is no more was connected, and is given what comes.
_FRESH_SECONDS = 2.0


class SeenEnd:
    """The end of one partition, as its reader sees it. Places are ledger, entry, batch index."""

    def __init__(self, connection: PulsarConnection, partition: TopicPartition) -> None:
        self._connection = connection
        self._partition = partition
        self._last: tuple[int, int, int] | None = None
        self._since = self._asked = self._seen = 0.0
        self._is_end = False

    def no_more(self, last: tuple[int, int, int], behind: Position) -> None:
        """The reader was told that there is no more behind ``last``; the entry there would be ``behind``."""
        now = time.monotonic()
        if last != self._last:
            self._last, self._since, self._asked, self._is_end = last, now, 0.0, False
        elif self._is_end and now - self._seen <= _FRESH_SECONDS:
            self._seen = now
        elif now - self._since >= _IDLE_SECONDS and (self._is_end or now - self._asked >= _AGAIN_SECONDS):
            self._ask(behind)

    def is_fresh(self, last: tuple[int, int, int]) -> bool:
        """Whether nothing was behind ``last`` a moment ago, and the reader stood there."""
        return self._is_end and last == self._last and time.monotonic() - self._seen <= _FRESH_SECONDS

    def _ask(self, behind: Position) -> None:
        self._asked, self._is_end = time.monotonic(), False
        try:
            behind_last = partition_ends(self._connection, self._partition).behind_last
        except BackupError:
            return  # asked again
        self._is_end = behind_last == behind
        self._seen = time.monotonic()
