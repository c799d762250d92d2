"""Protobuf's encoding, as much of it as a handful of Pulsar's commands need.

Written out because generated classes would bring a compiler into the build and a second runtime beside Beam's.
Source: protobuf's "Encoding" page.
"""

from __future__ import annotations

from functools import cached_property


class ProtocolError(Exception):
    """What came is not what the protocol says."""


class Fields:
    """The fields of one protobuf message, by number. Unknown ones are kept, absent ones have protobuf's defaults."""

    def __init__(self, data: bytes) -> None:
        """Raises ProtocolError once a field is asked for."""
        self.data = data

    @cached_property
    def _values(self) -> dict[int, list[int | bytes]]:
        data = self.data
        values: dict[int, list[int | bytes]] = {}
        at = 0
        while at < len(data):
            tag, at = read_varint(data, at)
            value: int | bytes
            if tag & 7 == 0:
                value, at = read_varint(data, at)
            else:
                width = {1: 8, 5: 4}.get(tag & 7)
                if width is None:
                    if tag & 7 != 2:  # noqa: PLR2004 - length-delimited, the only wire type left
                        raise ProtocolError
                    width, at = read_varint(data, at)
                value, at = data[at : at + width], at + width
            if at > len(data):
                raise ProtocolError
            values.setdefault(tag >> 3, []).append(value)
        return values

    def number(self, field: int) -> int:
        """Return an integer field, 0 where it is absent."""
        values = [value for value in self._values.get(field, []) if isinstance(value, int)]
        return values[-1] if values else 0

    def strings(self, field: int) -> list[bytes]:
        """Return all values of a string, bytes or message field."""
        return [value for value in self._values.get(field, []) if isinstance(value, bytes)]

    def text(self, field: int) -> str:
        """Return a string field, empty where it is absent."""
        values = self.strings(field)
        return values[-1].decode(errors="replace") if values else ""


def encode(fields: dict[int, int | str | bytes]) -> bytes:
    """Encode fields, none of them repeated, as a protobuf message. Integers must not be negative."""
    parts = []
    for number, value in fields.items():
        if isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts.append(varint(number << 3 | 2) + varint(len(data)) + data)
    return b"".join(parts)


def varint(value: int) -> bytes:
    """Encode an integer that is not negative."""
    result = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer that begins at ``at``, and the place behind it. Raises ProtocolError where it does not end."""
    value = shift = 0
    for index in range(at, min(at + 10, len(data))):
        value |= (data[index] & 0x7F) << shift
        if data[index] < 0x80:  # noqa: PLR2004 - the last byte has no high bit
            return value, index + 1
        shift += 7
    raise ProtocolError
