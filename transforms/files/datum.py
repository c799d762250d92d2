"""Values of an Avro schema: read strictly from bytes, and written strictly from JSON.

fastavro does both, and faster, but is too lenient to prove that bytes fit a schema: it takes a branch of -1 for the
last one and an int of 70 bits, and ends the process on a deep value of a recursive schema [measured, 1.13]. One record
that other readers refuse makes the rest of its file unreadable, so here every byte is checked.

As JSON, a value looks like this: bytes and fixed are base64; a decimal is text; other logical types are what they
are made of (a timestamp-millis is an integer); NaN and the infinities are text; a union is its value alone. This is
also what Pulsar's JSON schema (Jackson in Java) writes, but for decimals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from transforms.files.avro_primitives import PRIMITIVES, MisfitError, Reader, Writer
from transforms.files.avro_types import (
    array_type,
    decimal_type,
    enum_type,
    fixed_type,
    map_type,
    record_type,
    union_type,
)

#: Named types inside one another, for recursive schemas: far below what any reader can stand.
MAX_DEPTH: Final = 60
_COMPLEX: Final = frozenset(("record", "error", "enum", "fixed", "array", "map"))

Schema = Any
"""A schema as ``json.loads`` gives it."""


class SchemaError(ValueError):
    """A text is not an Avro schema."""


def full_name(name: str, namespace: str) -> str:
    """Resolve a name in a namespace (Avro specification, "Names")."""
    return name if "." in name or not namespace else f"{namespace}.{name}"


class Datum:
    """A compiled schema. Immutable, thread-safe."""

    def __init__(self, schema: Schema) -> None:
        self._readers: dict[str, Reader] = {}
        self._writers: dict[str, Writer] = {}
        self._defined: set[str] = set()
        try:
            self._read, self._write = self._compile(schema, "")
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            msg = f"not an Avro schema: {type(error).__name__} {error}"
            raise SchemaError(msg) from error
        if missing := [name for name, reader in self._readers.items() if reader is _undefined]:
            msg = f"not an Avro schema: {missing[0]} is not defined"
            raise SchemaError(msg)

    @property
    def names(self) -> frozenset[str]:
        """Full names of the types that the schema defines."""
        return frozenset(self._readers)

    def read(self, data: bytes) -> Any:
        """Decode bytes to the value as JSON has it. Raises MisfitError unless they fit and are used up exactly."""
        value, position = self.read_at(data, 0)
        if position != len(data):
            msg = f"{len(data) - position} bytes are left over"
            raise MisfitError(msg)
        return value

    def read_at(self, data: bytes, position: int) -> tuple[Any, int]:
        """Decode the value at a position; return it and the position behind it. Raises MisfitError."""
        try:
            return self._read(data, position, 0)
        except IndexError:
            msg = "the payload ends too early"
            raise MisfitError(msg) from None
        except RecursionError:
            msg = "values are nested too deep"
            raise MisfitError(msg) from None

    def write(self, value: Any) -> bytes:
        """Encode a value as JSON has it. Raises MisfitError unless all of it fits."""
        try:
            return self._write(value, 0)
        except RecursionError:
            msg = "values are nested too deep"
            raise MisfitError(msg) from None

    def _compile(self, schema: Schema, namespace: str) -> tuple[Reader, Writer]:
        if isinstance(schema, list):
            return union_type([self._compile(branch, namespace) for branch in schema])
        if isinstance(schema, str):
            return PRIMITIVES[schema] if schema in PRIMITIVES else self._reference(full_name(schema, namespace))
        kind = schema["type"]
        if not isinstance(kind, str):
            msg = "not an Avro schema: a type inside a type"
            raise SchemaError(msg)
        if kind not in PRIMITIVES and kind not in _COMPLEX:
            return self._reference(full_name(kind, namespace))
        if kind in PRIMITIVES:
            return _logical(schema, *PRIMITIVES[kind])
        if kind == "array":
            return array_type(*self._compile(schema["items"], namespace))
        if kind == "map":
            return map_type(*self._compile(schema["values"], namespace))
        return self._named(schema, namespace)

    def _reference(self, name: str) -> tuple[Reader, Writer]:
        self._readers.setdefault(name, _undefined)
        readers, writers = self._readers, self._writers

        def read(data: bytes, position: int, depth: int) -> tuple[Any, int]:
            if depth >= MAX_DEPTH:
                msg = "values are nested too deep"
                raise MisfitError(msg)
            return readers[name](data, position, depth + 1)

        def write(value: Any, depth: int) -> bytes:
            if depth >= MAX_DEPTH:
                msg = "values are nested too deep"
                raise MisfitError(msg)
            return writers[name](value, depth + 1)

        return read, write

    def _named(self, schema: dict[str, Any], namespace: str) -> tuple[Reader, Writer]:
        name = full_name(schema["name"], schema.get("namespace", namespace) or "")
        inner = name.rpartition(".")[0]
        if name in self._defined:
            msg = f"not an Avro schema: {name} is defined twice"
            raise SchemaError(msg)
        self._defined.add(name)
        self._readers.setdefault(name, _undefined)
        if schema["type"] == "enum":
            made = enum_type(list(schema["symbols"]))
        elif schema["type"] == "fixed":
            made = _logical(schema, *fixed_type(int(schema["size"])))
        else:
            fields = [(field["name"], *self._compile(field["type"], inner), field) for field in schema["fields"]]
            made = record_type(fields)
        self._readers[name], self._writers[name] = made
        return made


def _logical(schema: dict[str, Any], read: Reader, write: Writer) -> tuple[Reader, Writer]:
    if schema.get("logicalType") == "decimal" and schema["type"] in ("bytes", "fixed"):
        return decimal_type(read, write, int(schema.get("scale", 0)))
    return read, write


def _undefined(data: bytes, position: int, depth: int) -> tuple[Any, int]:
    raise NotImplementedError


def renamed(schema: Schema, rename: Callable[[str], str], namespace: str = "") -> Schema:
    """Return the same schema with other full names, written out in full. It must be a valid schema."""
    if isinstance(schema, list):
        return [renamed(branch, rename, namespace) for branch in schema]
    if isinstance(schema, str):
        return schema if schema in PRIMITIVES else rename(full_name(schema, namespace))
    made = dict(schema)
    kind = schema["type"]
    if kind in ("record", "error", "enum", "fixed"):
        name = full_name(schema["name"], schema.get("namespace", namespace) or "")
        made["name"] = rename(name)
        made.pop("namespace", None)
        inner = name.rpartition(".")[0]
        if "fields" in schema:
            made["fields"] = [{**field, "type": renamed(field["type"], rename, inner)} for field in schema["fields"]]
        return made
    for part in ("items", "values"):
        if kind == {"items": "array", "values": "map"}[part]:
            made[part] = renamed(schema[part], rename, namespace)
            return made
    made["type"] = renamed(kind, rename, namespace)
    return made
