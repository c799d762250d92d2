"""Entries that were passed over: they may be chunks of a message that is not complete yet.

A chunked message is delivered with its last chunk, and other producers' messages stand between its chunks. Whoever
starts reading behind the first chunk never sees the message, and who acknowledges the messages between has acknowledged
the chunk as well. So a reader remembers the entries it was not given, starts again before them and acknowledges only
up to them. Entries that no client delivers at all (markers of transactions, for one) look the same; they are forgotten
after the time in which clients drop an incomplete message themselves.
"""

from __future__ import annotations

from collections import deque

from transforms.pulsar.positions import Position

#: Clients drop the chunks of a message that stays incomplete for a minute.
PATIENCE = 60_000
_MOST = 1_000


class PassedEntries:
    """Watches the entries of one partition as they are delivered. Times are publish times, in milliseconds."""

    def __init__(self, start: Position) -> None:
        """``start`` is where the reader begins."""
        self._passed: deque[tuple[Position, int]] = deque()
        self._ledger = start.ledger
        self._entry = start.entry - 1

    def observe(self, ledger: int, entry: int, publish_time: int) -> bool:
        """Take a delivered entry; True if entries before it were passed over."""
        expected = self._entry + 1 if ledger == self._ledger else 0
        self._ledger, self._entry = ledger, entry
        passed = self._passed
        while passed and (passed[0][1] + PATIENCE < publish_time or len(passed) > _MOST):
            passed.popleft()
        if entry <= expected:
            return False
        passed.append((Position(ledger, expected), publish_time))
        return True

    def hold(self, position: Position, publish_time: int) -> None:
        """Take an entry that is there and will not be delivered as it is."""
        if not any(at == position for at, _ in self._passed):
            self._passed.append((position, publish_time))

    def oldest(self, now: int) -> Position | None:
        """The first entry that was passed over and may still be a chunk; ``now`` ends the patience with older ones."""
        for position, time in self._passed:
            if time + PATIENCE >= now:
                return position
        return None
