"""What a topic's schema makes of a payload: the fields in the place of ``payload``, in Avro and in JSON lines."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import fastavro
import orjson
from fastavro.schema import SchemaParseException

from transforms.files.avro import encode_bytes, encode_long
from transforms.files.avro_primitives import MisfitError
from transforms.files.datum import Datum, Schema, renamed
from transforms.files.envelope import ENCRYPTION_NAMESPACE, RECORD_NAME, envelope_schema
from transforms.files.jsonl import nested_value, payload_members
from transforms.files.pulsar_types import PRIMITIVE_TYPES
from transforms.pulsar.messages import PulsarMessage
from transforms.pulsar.schemas import TopicSchema

_LENGTH: Final = 4
_NESTED: Final = frozenset(("type", "items", "values"))


@dataclass(frozen=True)
class Part:
    """One value: its Avro schema, and its bytes as Avro and as members of a JSON object."""

    avro: Schema
    names: frozenset[str]
    to_avro: Callable[[bytes], bytes]
    to_json: Callable[[str, bytes], dict[str, Any]]


@dataclass(frozen=True)
class Field:
    """A part under a name, where it can be null: a tombstone has no value."""

    name: str
    part: Part
    kind: Schema
    before: bytes
    null: bytes

    @classmethod
    def of(cls, name: str, part: Part) -> Field:
        """Make the type a union with null, without changing the bytes of a schema that is a union already."""
        schema = part.avro
        if isinstance(schema, list):
            kind = schema if "null" in schema else [*schema, "null"]
            return cls(name, part, kind, b"", encode_long(kind.index("null")))
        if schema == "null":
            return cls(name, part, ["null"], b"\x00", b"\x00")
        return cls(name, part, ["null", schema], b"\x02", b"\x00")

    def definition(self) -> dict[str, Any]:
        """Return the field as a record's schema has it."""
        return {"name": self.name, "type": self.kind, **({"default": None} if self.kind[0] == "null" else {})}


@dataclass(frozen=True)
class Content:
    """The fields in the place of ``payload``, and how a message is split among them."""

    fields: tuple[Field, ...]
    split: Callable[[PulsarMessage], tuple[bytes | None, ...]]

    def envelope(self) -> dict[str, Any]:
        """Return the schema of the whole record. The topic's types keep their names; ours give way."""
        taken = {name for field in self.fields for name in field.part.names}
        record_name, namespace = RECORD_NAME, ENCRYPTION_NAMESPACE
        while record_name in taken:
            record_name += "_"
        while any(name.rpartition(".")[0] == namespace for name in taken):
            namespace += "_"
        definitions = tuple(field.definition() for field in self.fields)
        return envelope_schema(definitions, record_name=record_name, namespace=namespace)

    def to_avro(self, message: PulsarMessage) -> bytes:
        """Encode the fields. Raises MisfitError."""
        return b"".join(
            field.null if data is None else field.before + field.part.to_avro(data)
            for field, data in zip(self.fields, self.split(message), strict=True)
        )

    def to_json(self, message: PulsarMessage) -> dict[str, Any]:
        """Return the members. Raises MisfitError."""
        members: dict[str, Any] = {}
        for field, data in zip(self.fields, self.split(message), strict=True):
            members |= {field.name: None} if data is None else field.part.to_json(field.name, data)
        return members


def content_of(schema: TopicSchema) -> Content | str:
    """Return how payloads under a schema are written, or why they cannot be."""
    if schema.type == "KEY_VALUE":
        return _key_value(schema)
    part = _part(schema.type, schema.definition)
    return part if isinstance(part, str) else _single(part)


def bytes_content() -> Content:
    """Return how a payload without a schema is written."""
    return _single(_BYTES)


def _single(part: Part) -> Content:
    return Content((Field.of("value", part),), lambda message: (message.payload,))


def _part(kind: str, definition: bytes) -> Part | str:
    if kind in PRIMITIVE_TYPES:
        return _primitive(*PRIMITIVE_TYPES[kind])
    if kind not in ("AVRO", "JSON"):
        return _BYTES
    try:
        schema = json.loads(definition)
        datum = Datum(schema)
        schema = _readable(schema)
    except (ValueError, RecursionError) as error:
        # JSON Schema, or no schema at all: the payload may still be JSON, but there is no type for it.
        return _BYTES if kind == "JSON" else f"the schema of the topic cannot be used: {error}"
    return (_avro if kind == "AVRO" else _json)(schema, datum)


