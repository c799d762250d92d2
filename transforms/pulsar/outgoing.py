"""Messages as a producer puts them into entries: the bytes of ``MessageMetadata`` and of producer batches.

pulsar-client makes these bytes for whoever has a value of its own; it cannot be told the schema version of a message,
nor that its key is base64, and it tells the broker the first sequence id of a batch, not the last [measured, 3.13]. So
what is sent again as it was is put together here. Fields as in ``MessageMetadata`` and ``SingleMessageMetadata`` of
PulsarApi.proto, frames as on Pulsar's "Binary protocol" page.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import fastcrc

from transforms.pulsar.protobuf import encode

#: Of a whole entry, with its metadata: what brokers take unless they are told otherwise (``maxMessageSize``).
MAX_ENTRY_BYTES: Final = 5 << 20
#: Kept for what the broker and the frame add.
_ROOM: Final = 10 << 10
#: A payload above this one stands in an entry of its own, or in several.
_MAX_BATCHED_BYTES: Final = 1 << 20
_MAGIC: Final = 0x0E01
#: Of the enum CompressionType.
_COMPRESSIONS: Final = ("NONE", "LZ4", "ZLIB", "ZSTD", "SNAPPY")


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to be sent. ``payload`` None is a tombstone; times are milliseconds since 1970."""

    payload: bytes | None
    key: str | None = None
    ordering_key: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    event_time: int | None = None
    schema_version: bytes | None = None
    """As the broker has named it; None for a message without schema."""
    key_is_base64: bool = False
    """The key is bytes in base64, as SEPARATED key-value schemas have it."""
    encryption: Mapping[str, Any] | None = None
    """As the record of a backup has it: the payload is encrypted, and may be a whole producer batch."""

    @property
    def size(self) -> int:
        """About the bytes it takes up in an entry."""
        texts = sum(len(name) + len(value) for name, value in self.properties.items())
        return len(self.payload or b"") + len(self.key or "") + len(self.ordering_key or "") + texts

    @property
    def alone(self) -> bool:
        """Whether it must stand in an entry of its own: it is large, or encrypted."""
        return self.size > _MAX_BATCHED_BYTES or self.encryption is not None


@dataclass(frozen=True, slots=True)
class Frame:
    """One entry, or one chunk of a message: the tail of a SEND command."""

    messages: int
    tail: bytes
    is_chunk: bool = False


def frames(producer: str, first: int, messages: Sequence[OutgoingMessage], publish_time: int) -> Iterator[Frame]:
    """Give the entries in which these messages are sent: one, or those of the chunks of a large message.

    ``first`` is the sequence id of the first of them; the others follow. Messages that are sent together have one
    schema version, and none that is ``alone`` is among several. Chunks of two calls are never taken for those of one
    message.
    """
    common: dict[int, int | str | bytes] = {1: producer, 2: first, 3: publish_time}
    version = messages[0].schema_version
    if version is not None:
        common[16] = version
    if len(messages) > 1:
        body = b"".join(_in_batch(first + place, message) for place, message in enumerate(messages))
        batch: dict[int, int | str | bytes] = {9: len(body), 11: len(messages), 24: first + len(messages) - 1}
        yield Frame(len(messages), _checked(encode({**common, **batch}), body))
        return
    (message,) = messages
    metadata = encode(common) + _properties(4, message.properties) + _of_message(message, (6, 12, 17, 18, 25))
    if message.encryption is not None:
        metadata += _of_encryption(message.encryption)
    payload = message.payload or b""
    room = MAX_ENTRY_BYTES - _ROOM - len(metadata)
    if len(payload) <= room:
        count = message.encryption["batch_size"] if message.encryption and message.encryption["whole_batch"] else 1
        yield Frame(count, _checked(metadata, payload))
        return
    # A name of this attempt alone: chunks that an earlier one has left behind belong to no message.
    name, count = f"{producer}-{first}-{uuid.uuid4().hex}", -(-len(payload) // room)
    for number in range(count):
        chunk = encode({26: name, 27: count, 28: len(payload), 29: number})
        yield Frame(1, _checked(metadata + chunk, payload[number * room : (number + 1) * room]), is_chunk=True)


def _in_batch(sequence: int, message: OutgoingMessage) -> bytes:
    payload = message.payload or b""
    metadata = _properties(1, message.properties) + encode({3: len(payload), 8: sequence})
    return _with_size(metadata + _of_message(message, (2, 5, 6, 7, 9))) + payload


def _of_message(message: OutgoingMessage, numbers: tuple[int, int, int, int, int]) -> bytes:
    """Key, event time, whether the key is base64, ordering key, and whether there is no value; where there are any."""
    values: tuple[int | str | None, ...] = (
        message.key,
        message.event_time,
        1 if message.key_is_base64 else None,
        message.ordering_key,
        1 if message.payload is None else None,
    )
    return encode({number: value for number, value in zip(numbers, values, strict=True) if value is not None})


def _of_encryption(encryption: Mapping[str, Any]) -> bytes:
    """What decrypts the payload, and unpacks it then."""
    keys = b"".join(
        encode({13: encode({1: name, 2: key["value"]}) + _properties(3, key["metadata"])})
        for name, key in encryption["keys"].items()
    )
    fields: dict[int, int | str | bytes] = {15: encryption["parameter"]}
    if encryption["algorithm"]:
        fields[14] = encryption["algorithm"]
    if encryption["compression"] != "NONE":
        fields |= {8: _COMPRESSIONS.index(encryption["compression"])}
    fields[9] = encryption["uncompressed_size"]
    if encryption["whole_batch"]:
        fields[11] = encryption["batch_size"]
    return keys + encode(fields)


def _properties(number: int, properties: Mapping[str, str]) -> bytes:
    return b"".join(encode({number: encode({1: name, 2: value})}) for name, value in properties.items())


def _checked(metadata: bytes, payload: bytes) -> bytes:
    content = _with_size(metadata) + payload
    return struct.pack(">HI", _MAGIC, fastcrc.crc32.iscsi(content)) + content


def _with_size(metadata: bytes) -> bytes:
    return struct.pack(">I", len(metadata)) + metadata
