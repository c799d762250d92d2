"""The complex types of Avro, each made from the functions of its parts: read a value from bytes, write one from JSON.

How values look as JSON stands in ``datum.py``.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from transforms.files.avro import encode_long
from transforms.files.avro_primitives import (
    PRIMITIVES,
    MisfitError,
    Reader,
    Writer,
    base64_of,
    from_base64,
    misfit,
    read_long,
)

#: Elements of an array that take no bytes at all; without a limit, five bytes could keep a worker busy for years.
_MAX_EMPTY_ELEMENTS: Final = 1_000_000


def _read_blocks(data: bytes, position: int, read_element: Callable[[int], int]) -> int:
    """Read the blocks of an array or map; ``read_element`` reads one at a position and returns the one behind it."""
    empty = 0
    while True:
        count, position = read_long(data, position)
        if count == 0:
            return position
        end = None
        if count < 0:  # then the bytes of the block are written too
            count = -count
            size, position = read_long(data, position)
            end = position + size
        for _ in range(count):
            behind = read_element(position)
            if behind == position:
                empty += 1
                if empty > _MAX_EMPTY_ELEMENTS:
                    msg = "an array has too many empty elements"
                    raise MisfitError(msg)
            position = behind
        if end not in (None, position):
            msg = "a block is not as long as it says"
            raise MisfitError(msg)


def array_type(read_item: Reader, write_item: Writer) -> tuple[Reader, Writer]:
    """Make an array of items."""

    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        items: list[Any] = []

        def element(at: int) -> int:
            value, behind = read_item(data, at, depth)
            items.append(value)
            return behind

        position = _read_blocks(data, position, element)
        return items, position

    def write(value: Any, depth: int) -> bytes:
        if not isinstance(value, list):
            raise misfit(value, "an array")
        items = b"".join([write_item(item, depth) for item in value])
        return encode_long(len(value)) + items + b"\x00" if value else b"\x00"

    return read, write


def map_type(read_value: Reader, write_value: Writer) -> tuple[Reader, Writer]:
    """Make a map from strings to values."""
    read_name, write_name = PRIMITIVES["string"]

    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        values: dict[str, Any] = {}

        def element(at: int) -> int:
            name, behind = read_name(data, at, depth)
            values[name], behind = read_value(data, behind, depth)
            return behind

        position = _read_blocks(data, position, element)
        return values, position

    def write(value: Any, depth: int) -> bytes:
        if not isinstance(value, dict):
            raise misfit(value, "an object")
        entries = [write_name(name, depth) + write_value(item, depth) for name, item in value.items()]
        return encode_long(len(entries)) + b"".join(entries) + b"\x00" if entries else b"\x00"

    return read, write


def enum_type(symbols: list[str]) -> tuple[Reader, Writer]:
    """Make an enum."""
    places = {symbol: encode_long(place) for place, symbol in enumerate(symbols)}

    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        place, position = read_long(data, position)
        if not 0 <= place < len(symbols):
            raise misfit(place, "the place of a symbol")
        return symbols[place], position

    def write(value: Any, depth: int) -> bytes:
        if not isinstance(value, str) or value not in places:
            raise misfit(value, "a symbol of the enum")
        return places[value]

    return read, write


def fixed_type(size: int) -> tuple[Reader, Writer]:
    """Make bytes of one size."""
    if not isinstance(size, int) or size < 0:
        raise TypeError(f"a size of {size!r}")

    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        if size > len(data) - position:
            raise IndexError
        return base64_of(data[position : position + size]), position + size

    def write(value: Any, depth: int) -> bytes:
        data = from_base64(value)
        if len(data) != size:
            raise misfit(value, f"{size} bytes")
        return data

    return read, write


def decimal_type(read_unscaled: Reader, write_unscaled: Writer, scale: int) -> tuple[Reader, Writer]:
    """Make a decimal of bytes or fixed: read as exact text, written from the base64 of the unscaled number.

    No bytes at all are no number: Java refuses them.
    """

    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        text, position = read_unscaled(data, position, depth)
        if not text:
            raise misfit(text, "a decimal")
        unscaled = int.from_bytes(b64decode(text), "big", signed=True)
        digits = tuple(map(int, str(abs(unscaled))))
        return format(Decimal((int(unscaled < 0), digits, -scale)), "f"), position

    def write(value: Any, depth: int) -> bytes:
        if not value:
            raise misfit(value, "a decimal")
        return write_unscaled(value, depth)

    return read, write


def union_type(branches: list[tuple[Reader, Writer]]) -> tuple[Reader, Writer]:
    """Make a union; a JSON value becomes the first branch that it fits."""
    reads = [read for read, _ in branches]
    writes = [(encode_long(place), write) for place, (_, write) in enumerate(branches)]

    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        place, position = read_long(data, position)
        if not 0 <= place < len(reads):
            raise misfit(place, "the place of a branch of the union")
        return reads[place](data, position, depth)

    def write(value: Any, depth: int) -> bytes:
        reason = None
        for place, write_branch in writes:
            try:
                return place + write_branch(value, depth)
            except MisfitError as error:
                reason = error  # of the last branch; the first is mostly null
        raise reason or misfit(value, "in an empty union")

    return read, write


def record_type(fields: list[tuple[str, Reader, Writer, dict[str, Any]]]) -> tuple[Reader, Writer]:
    """Make a record from name, reader, writer and definition of its fields.

    An object that lacks a field gets null where the field can be null (Pulsar's JSON schema in Java leaves nulls
    out), else the field's default. An object with a member that the schema lacks does not fit: it would be lost.
    """
    names = {name for name, *_ in fields}

    def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        record: dict[str, Any] = {}
        for name, read_field, _, _ in fields:
            record[name], position = read_field(data, position, depth)
        return record, position

    def write(value: Any, depth: int) -> bytes:
        if not isinstance(value, dict):
            raise misfit(value, "an object")
        if unknown := [name for name in value if name not in names]:
            msg = f"the schema has no field {json.dumps(unknown[0])[:60]}"
            raise MisfitError(msg)
        pieces = []
        for name, _, write_field, definition in fields:
            if name in value:
                pieces.append(_in_field(name, lambda: write_field(value[name], depth)))  # noqa: B023 - called at once
            else:
                pieces.append(_missing(name, write_field, definition, depth))
        return b"".join(pieces)

    return read, write


def _in_field(name: str, write: Callable[[], bytes]) -> bytes:
    try:
        return write()
    except MisfitError as error:
        msg = f"field {name}: {error}"
        raise MisfitError(msg) from None


def _missing(name: str, write: Writer, definition: dict[str, Any], depth: int) -> bytes:
    try:
        return write(None, depth)
    except MisfitError:
        pass
    if "default" in definition:
        default, kind = definition["default"], definition["type"]
        kind = kind.get("type") if isinstance(kind, dict) else kind
        if kind in ("bytes", "fixed") and isinstance(default, str):
            default = base64_of(default.encode("latin-1"))  # Avro specification: code points 0-255 are the bytes
        return write(default, depth)
    msg = f"field {name} is missing"
    raise MisfitError(msg)
