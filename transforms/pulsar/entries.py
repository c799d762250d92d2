"""The entries of a partition as they are stored, for those that a client does not deliver as messages."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from transforms.pulsar import wire
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import entry_of, explained, owner
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import Fields, encode
from transforms.pulsar.stored_messages import cut_entry, place_of

_CONSUMER = 1
_EARLIEST = 1
#: Seconds without an entry after which the broker is asked whether any will come; and how many subscriptions in a row
#: must be told that none will.
_SILENCE, _LOOKS = 0.25, 2
# Fields of MessageMetadata in PulsarApi.proto.
_PUBLISH_TIME, _BATCH_SIZE, _MARKER, _TRANSACTION, _UUID, _CHUNKS, _CHUNK = 3, 11, 20, 22, 26, 27, 29


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """What is known of an entry without the client that would make messages of it."""

    position: Position
    publish_time: int = 0
    """Milliseconds."""
    uuid: str = ""
    chunk: int = 0
    chunks: int = 1
    """The entry is chunk number ``chunk`` of ``chunks`` of the message ``uuid``; or all of its messages."""
    messages: int = 1
    """Messages in its producer batch."""
    silent: bool = False
    """Delivered to nobody, or only perhaps: a marker, or part of a transaction, which may have been aborted."""


def first_entry(connection: PulsarConnection, partition: TopicPartition) -> Position | None:
    """The first entry that the broker still holds; None where it holds none. Raises SourceError and AccessError."""
    with subscribed(connection, partition, {13: _EARLIEST}) as held:
        held.look()
        if held.last is None or held.last.entry < 0:
            return None
        found = held.next()
        # Where the broker gives nothing out, it told at first what it held as acknowledged.
        return found[0] if found is not None else held.behind_marked


def stored_entries(
    connection: PulsarConnection, partition: TopicPartition, start: Position, stop: Position | None = None
) -> list[StoredEntry]:
    """All that ``each_stored_entry`` gives."""
    return list(each_stored_entry(connection, partition, start, stop))


def each_stored_entry(
    connection: PulsarConnection, partition: TopicPartition, start: Position, stop: Position | None = None
) -> Generator[StoredEntry, None, None]:
    """The entries from that of ``start`` up to before that of ``stop``; without it, to the last there is now.

    Reads them whole, one at a time, from the broker, over a connection of its own, which ends with the generator;
    without those that the broker gives out to nobody. Raises SourceError and AccessError.
    """
    at, silences = start, 0
    # What expires while the broker reads it is passed over as well. So it is looked twice for what was not given out:
    # brokers look for what has expired once in minutes.
    while silences < _LOOKS:
        begun = at
        at, silent = yield from _look(connection, partition, at, stop)
        if not silent:
            return
        silences = 1 if at != begun else silences + 1


def _look(
    connection: PulsarConnection, partition: TopicPartition, start: Position, stop: Position | None
) -> Generator[StoredEntry, None, tuple[Position, bool]]:
    """Entries; then the position behind them, and whether the broker gave out nothing more although there is."""
    with subscribed(connection, partition, beginning(start)) as held:
        held.look()
        at, permits = start, 1
        while held.last is not None and at <= held.last and (stop is None or at < stop):
            given = held.next(permits)
            if given is None:
                return at, True
            position, content = given
            if stop is not None and position >= stop:
                break
            entry = _entry(position, content)
            # The broker counts messages: a batch uses up more permits than the one that let it through.
            permits = entry.messages
            if position >= start:
                at = position.next_entry()
                yield entry
    return at, False


def beginning(start: Position) -> Mapping[int, int | str | bytes]:
    """Fields of SUBSCRIBE with which what is given out begins with the entry of ``start``, or somewhat before."""
    # Whether a start id means "from it on" or "behind it" is left to the broker, so the one before is given, and what
    # comes too early is left out. Before entry 0 there is none; Pulsar begins with the entry of an id inside a batch.
    ledger = max(start.ledger, 0)
    return {9: encode({1: ledger, 2: start.entry - 1} if start.entry > 0 else {1: ledger, 2: 0, 4: 0})}


@contextmanager
def subscribed(
    connection: PulsarConnection, partition: TopicPartition, begin: Mapping[int, int | str | bytes]
) -> Iterator[EntrySubscription]:
    """A subscription that nobody remembers, at ``begin`` (fields of SUBSCRIBE). Raises SourceError and AccessError."""
    with explained(partition), owner(connection, partition) as broker:
        name = f"tdmq-backup-{uuid.uuid4().hex}"
        exclusive = durable = create_topic = 0
        asked = {1: partition.name, 2: name, 3: exclusive, 4: _CONSUMER, 5: 1, 8: durable, 15: create_topic, **begin}
        broker.request(wire.Kind.SUBSCRIBE, asked)
        yield EntrySubscription(broker)


class EntrySubscription:
    """Gives out entries one by one, and knows which ones the broker passes over: markers, and what was aborted."""

    def __init__(self, broker: wire.Connection) -> None:
        self._broker = broker
        self._came: deque[tuple[Position, bytes | memoryview]] = deque()
        self._given: Position | None = None
        self.last: Position | None = None
        """The last entry that there was at the last look; None where the broker does not tell."""
        self.behind_marked: Position | None = None
        """The first entry that was not acknowledged then; None where the broker does not tell."""

    def look(self) -> None:
        """Ask for the last entry. Raises TimeoutError."""
        self.last, marked = self._ends()
        self.behind_marked = None if marked is None else marked.next_entry()

    def permit(self, messages: int) -> None:
        """Have the broker give out so many more; the batch that holds the last of them comes whole."""
        self._broker.send(wire.Kind.FLOW, {1: _CONSUMER, 2: messages})

    def arrived(self, patience: float) -> tuple[Position, bytes | memoryview] | None:
        """The next entry of those that are permitted; None where none begins to come within so many seconds.

        What it holds is valid until the next call.
        """
        if not self._came:
            frame = self._broker.arriving(patience)
            if frame is not None:
                self._take(*frame)
                self._came.extend((place_of(fields), content) for fields, content in self._broker.messages_here())
        if not self._came:
            return None
        found = self._came.popleft()
        self._given = found[0]
        return found

    def next(self, permits: int = 1) -> tuple[Position, bytes | memoryview] | None:
        """The next entry; None where the broker passed over all up to the last one. Raises TimeoutError."""
        self.permit(permits)
        deadline = time.monotonic() + wire.TIMEOUT
        while True:
            found = self.arrived(_SILENCE)
            if found is not None:
                return found
            if self.has_passed_the_last() and not self._came:
                return None
            if time.monotonic() > deadline and not self._came:
                raise TimeoutError

    def has_passed_the_last(self) -> bool:
        """Whether all is acknowledged up to the last entry: by us what was given out, and by the broker the rest.

        It acknowledges by itself what it gives out to nobody. [measured with 4.0.8]
        """
        if self._given is not None:
            cumulative, given = 1, encode({1: self._given.ledger, 2: self._given.entry})
            self._broker.send(wire.Kind.ACK, {1: _CONSUMER, 2: cumulative, 3: given})
        _, marked = self._ends()
        return marked is not None and self.last is not None and marked >= self.last

    def _ends(self) -> tuple[Position | None, Position | None]:
        """The last entry, and the one up to which all is acknowledged; None for what the broker does not tell."""
        self._broker.send(wire.Kind.GET_LAST_MESSAGE_ID, {1: _CONSUMER, 2: 2})
        deadline = time.monotonic() + wire.TIMEOUT
        while True:
            kind, fields, content = self._broker.answer(deadline)
            if kind == wire.Kind.GET_LAST_MESSAGE_ID_RESPONSE:
                return entry_of(fields, 1), entry_of(fields, 3)
            self._take(kind, fields, bytes(content))

    def _take(self, kind: int, fields: Fields, content: bytes | memoryview) -> None:
        if kind == wire.Kind.CLOSE_CONSUMER:
            raise ConnectionAbortedError  # the topic moves
        if kind == wire.Kind.MESSAGE:
            self._came.append((place_of(fields.data), content))


def _entry(position: Position, content: bytes | memoryview) -> StoredEntry:
    metadata = Fields(cut_entry(content)[0])
    return StoredEntry(
        position,
        publish_time=metadata.number(_PUBLISH_TIME),
        uuid=metadata.text(_UUID),
        chunk=metadata.number(_CHUNK),
        chunks=max(metadata.number(_CHUNKS), 1),
        messages=max(metadata.number(_BATCH_SIZE), 1),
        silent=bool(metadata.number(_MARKER) or metadata.number(_TRANSACTION)),
    )
