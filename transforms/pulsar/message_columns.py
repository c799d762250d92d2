"""Consecutive messages of a partition, a column at a time: what the messages of an entry share is there once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from transforms.pulsar.positions import Position

if TYPE_CHECKING:
    from transforms.pulsar.messages import ClientMessage


#: Milliseconds: a publish time beyond, which only a broken producer has, is taken for this. Formats have 63 bits.
LATEST_TIME: Final = 2**63 - 1


class EntryRun(NamedTuple):
    """Messages of one entry that follow each other: how many, and what they share."""

    messages: int
    ledger: int
    entry: int
    publish_time: int
    """Milliseconds since 1970, UTC."""


@dataclass(slots=True)
class MessageColumns:
    """``messages``, ``payloads`` and ``indexes`` run in parallel, those of ``entries`` add up to as many."""

    messages: list[ClientMessage] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    """Batch indexes as Pulsar has them: -1 outside a producer batch."""
    entries: list[EntryRun] = field(default_factory=list)

    @classmethod
    def of(
        cls, messages: Sequence[ClientMessage], ids: Iterable[tuple[int, int, int]], publish_times: Iterable[int]
    ) -> MessageColumns:
        """From what is known of each message; ``ids`` are (ledger, entry, batch index)."""
        made = cls(list(messages), [message.data() for message in messages])
        for (ledger, entry, index), publish_time in zip(ids, publish_times, strict=True):
            made.indexes.append(index)
            last = made.entries[-1] if made.entries else None
            if last is not None and last[1:] == (ledger, entry, publish_time):
                made.entries[-1] = last._replace(messages=last.messages + 1)
            else:
                made.entries.append(EntryRun(1, ledger, entry, publish_time))
        return made

    @property
    def ids(self) -> list[tuple[int, int, int]]:
        """Ledger, entry and batch index of each message."""
        places = chain.from_iterable(repeat((run.ledger, run.entry), run.messages) for run in self.entries)
        return [(ledger, entry, index) for (ledger, entry), index in zip(places, self.indexes, strict=True)]

    @property
    def publish_times(self) -> list[int]:
        """Publish time of each message, milliseconds."""
        return list(chain.from_iterable(repeat(run.publish_time, run.messages) for run in self.entries))

    def position(self, place: int) -> Position:
        """Position of the message at this place; negative places count from the end."""
        run = self.entries[-1] if place == -1 else self._run_of(place % len(self.messages))
        return Position(run.ledger, run.entry, max(self.indexes[place], 0))

    def part(self, begin: int, end: int) -> MessageColumns:
        """The messages from place ``begin`` up to ``end``."""
        if begin == 0 and end == len(self.messages):
            return MessageColumns(self.messages, self.payloads, self.indexes, self.entries)
        return MessageColumns(
            self.messages[begin:end], self.payloads[begin:end], self.indexes[begin:end], list(self._runs(begin, end))
        )

    def _run_of(self, place: int) -> EntryRun:
        for run in self.entries:
            place -= run.messages
            if place < 0:
                return run
        raise IndexError(place)

    def _runs(self, begin: int, end: int) -> Iterator[EntryRun]:
        at = 0
        for run in self.entries:
            low, high = max(begin, at), min(end, at + run.messages)
            if low < high:
                yield run._replace(messages=high - low)
            at += run.messages


def joined(parts: Sequence[MessageColumns]) -> MessageColumns:
    """Parts, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    made = MessageColumns()
    for part in parts:
        made.messages += part.messages
        made.payloads += part.payloads
        made.indexes += part.indexes
        made.entries += part.entries
    return made
