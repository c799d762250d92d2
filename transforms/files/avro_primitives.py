"""The primitive types of Avro, each as a pair of functions: read a value from bytes, write one from JSON.

How values look as JSON stands in ``datum.py``.
"""

from __future__ import annotations

import json
import math
import struct
from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any, Final

from transforms.files.avro import encode_bytes, encode_long, encode_text

_MAX_VARINT: Final = 10
_INT: Final = range(-(2**31), 2**31)
_LONG: Final = range(-(2**63), 2**63)
_FLOATS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

#: Reads a value at a position, at a depth; returns it and the position behind it. IndexError where the bytes end.
Reader = Callable[[bytes, int, int], tuple[Any, int]]
#: Writes a JSON value, at a depth.
Writer = Callable[[Any, int], bytes]


class MisfitError(ValueError):
    """Bytes or a JSON value do not fit a schema; the text says where it went wrong, in words that stay the same."""


def misfit(value: Any, wanted: str) -> MisfitError:
    """Make the error for a value that is not what was wanted."""
    shown = {dict: "an object", list: "an array", type(None): "null"}.get(type(value)) or json.dumps(value)[:60]
    return MisfitError(f"{shown} is not {wanted}")


def read_long(data: bytes, position: int) -> tuple[int, int]:
    """Read an int or long at a position; return it and the position behind it."""
    byte = data[position]
    if byte < 0x80:  # noqa: PLR2004 - most numbers are one byte: lengths, branches, counts
        return byte >> 1 ^ -(byte & 1), position + 1
    value = shift = 0
    for place in range(position, position + _MAX_VARINT):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says "more follows"
            if value >> 64:
                break
            return value >> 1 ^ -(value & 1), place + 1
        shift += 7
    msg = "a number has more than 64 bits"
    raise MisfitError(msg)


def _read_sized(data: bytes, position: int) -> tuple[bytes, int]:
    size, position = read_long(data, position)
    if size < 0 or size > len(data) - position:
        msg = "the payload ends too early"
        raise MisfitError(msg)
    return data[position : position + size], position + size


def base64_of(data: bytes) -> str:
    """Write bytes as they stand in JSON."""
    return b2a_base64(data, newline=False).decode()


def from_base64(value: Any) -> bytes:
    """Read bytes as they stand in JSON."""
    if isinstance(value, str):
        try:
            return b64decode(value, validate=True)
        except ValueError:
            pass
    raise misfit(value, "base64")


def _null() -> tuple[Reader, Writer]:
    def write(value: Any, depth: int) -> bytes:
        if value is not None:
            raise misfit(value, "null")
        return b""

    return lambda data, position, depth: (None, position), write


def _boolean() -> tuple[Reader, Writer]:
    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        byte = data[position]
        if byte > 1:
            raise misfit(byte, "a boolean")
        return byte == 1, position + 1

    def write(value: Any, depth: int) -> bytes:
        if not isinstance(value, bool):
            raise misfit(value, "a boolean")
        return b"\x01" if value else b"\x00"

    return read, write


def _integer(limits: range, name: str) -> tuple[Reader, Writer]:
    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        value, position = read_long(data, position)
        if value not in limits:
            raise misfit(value, name)
        return value, position

    def write(value: Any, depth: int) -> bytes:
        if type(value) is not int or value not in limits:
            raise misfit(value, name)
        return encode_long(value)

    return read, write


def _floating(packing: str, name: str) -> tuple[Reader, Writer]:
    packed = struct.Struct(packing)

    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        if len(data) - position < packed.size:
            raise IndexError
        value = packed.unpack_from(data, position)[0]
        if math.isfinite(value):
            return value, position + packed.size
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity", position + packed.size

    def write(value: Any, depth: int) -> bytes:
        number = _FLOATS.get(value) if isinstance(value, str) else value
        try:
            if type(number) is float or (type(number) is int and int(float(number)) == number):
                return packed.pack(number)
        except OverflowError:
            pass
        raise misfit(value, name)

    return read, write


def _bytes() -> tuple[Reader, Writer]:
    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        value, position = _read_sized(data, position)
        return base64_of(value), position

    return read, lambda value, depth: encode_bytes(from_base64(value))


def _string() -> tuple[Reader, Writer]:
    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        value, position = _read_sized(data, position)
        try:
            return value.decode(), position
        except UnicodeDecodeError:
            msg = "a string is not UTF-8"
            raise MisfitError(msg) from None

    def write(value: Any, depth: int) -> bytes:
        if not isinstance(value, str):
            raise misfit(value, "a string")
        return encode_text(value)

    return read, write


PRIMITIVES: Final[dict[str, tuple[Reader, Writer]]] = {
    "null": _null(),
    "boolean": _boolean(),
    "int": _integer(_INT, "an int"),
    "long": _integer(_LONG, "a long"),
    "float": _floating("<f", "a float"),
    "double": _floating("<d", "a double"),
    "bytes": _bytes(),
    "string": _string(),
}
