"""Entries that the client passed over: chunks of messages that are not complete yet, or messages that it lost.

A chunked message is delivered with its last chunk, and other producers' messages stand between its chunks. Whoever
starts reading behind the first chunk never sees the message; whoever acknowledges what stands between has acknowledged
the chunk as well; and a client that is connected anew between two chunks drops the message in silence. So no entry
is passed over without a look at what it is: then it is known from where a reader has to start, up to where may be
acknowledged, and what has to be read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transforms.pulsar.entries import StoredEntry
from transforms.pulsar.positions import Position

#: Clients drop the chunks of a message that stays incomplete for a minute; so it is no longer waited for either.
PATIENCE = 60_000


@dataclass(slots=True)
class _Incomplete:
    first: Position
    chunks: int
    publish_time: int


class PassedEntries:
    """Watches the entries of one partition as they are delivered. Times are milliseconds."""

    def __init__(self, start: Position) -> None:
        """``start`` is where the reader begins."""
        self._incomplete: dict[str, _Incomplete] = {}
        self._now = 0
        """When ``oldest`` was last asked for."""
        self.go_to(start)

    def go_to(self, start: Position) -> None:
        """Another reader begins at ``start``. What is not complete stays known, for its last chunk may still come."""
        self._at = Position(start.ledger, start.entry - 1)
        self.headless = False
        """Whether chunks came whose message begins before ``start``."""

    @property
    def incomplete(self) -> bool:
        """Whether a message is known of which the last chunk has not come."""
        return bool(self._incomplete)

    def deliver(self, ledger: int, entry: int) -> Position | None:
        """Take a delivered entry. The first entry that may stand between it and the one before; None if none can."""
        before, self._at = self._at, Position(ledger, entry)
        if ledger == before.ledger:
            return before.next_entry() if entry > before.entry + 1 else None
        if before.ledger < 0:
            return Position(ledger, 0) if entry > 0 else None
        # How many entries the ledger before has is not known.
        return before.next_entry()

    @property
    def next(self) -> Position:
        """The entry behind the last one delivered."""
        return self._at.next_entry()

    def complete(self, first: Position) -> None:
        """A chunked message that begins at ``first`` was delivered."""
        self._incomplete = {name: each for name, each in self._incomplete.items() if each.first != first}

    def look(self, entries: Iterable[StoredEntry], delivered: Position | None = None) -> Position | None:
        """Take entries that were passed over. Where the first message in them begins that should have been delivered.

        ``delivered`` is where one begins that was.
        """
        lost = []
        for entry in entries:
            if entry.silent:
                continue
            if entry.chunks == 1:
                lost.append(entry.position)
                continue
            if entry.chunk == 0:
                self._incomplete[entry.uuid] = _Incomplete(entry.position, 0, entry.publish_time)
            known = self._incomplete.get(entry.uuid)
            if known is None:
                self.headless = True
                continue
            # A producer that did not hear an answer sends a chunk again: only the next one counts.
            if entry.chunk == known.chunks:
                known.chunks += 1
            if known.chunks == entry.chunks:
                lost.append(known.first)
        return min((each for each in lost if each != delivered), default=None)

    def behind_all_complete(self, place: Position) -> Position:
        """Where to start again to read on at ``place``: further back if a message that is waited for begins there."""
        return min([place, *self._waited_for()])

    def oldest(self, now: int) -> Position | None:
        """The first chunk of the oldest message that is not complete and for which patience has not ended."""
        self._now = now
        return min(self._waited_for(), default=None)

    def _waited_for(self) -> Iterator[Position]:
        return (each.first for each in self._incomplete.values() if each.publish_time + PATIENCE >= self._now)
