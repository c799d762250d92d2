"""Pulsar's own primitive schemas: what their bytes mean, as the Java client's classes in ``client/impl/schema`` write.

All numbers are big-endian and have one size only.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, Final

from transforms.files.avro_primitives import MisfitError

_DAY_NANOS: Final = 86_400_000_000_000


def _string(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        msg = "a string is not UTF-8"
        raise MisfitError(msg) from None


def _boolean(data: bytes) -> bool:
    if data not in (b"\0", b"\1"):
        msg = "a boolean is one byte, 0 or 1"
        raise MisfitError(msg)
    return data == b"\1"


def _packed(packing: str, combine: Callable[..., Any] = lambda value: value) -> Callable[[bytes], Any]:
    packed = struct.Struct(packing)

    def decode(data: bytes) -> Any:
        if len(data) != packed.size:
            msg = f"the payload has {len(data)} bytes instead of {packed.size}"
            raise MisfitError(msg)
        return combine(*packed.unpack(data))

    return decode


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _instant(seconds: int, nanos: int) -> int:
    return seconds * 1_000_000_000 + nanos


def _local_date_time(day: int, nanos: int) -> int:
    return day * _DAY_NANOS + nanos


def _logical(name: str, kind: str = "long") -> dict[str, str]:
    return {"type": kind, "logicalType": name}


#: By Pulsar's name: the Avro type, and what gives its value as JSON has it (see ``datum.py``). A moment that does not
#: fit the 64 bits of Avro's nanoseconds (before 1677, after 2262) does not fit the schema.
PRIMITIVE_TYPES: Final[dict[str, tuple[Any, Callable[[bytes], Any]]]] = {
    "STRING": ("string", _string),
    "BOOLEAN": ("boolean", _boolean),
    "INT8": ("int", _packed(">b")),
    "INT16": ("int", _packed(">h")),
    "INT32": ("int", _packed(">i")),
    "INT64": ("long", _packed(">q")),
    "FLOAT": ("float", _packed(">f", _number)),
    "DOUBLE": ("double", _packed(">d", _number)),
    # java.util.Date, java.sql.Time and java.sql.Timestamp are all milliseconds since 1970.
    "DATE": (_logical("timestamp-millis"), _packed(">q")),
    "TIME": ("long", _packed(">q")),
    "TIMESTAMP": (_logical("timestamp-millis"), _packed(">q")),
    "INSTANT": (_logical("timestamp-nanos"), _packed(">qi", _instant)),
    "LOCAL_DATE": (_logical("date", "int"), _packed(">q")),
    # Nanoseconds of the day; Avro has no such logical type.
    "LOCAL_TIME": ("long", _packed(">q")),
    "LOCAL_DATE_TIME": (_logical("local-timestamp-nanos"), _packed(">qq", _local_date_time)),
}


def _from_number(packing: str) -> Callable[[Any], bytes]:
    pack = struct.Struct(packing).pack
    return lambda value: pack(float(value) if packing in (">f", ">d") else value)


#: The way back: a value as JSON has it to its bytes, those that the Java client writes for it.
PRIMITIVE_BYTES: Final[dict[str, Callable[[Any], bytes]]] = {
    "STRING": lambda value: bytes(value.encode()),
    "BOOLEAN": lambda value: b"\1" if value else b"\0",
    "INT8": _from_number(">b"),
    "INT16": _from_number(">h"),
    "INT32": _from_number(">i"),
    "INT64": _from_number(">q"),
    "FLOAT": _from_number(">f"),
    "DOUBLE": _from_number(">d"),
    "DATE": _from_number(">q"),
    "TIME": _from_number(">q"),
    "TIMESTAMP": _from_number(">q"),
    "INSTANT": lambda value: struct.pack(">qi", *divmod(value, 1_000_000_000)),
    "LOCAL_DATE": _from_number(">q"),
    "LOCAL_TIME": _from_number(">q"),
    "LOCAL_DATE_TIME": lambda value: struct.pack(">qq", *divmod(value, _DAY_NANOS)),
}
