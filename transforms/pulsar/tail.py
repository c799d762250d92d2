"""What stands at the end of a partition that no client delivers.

pulsar-client says that there is a next message as long as there is a next *entry*: also when that one is a chunk of a
message whose other chunks never came, or a marker of a transaction. A reader that believes it waits for ever. So
the entries themselves are looked at, as they are stored.
"""

from __future__ import annotations

import struct
import time
import uuid
from dataclasses import dataclass

from transforms.pulsar import wire
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import entry_of, explained, owner
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import Fields, encode

_CONSUMER = 1
_PATIENCE = 10.0
_MAGIC_AND_CHECKSUM = 6
# Fields of MessageMetadata in PulsarApi.proto.
_PUBLISH_TIME, _MARKER, _UUID, _CHUNKS, _CHUNK = 3, 20, 26, 27, 29


@dataclass(frozen=True, slots=True)
class Tail:
    """The entries from a position to the end."""

    holds_messages: bool
    """Whether a client will deliver any of them, sooner or later."""
    publish_time: int
    """The latest publish time in them, milliseconds; 0 if there are none."""


def look_at_tail(connection: PulsarConnection, partition: TopicPartition, start: Position) -> Tail:
    """Look at the entries from that of ``start`` to the last there is now. Raises SourceError, AccessError."""
    # A start id means "behind it" here. Protobuf carries the -1 before the first entry as an unsigned number.
    before = encode({1: max(start.ledger, 0), 2: (start.entry - 1) % 2**64})
    subscribe: dict[int, int | str | bytes] = {
        1: partition.name,
        2: f"tdmq-backup-{uuid.uuid4().hex}",
        3: 0,  # exclusive
        4: _CONSUMER,
        5: 1,
        8: 0,  # not durable
        9: before,
        15: 0,  # do not create the topic
    }
    chunks: set[tuple[str, int]] = set()
    ends: set[tuple[str, int]] = set()
    latest = 0
    with explained(partition), owner(connection, partition) as broker:
        broker.request(wire.Kind.SUBSCRIBE, subscribe)
        last = entry_of(broker.request(wire.Kind.GET_LAST_MESSAGE_ID, {1: _CONSUMER, 2: 2}), 1)
        at = start
        deadline = time.monotonic() + _PATIENCE
        while last is not None and at <= last and time.monotonic() < deadline:
            broker.send(wire.Kind.FLOW, {1: _CONSUMER, 2: 1})
            command, entry = broker.message()
            found = entry_of(command, 1)
            if found is None or found > last:
                break
            at = found.next_entry()
            metadata = _metadata(entry)
            latest = max(latest, metadata.number(_PUBLISH_TIME))
            name, count, index = metadata.text(_UUID), metadata.number(_CHUNKS), metadata.number(_CHUNK)
            if count > 1:
                chunks.add((name, index))
                if index == count - 1:
                    ends.add((name, count))
            elif not metadata.number(_MARKER):
                return Tail(holds_messages=True, publish_time=latest)
    whole = any(all((name, index) in chunks for index in range(count)) for name, count in ends)
    return Tail(holds_messages=whole, publish_time=latest)


def _metadata(entry: bytes) -> Fields:
    (size,) = struct.unpack_from(">I", entry, _MAGIC_AND_CHECKSUM)
    begin = _MAGIC_AND_CHECKSUM + 4
    return Fields(entry[begin : begin + size])
