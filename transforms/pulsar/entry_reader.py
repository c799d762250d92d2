"""The entries of a partition from some place on, each with its messages, as many ahead as fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transforms.errors import SourceError
from transforms.memory import fitting_messages
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.entries import EntrySubscription, beginning, subscribed
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.scan import STALLED
from transforms.pulsar.stored_messages import StoredEntryMessages

#: Messages that the broker may send ahead.
_MOST_AHEAD = 20_000
#: After so many waits the connection is given up: what the broker reads may come from far, but not as slowly.
_LONGEST_WAIT = 15 * STALLED


class EntryReader:
    """Reads one partition over a connection of its own. Not thread-safe."""

    def __init__(self, held: EntrySubscription, partition: TopicPartition, start: Position, most_bytes: int) -> None:
        self._held = held
        self._partition = partition
        self._first = start._replace(batch=0)
        self._most_bytes = most_bytes
        self._ahead = 0
        """Messages that the broker may send and has not sent."""
        self._least_ahead = 0
        self._seen_messages = self._seen_bytes = 0

    def next(self, patience: float) -> StoredEntryMessages | None:
        """The next entry; None where none begins to come within so many seconds.

        Raises NotPlainError for one that the client has to read; and as ``wire.Connection`` does, see ``explained``.
        """
        while True:
            if self._ahead <= self._least_ahead:
                self._permit()
            found = self._held.arrived(patience)
            if found is None:
                return None
            entry = StoredEntryMessages(*found)
            messages = len(entry.messages)
            self._ahead -= messages
            self._seen_messages += messages
            self._seen_bytes += entry.size
            if entry.head.position >= self._first:
                return entry

    def end(self, place: Position, waited: int) -> Position | None:
        """The place behind all that the broker holds; None where some of it, at or behind ``place``, is still to come.

        It is ``place`` where the broker holds no more. Else the broker passes over all of that without giving it out,
        with reason or not. ``waited``: how often nothing has come by now, since the last entry; every now and then the
        broker is asked whether it passes over. If it does not, and gives nothing for long, that is an error. Raises
        SourceError, and as ``next`` does.
        """
        self._held.look()
        last = self._held.last
        if last is None or last.entry < 0 or last < place._replace(batch=0):
            return place
        if waited % STALLED == 0 and self._held.has_passed_the_last():
            return last.next_entry()
        if waited < _LONGEST_WAIT:
            return None
        raise SourceError(
            f"{self._partition.name}: the broker says that there are messages at {place}, but sends none. Look at the "
            "broker's log, or try again."
        )

    def may_have_passed(self, place: Position) -> bool:
        """Whether the broker may have passed over what it should give out, at ``place`` or behind.

        Of what it has given out we acknowledge nothing on the way, and of what it gives out to nobody, such as markers,
        it acknowledges each by itself. So what lies before the first entry that is not acknowledged moves over
        ``place`` only where the broker moves it: behind what has expired. [measured with 4.0.8] Raises as ``next``.
        """
        self._held.look()
        behind = self._held.behind_marked
        return behind is None or behind > place

    def _permit(self) -> None:
        most = fitting_messages(self._most_bytes, self._seen_messages, self._seen_bytes, _MOST_AHEAD)
        self._least_ahead = most // 2
        if self._ahead <= self._least_ahead:
            self._held.permit(most - self._ahead)
            self._ahead = most


@contextmanager
def entry_reader(
    connection: PulsarConnection, partition: TopicPartition, start: Position, most_bytes: int
) -> Iterator[EntryReader]:
    """A reader whose first entry is that of ``start``, or the first behind it. Raises BackupError."""
    with subscribed(connection, partition, beginning(start)) as held:
        yield EntryReader(held, partition, start, most_bytes)
