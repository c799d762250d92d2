"""The entries of a partition as they are stored, for those that a client does not deliver as messages."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from transforms.pulsar import wire
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import entry_of, explained, owner
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import Fields, ProtocolError, encode

_CONSUMER = 1
_EARLIEST = 1
#: What may stand before the metadata: the broker's own metadata, with its size; a checksum of 4 bytes.
_BROKER_METADATA, _CHECKSUM = b"\x0e\x02", b"\x0e\x01"
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
    with _reading(connection, partition, {13: _EARLIEST}) as (broker, last):
        return _next(broker)[0] if last is not None and last.entry >= 0 else None


def stored_entries(
    connection: PulsarConnection, partition: TopicPartition, start: Position, stop: Position | None = None
) -> list[StoredEntry]:
    """The entries from that of ``start`` up to before that of ``stop``; without it, to the last there is now.

    Reads them whole, from the broker, over a connection of its own. Raises SourceError and AccessError.
    """
    # Whether a start id means "from it on" or "behind it" is left to the broker, so the one before is given, and what
    # comes too early is left out. Before entry 0 there is none; Pulsar begins with the entry of an id inside a batch.
    ledger = max(start.ledger, 0)
    before = encode({1: ledger, 2: start.entry - 1} if start.entry > 0 else {1: ledger, 2: 0, 4: 0})
    found: list[StoredEntry] = []
    with _reading(connection, partition, {9: before}) as (broker, last):
        at, permits = start, 1
        while last is not None and at <= last and (stop is None or at < stop):
            position, content = _next(broker, permits)
            if stop is not None and position >= stop:
                break
            at, entry = position.next_entry(), _entry(position, content)
            # The broker counts messages: a batch uses up more permits than the one that let it through.
            permits = entry.messages
            if position >= start:
                found.append(entry)
    return found


@contextmanager
def _reading(
    connection: PulsarConnection, partition: TopicPartition, begin: Mapping[int, int | str | bytes]
) -> Iterator[tuple[wire.Connection, Position | None]]:
    """A subscription that nobody remembers, at ``begin`` (fields of SUBSCRIBE); and the last entry there is."""
    with explained(partition), owner(connection, partition) as broker:
        name = f"tdmq-backup-{uuid.uuid4().hex}"
        exclusive = durable = create_topic = 0
        asked = {1: partition.name, 2: name, 3: exclusive, 4: _CONSUMER, 5: 1, 8: durable, 15: create_topic, **begin}
        broker.request(wire.Kind.SUBSCRIBE, asked)
        yield broker, entry_of(broker.request(wire.Kind.GET_LAST_MESSAGE_ID, {1: _CONSUMER, 2: 2}), 1)


def _next(broker: wire.Connection, permits: int = 1) -> tuple[Position, bytes]:
    broker.send(wire.Kind.FLOW, {1: _CONSUMER, 2: permits})
    command, content = broker.message()
    position = entry_of(command, 2)
    if position is None:
        raise ProtocolError
    return position, content


def _entry(position: Position, content: bytes) -> StoredEntry:
    at = 0
    if content.startswith(_BROKER_METADATA):
        at = 6 + _size(content, 2)
    if content.startswith(_CHECKSUM, at):
        at += 6
    metadata = Fields(content[at + 4 : at + 4 + _size(content, at)])
    return StoredEntry(
        position,
        publish_time=metadata.number(_PUBLISH_TIME),
        uuid=metadata.text(_UUID),
        chunk=metadata.number(_CHUNK),
        chunks=max(metadata.number(_CHUNKS), 1),
        messages=max(metadata.number(_BATCH_SIZE), 1),
        silent=bool(metadata.number(_MARKER) or metadata.number(_TRANSACTION)),
    )


def _size(content: bytes, at: int) -> int:
    if len(content) < at + 4:
        raise ProtocolError
    return int.from_bytes(content[at : at + 4], "big")
