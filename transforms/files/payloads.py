"""The payload of a message again, from what ``--payload=value`` has written in its place.

By Pulsar's type, what comes back:

==================  =================================================  ===================================
type                from Avro                                          from JSON lines
==================  =================================================  ===================================
AVRO                the bytes as they were                             the value, encoded anew
JSON                the value, as JSON anew                            the text; breaks of lines are blanks
STRING … DATE …     the bytes as they were                             the same
all others          the bytes as they were                             the same
==================  =================================================  ===================================

What is encoded anew is equal as a value, not byte for byte: nulls that were left out are written, the first branch of a
union that fits is taken. A value that would not even be equal is refused with UnrestorableError.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from transforms.errors import UnrestorableError
from transforms.files.avro_primitives import MisfitError, read_long
from transforms.files.content import Field, content_of
from transforms.files.datum import Datum
from transforms.files.decode import Record
from transforms.files.pulsar_types import PRIMITIVE_BYTES, PRIMITIVE_TYPES
from transforms.pulsar.schemas import TopicSchema

_NULL_LENGTH: Final = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Restored:
    """A payload, and whether it has the bytes that it had. None is a tombstone."""

    payload: bytes | None
    exact: bool


class Payloads:
    """Makes payloads under one schema; None for messages without one. Raises UnrestorableError if it cannot at all."""

    def __init__(self, schema: TopicSchema | None) -> None:
        self._separated = False
        kinds = ["BYTES"] if schema is None else [schema.type]
        definitions = [b"" if schema is None else schema.definition]
        content = content_of(schema or TopicSchema("BYTES"))
        if isinstance(content, str):
            raise UnrestorableError(content)
        if schema is not None and schema.type == "KEY_VALUE":
            properties = schema.properties or {}
            kinds = [properties.get(f"{side}.schema.type", "") for side in ("key", "value")]
            definitions = _two_definitions(schema.definition)
            self._separated = properties.get("kv.encoding.type") == "SEPARATED"
        self._parts = [
            _Part(field, kind, definition)
            for field, kind, definition in zip(content.fields, kinds, definitions, strict=True)
        ]

    def of(self, record: Record, values: Mapping[str, bytes], *, is_avro: bool) -> Restored:
        """The payload of a record; ``values`` as ``read_with_values`` gives them. Raises UnrestorableError."""
        try:
            made = [part.of(record, values, is_avro=is_avro) for part in self._parts]
        except (MisfitError, ValueError, KeyError, OverflowError) as error:
            raise UnrestorableError(f"the value does not fit the schema that is recorded for it ({error})") from None
        if len(made) == 1 or self._separated:
            return made[-1]
        payloads = [each.payload for each in made]
        if payloads == [None, None]:
            return Restored(None, True)
        return Restored(b"".join(map(_sized, payloads)), all(each.exact for each in made))


class _Part:
    """One value: of a schema, or the key or the value of a KEY_VALUE schema."""

    def __init__(self, field: Field, kind: str, definition: bytes) -> None:
        self._field = field
        # A JSON schema that is not one of Avro's has left the payload as it was.
        self._kind = kind if field.part.avro != "bytes" or kind in PRIMITIVE_TYPES else "BYTES"
        self._datum = Datum(field.part.avro)
        self._has_decimals = self._kind in ("AVRO", "JSON") and _has_decimals(json.loads(definition))

    def of(self, record: Record, values: Mapping[str, bytes], *, is_avro: bool) -> Restored:
        return self._from_avro(values[self._field.name]) if is_avro else self._from_json(record, values)

    def _from_avro(self, encoded: bytes) -> Restored:
        if encoded == self._field.null:
            if not self._field.before:
                raise UnrestorableError("a null of its schema and a message without a value are written alike")
            return Restored(None, True)
        data = encoded[len(self._field.before) :]
        if self._kind == "AVRO":
            return Restored(data, True)
        if self._kind == "BYTES":
            return Restored(data[read_long(data, 0)[1] :], True)
        value = self._datum.read(data)
        if self._kind != "JSON":
            return Restored(PRIMITIVE_BYTES[self._kind](value), True)
        self._refuse_decimals()
        return Restored(orjson.dumps(value), False)

    def _from_json(self, record: Record, values: Mapping[str, bytes]) -> Restored:
        name = self._field.name
        if self._kind == "BYTES":
            encoded = record.get(f"{name}_base64")
            text = record.get(name)
            return Restored(
                b64decode(encoded) if encoded is not None else None if text is None else text.encode(), True
            )
        if record.get(name) is None:
            if not self._field.before:
                raise UnrestorableError("a null of its schema and a message without a value are written alike")
            return Restored(None, True)
        if self._kind == "JSON":
            return Restored(values[name], False)
        if self._kind != "AVRO":
            return Restored(PRIMITIVE_BYTES[self._kind](record[name]), True)
        self._refuse_decimals()
        return Restored(self._datum.write(record[name]), False)

    def _refuse_decimals(self) -> None:
        if self._has_decimals:
            raise UnrestorableError("its schema has decimals, which are written as text here and cannot be read back")


def _sized(payload: bytes | None) -> bytes:
    return _NULL_LENGTH if payload is None else len(payload).to_bytes(4, "big") + payload


def _two_definitions(definition: bytes) -> list[bytes]:
    size = max(int.from_bytes(definition[:4], "big", signed=True), 0)
    return [definition[4 : 4 + size], definition[8 + size :]]


def _has_decimals(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_has_decimals, schema))
    if isinstance(schema, dict):
        return schema.get("logicalType") == "decimal" or any(map(_has_decimals, schema.values()))
    return False
