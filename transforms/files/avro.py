"""Avro: values and records put together from bytes by hand, and the container around them. Held against fastavro.

Formats as in the Avro specification 1.12, "Binary Encoding" and "Object Container Files".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from transforms.files.codecs import Compressor
from transforms.files.pieces import Pieces
from transforms.pulsar.messages import PulsarMessage

#: The same in every file (random bytes, drawn once): a file must not differ when it is written again. The limit of
#: this choice: with codec ``null``, a message that is itself such a file holds the marker too, and a reader that
#: splits one file among several workers may begin at the wrong place. Readers from the start are not concerned.
SYNC_MARKER: Final = bytes.fromhex("c1f6e40b8d2a97537e18b06ad93f524c")
MAGIC: Final = b"Obj\x01"


def encode_long(value: int) -> bytes:
    """Encode an int or long: zigzag, then seven bits a byte, low ones first. For -2**63 ≤ value < 2**63."""
    if 0 <= value < _SMALL:
        return _LONG[value]
    if value >> LOW_SIZE > 0:
        return LOW_BYTES[value & LOW_MASK] + high_bytes(value >> LOW_SIZE)
    return _encode_unsigned(value << 1 if value >= 0 else ~(value << 1))


def _encode_unsigned(rest: int) -> bytes:
    out = bytearray()
    while rest > 0x7F:  # noqa: PLR2004 - seven bits
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


#: How many low bits of a long that is not negative are in its first two bytes; and these, where others follow.
LOW_SIZE: Final = 13
LOW_MASK: Final = (1 << LOW_SIZE) - 1
LOW_BYTES: Final = [bytes((low << 1 & 0x7F | 0x80, low >> 6 | 0x80)) for low in range(1 << LOW_SIZE)]
#: What follows, of the other bits: kept, for times and ids that follow each other differ in their low ones.
high_bytes: Final = lru_cache(maxsize=1024)(_encode_unsigned)
# Lengths and batch indexes are nearly always below this; a look-up costs a tenth of a call.
_SMALL: Final = 4096
_LONG: Final = [_encode_unsigned(value << 1) for value in range(_SMALL)]

NULL: Final = b"\x00"
_SOME: Final = b"\x02"


def encode_text(text: str) -> bytes:
    """Encode a string. Raises UnicodeEncodeError on a lone surrogate."""
    return encode_bytes(text.encode())


def encode_bytes(data: bytes) -> bytes:
    """Encode bytes."""
    return encode_long(len(data)) + data


def encode_optional_text(text: str | None) -> bytes:
    """Encode ``["null", "string"]``. Raises UnicodeEncodeError on a lone surrogate."""
    return NULL if text is None else _SOME + encode_text(text)


def encode_optional_long(value: int | None) -> bytes:
    """Encode ``["null", "long"]``, for -2**63 ≤ value < 2**63."""
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
            encode_optional_long(message.event_time),
            encode_optional_text(message.key),
            encode_optional_text(message.ordering_key),
            encode_map(message.properties),
            encode_optional_text(message.producer_name),
            encode_optional_long(message.schema_version),
            encode_optional_bytes(message.payload) if content is None else content,
            _encode_encryption(message.encryption),
            _encode_unreadable(message.unreadable),
        )
    )


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

    def block(self, records: Pieces, count: int) -> Pieces:
        """See `FileFormat.block`."""
        data = self.compressor.compress(records)
        return Pieces(encode_long(count) + encode_long(len(data)), *data, SYNC_MARKER)
