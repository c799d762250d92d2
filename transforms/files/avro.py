"""Avro: records put together from bytes by hand, and the container around them.

The encoder does what ``fastavro.schemaless_writer`` does with the envelope, several times faster, because it knows
the schema: what is constant for a batch or for an entry is encoded once. The tests hold it against fastavro.

Formats as in the Avro specification 1.12, "Binary Encoding" and "Object Container Files".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from transforms.files.codecs import Compressor
from transforms.files.envelope import LONG_LIMIT, UNREADABLE_ERROR, envelope_schema, read_message
from transforms.files.format import EncodedRecords
from transforms.pulsar.messages import MessageBatch, PulsarMessage

#: The same in every file (random bytes, drawn once): a file must not differ when it is written again. The limit of
#: this choice: with codec ``null``, a message that is itself such a file holds the marker too, and a reader that
#: splits one file among several workers may begin at the wrong place. Readers from the start are not concerned.
SYNC_MARKER: Final = bytes.fromhex("c1f6e40b8d2a97537e18b06ad93f524c")
MAGIC: Final = b"Obj\x01"


def encode_long(value: int) -> bytes:
    """Encode an int or long: zigzag, then seven bits a byte, low ones first. For -2**63 ≤ value < 2**63."""
    if 0 <= value < _SMALL:
        return _LONG[value]
    return _encode_unsigned(value << 1 if value >= 0 else ~(value << 1))


def _encode_unsigned(rest: int) -> bytes:
    out = bytearray()
    while rest > 0x7F:  # noqa: PLR2004 - seven bits
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


# Lengths and batch indexes are nearly always below this; a look-up costs a tenth of a call.
_SMALL: Final = 4096
# The last place, which Python reaches with the index -1, holds -1: the batch index outside a producer batch.
_LONG: Final = [*(_encode_unsigned(value << 1) for value in range(_SMALL)), b"\x01"]
# The same behind the index of the second branch of ["null", T].
_SOME_LONG: Final = [b"\x02" + encoded for encoded in _LONG[:_SMALL]]

# The low two bytes of a positive long that goes on behind them, as the second branch of ["null", "long"].
_LOW_SIZE: Final = 13
_LOW_BITS: Final = [bytes((2, low << 1 & 0x7F | 0x80, low >> 6 | 0x80)) for low in range(1 << _LOW_SIZE)]

NULL: Final = b"\x00"
_SOME: Final = b"\x02"
_NO_ENCRYPTION_ALL_READABLE: Final = b"\x00\x00"


def encode_text(text: str) -> bytes:
    """Encode a string. Raises UnicodeEncodeError on a lone surrogate."""
    return encode_bytes(text.encode())


def encode_bytes(data: bytes) -> bytes:
    """Encode bytes."""
    return encode_long(len(data)) + data


class _Names(dict[str, bytes]):
    """Encoded names of properties, of which an application has few; forgotten when they turn out to be many."""

    def __missing__(self, name: str) -> bytes:
        if len(self) >= _SMALL:
            self.clear()
        encoded = self[name] = encode_text(name)
        return encoded


_names: Final = _Names()


def _optional_text(text: str | None) -> bytes:
    return NULL if text is None else _SOME + encode_text(text)


def _optional_long(value: int | None) -> bytes:
    return NULL if value is None else _SOME + encode_long(value)


def encode_map(texts: Mapping[str, str]) -> bytes:
    """Encode a map of strings in the order given: one block, and the end of blocks."""
    if not texts:
        return NULL
    entries = b"".join(encode_text(name) + encode_text(text) for name, text in texts.items())
    return encode_long(len(texts)) + entries + NULL


def _encode_encryption(encryption: Mapping[str, Any] | None) -> bytes:
    if encryption is None:
        return NULL
    keys = encryption["keys"]
    encoded_keys = b"".join(
        encode_text(name) + encode_bytes(key["value"]) + encode_map(key["metadata"]) for name, key in keys.items()
    )
    return b"".join(
        (
            _SOME,
            encode_long(len(keys)) + encoded_keys + NULL if keys else NULL,
            encode_text(encryption["algorithm"]),
            encode_bytes(encryption["parameter"]),
            encode_text(encryption["compression"]),
            encode_long(encryption["uncompressed_size"]),
            encode_long(encryption["batch_size"]),
            b"\x01" if encryption["whole_batch"] else b"\x00",
        )
    )


def _encode_unreadable(names: tuple[str, ...] | None) -> bytes:
    if not names:
        return NULL
    return _SOME + encode_long(len(names)) + b"".join(map(encode_text, names)) + NULL


def encode_optional_bytes(data: bytes | None) -> bytes:
    """Encode ``["null", "bytes"]``, the type of ``payload``."""
    return NULL if data is None else _SOME + encode_bytes(data)


def encode_record(message: PulsarMessage, content: bytes | None = None) -> bytes:
    """Encode one record from a message that was already read.

    ``content`` is the encoded value of the fields in the place of ``payload``; without it, the payload.
    """
    return b"".join(
        (
            encode_text(message.topic),
            encode_long(message.partition),
            encode_long(message.ledger_id),
            encode_long(message.entry_id),
            encode_long(message.batch_index),
            encode_long(message.publish_time),
            _optional_long(message.event_time),
            _optional_text(message.key),
            _optional_text(message.ordering_key),
            encode_map(message.properties),
            _optional_text(message.producer_name),
            _optional_long(message.schema_version),
            encode_optional_bytes(message.payload) if content is None else content,
            _encode_encryption(message.encryption),
            _encode_unreadable(message.unreadable),
        )
    )


def encode_batch(batch: MessageBatch) -> list[bytes]:  # noqa: PLR0915 - one loop, for speed
    """Encode one record for each message, equal to ``encode_record`` of ``read_message``.

    The loop that every message goes through, hence its shape: locals instead of attributes, conditions instead of
    calls, no call into the client for what is already known. Messages of one entry share metadata (publish time,
    producer, schema version, encryption: PulsarApi.proto, MessageMetadata), so their encoding is kept until the
    entry changes. What is rare (unreadable text, encryption, an event time beyond 63 bits) goes the slow way.
    """
    long, some, small, longer, names = _LONG, _SOME_LONG, _SMALL, encode_long, _names
    low_bits, low_mask = _LOW_BITS, (1 << _LOW_SIZE) - 1
    join = b"".join
    partition = batch.partition
    prefix = encode_text(partition.topic) + encode_long(partition.index)
    plain_end = _NO_ENCRYPTION_ALL_READABLE
    records: list[bytes] = []
    append = records.append
    ledger_of_head = entry_of_head = time_of_head = high_of_event = -1
    head = time = producer = high = b""
    encrypted = False
    for message, message_id, publish_time in zip(batch.messages, batch.ids, batch.publish_times, strict=True):
        try:
            ledger_id, entry_id, index = message_id
            if entry_id != entry_of_head or ledger_id != ledger_of_head or publish_time != time_of_head:
                entry_of_head = -1  # stays so if a call below fails
                name = message.producer_name() or None
                version = message.int_schema_version()
                producer = _optional_text(name) + _optional_long(version if version >= 0 else None)
                head = prefix + longer(ledger_id) + longer(entry_id)
                time = longer(publish_time)
                encrypted = message.encryption_context() is not None
                ledger_of_head, entry_of_head, time_of_head = ledger_id, entry_id, publish_time
            event_time = message.event_timestamp()
            if encrypted or event_time >= LONG_LIMIT:
                append(encode_record(read_message(message, partition, message_id, publish_time)))
                continue

            if not event_time:
                event = b"\x00"
            elif event_time <= low_mask:
                event = b"\x02" + longer(event_time)
            else:
                # Six bytes, of which the upper four change every eight seconds.
                if event_time >> _LOW_SIZE != high_of_event:
                    high_of_event = event_time >> _LOW_SIZE
                    high = _encode_unsigned(high_of_event)
                event = low_bits[event_time & low_mask] + high
            key = message.partition_key().encode()
            size = len(key)
            ordering_key = message.ordering_key()
            pieces = [
                head,
                long[index] if index < small else longer(index),
                time,
                event,
                (some[size] if size < small else b"\x02" + longer(size)) if size else b"\x00",
                key,
                b"\x02" + encode_text(ordering_key) if ordering_key else b"\x00",
            ]
            properties = message.properties()
            if properties:
                pieces.append(long[len(properties)] if len(properties) < small else longer(len(properties)))
                for name, value in properties.items():
                    text = value.encode()
                    size = len(text)
                    pieces += (names[name], long[size] if size < small else longer(size), text)
            payload = message.data()
            size = len(payload)
            if size:
                length = some[size] if size < small else b"\x02" + longer(size)
            else:
                length = b"\x00" if message.has_null_value() else b"\x02\x00"
            pieces += (b"\x00", producer, length, payload, plain_end)
            append(join(pieces))
        except UNREADABLE_ERROR:
            append(encode_record(read_message(message, partition, message_id, publish_time)))
    return records


def container_header(schema: Mapping[str, Any], codec: str) -> bytes:
    """Return what a file starts with. It depends on schema and codec alone."""
    entries = (("avro.codec", codec.encode()), ("avro.schema", schema_text(schema)))
    metadata = b"".join(encode_text(name) + encode_bytes(value) for name, value in entries)
    return MAGIC + encode_long(len(entries)) + metadata + NULL + SYNC_MARKER


def schema_text(schema: Mapping[str, Any]) -> bytes:
    """Write a schema as it stands in a header: without blanks, its keys in the order they have."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class AvroFormat:
    """Blocks of an Avro container file; each can be read by itself once the schema is known."""

    compressor: Compressor
    extension: str = "avro"

    def block(self, records: bytes, count: int) -> bytes:
        """See `FileFormat.block`."""
        data = self.compressor.compress(records)
        return b"".join((encode_long(count), encode_long(len(data)), data, SYNC_MARKER))


def joined(lane: str, header: bytes, records: list[bytes], indexes: list[int] | None = None) -> EncodedRecords:
    """Join the records of one lane as they leave an encoder."""
    return EncodedRecords(lane, header, b"".join(records), list(map(len, records)), indexes)


class AvroEncoder:
    """Envelopes with the payload as bytes: one lane, and nothing is ever quarantined."""

    def __init__(self, codec: str) -> None:
        self._header = container_header(envelope_schema(), codec)

    def encode(self, batch: MessageBatch) -> list[EncodedRecords]:
        """See `RecordEncoder.encode`."""
        if not batch.messages:
            return []
        return [joined("", self._header, encode_batch(batch))]
