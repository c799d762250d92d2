"""The objects of one partition as one sequence of messages: in the order of the partition, each message once.

Objects of a window are runs without a gap, but windows are not: a late message, a schema version or a message in
quarantine has an object of its own, whose ids lie between those of others. So the order is found by merging; at any
moment only those objects are open whose ids reach over the place that is read.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from transforms.errors import DamagedError
from transforms.files.decode import Record, partition_of, position_of
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position


@dataclass(frozen=True, slots=True)
class BackupObject:
    """An object that holds messages of the partition. Picklable."""

    key: str
    first: Position
    last: Position
    messages: int
    size: int
    extension: str
    rank: int = 0
    """Where several objects hold a message, that of the lowest rank counts: payloads before values."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message, and what else its object says of it."""

    position: Position
    record: Record
    values: Mapping[str, bytes]
    """See ``read_with_values``."""
    extension: str


#: Gives the records of an object, as ``read_with_values`` does.
ReadObject = Callable[[BackupObject], Iterator[tuple[Record, dict[str, bytes]]]]


def merged(objects: Iterable[BackupObject], read: ReadObject, topic: str, partition: int) -> Iterator[StoredMessage]:
    """Give the messages of a partition in order, each once.

    ``partition`` is 0 for a topic without any. Memory: a block of each object that is open. Raises DamagedError where
    an object holds messages that its name does not tell, or not in order; and what ``read`` raises.
    """
    waiting = sorted(objects, key=lambda each: (each.first, each.rank, each.key), reverse=True)
    open_ones: list[tuple[Position, int, str, StoredMessage, Iterator[StoredMessage]]] = []
    last: Position | None = None
    while waiting or open_ones:
        while waiting and (not open_ones or waiting[-1].first <= open_ones[0][0]):
            each = waiting.pop()
            _push(open_ones, each.rank, each.key, _checked(each, read, topic, partition))
        position, rank, key, message, messages = heapq.heappop(open_ones)
        if position != last:
            last = position
            yield message
        _push(open_ones, rank, key, messages)


def _push(
    open_ones: list[tuple[Position, int, str, StoredMessage, Iterator[StoredMessage]]],
    rank: int,
    key: str,
    messages: Iterator[StoredMessage],
) -> None:
    message = next(messages, None)
    if message is not None:
        # No two entries have position, rank and key in common, so that messages are never compared.
        heapq.heappush(open_ones, (message.position, rank, key, message, messages))


def _checked(each: BackupObject, read: ReadObject, topic: str, partition: int) -> Iterator[StoredMessage]:
    last: Position | None = None
    count = 0
    for record, values in read(each):
        position = position_of(record)
        found: TopicPartition = partition_of(record)
        if (found.topic, max(found.index, 0)) != (topic, partition):
            raise DamagedError(f"{each.key} is damaged: it holds a message of {found.name}.")
        if (last is None and position != each.first) or (last is not None and position <= last):
            raise DamagedError(f"{each.key} is damaged: message {position} is not where its name has it.")
        last, count = position, count + 1
        yield StoredMessage(position, record, values, each.extension)
    if last != each.last or count != each.messages:
        raise DamagedError(
            f"{each.key} is damaged: it holds {count} messages up to {last}, and its name says {each.messages} up to "
            f"{each.last}."
        )