def _readable(schema: Schema) -> Schema:
    """Return the schema, without defaults where one does not fit: brokers take such schemas, readers of files do not.

    To read what was written under a schema, its defaults are not needed.
    """
    try:
        fastavro.parse_schema(schema)
    except SchemaParseException:
        return _without_defaults(schema)
    return schema


def _without_defaults(schema: Schema) -> Schema:
    if isinstance(schema, list):
        return [_without_defaults(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _without_defaults(value) if name in _NESTED else value for name, value in schema.items()}
    if "fields" in made:
        made["fields"] = [
            {
                name: _without_defaults(value) if name == "type" else value
                for name, value in field.items()
                if name != "default"
            }
            for field in made["fields"]
        ]
    return made


def _avro(schema: Schema, datum: Datum) -> Part:
    def to_avro(data: bytes) -> bytes:
        datum.read(data)
        return data

    return Part(schema, datum.names, to_avro, lambda name, data: {name: datum.read(data)})


def _json(schema: Schema, datum: Datum) -> Part:
    def to_avro(data: bytes) -> bytes:
        try:
            value = orjson.loads(data)
        except (ValueError, RecursionError):
            msg = "the payload is not JSON"
            raise MisfitError(msg) from None
        return datum.write(value)

    def to_json(name: str, data: bytes) -> dict[str, Any]:
        to_avro(data)
        text = nested_value(data)
        if text is None:
            msg = "the value is nested too deep for JSON"
            raise MisfitError(msg)
        return {name: orjson.Fragment(text)}

    return Part(schema, datum.names, to_avro, to_json)


def _primitive(schema: Schema, decode: Callable[[bytes], Any]) -> Part:
    datum = Datum(schema)

    def to_json(name: str, data: bytes) -> dict[str, Any]:
        value = decode(data)
        datum.write(value)
        return {name: value}

    return Part(schema, frozenset(), lambda data: datum.write(decode(data)), to_json)


_BYTES: Final = Part(
    "bytes", frozenset(), encode_bytes, lambda name, data: payload_members(data, nest=False, name=name)
)


def _key_value(schema: TopicSchema) -> Content | str:
    """Read a KEY_VALUE schema: definitions as the Java client's KeyValueSchemaInfo writes them, kinds in properties."""
    properties = schema.properties or {}
    kinds = [properties.get(f"{side}.schema.type") for side in ("key", "value")]
    encoding = properties.get("kv.encoding.type")
    if None in kinds or encoding not in ("INLINE", "SEPARATED"):
        return "the types of key and value stand in the properties of the schema, which only --admin_url tells"
    try:
        key_definition, value_definition = _two(schema.definition)
    except MisfitError:
        return "the schema of the topic cannot be used: it does not hold two definitions"
    key = _part(str(kinds[0]), key_definition or b"")
    value = _part(str(kinds[1]), value_definition or b"")
    if isinstance(key, str) or isinstance(value, str):
        return key if isinstance(key, str) else str(value)
    if key.names & value.names:  # a name can be defined once in a file
        shifted = renamed(key.avro, lambda name: f"key.{name}")
        key = Part(shifted, Datum(shifted).names, key.to_avro, key.to_json)
    return Content(
        (Field.of("key_value", key), Field.of("value", value)), _inline if encoding == "INLINE" else _separated
    )


def _two(data: bytes) -> tuple[bytes | None, bytes | None]:
    """Split two byte strings, each behind its length in four bytes, of which -1 means null."""
    parts = []
    position = 0
    for _ in range(2):
        if len(data) - position < _LENGTH:
            break
        size = int.from_bytes(data[position : position + _LENGTH], "big", signed=True)
        position += _LENGTH
        if size < -1 or size > len(data) - position:
            break
        parts.append(None if size < 0 else data[position : position + size])
        position += max(size, 0)
    if len(parts) != 2 or position != len(data):  # noqa: PLR2004
        msg = "the payload is not a key and a value"
        raise MisfitError(msg)
    return parts[0], parts[1]


def _inline(message: PulsarMessage) -> tuple[bytes | None, bytes | None]:
    return (None, None) if message.payload is None else _two(message.payload)


def _separated(message: PulsarMessage) -> tuple[bytes | None, bytes | None]:
    if message.key is None:
        if "key" in (message.unreadable or ()):
            msg = "the key could not be read"
            raise MisfitError(msg)
        return None, message.payload
    try:
        return b64decode(message.key, validate=True), message.payload
    except ValueError:
        msg = "the key is not base64, as the key of a separated KEY_VALUE schema is"
        raise MisfitError(msg) from None
