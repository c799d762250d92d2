"""Payloads under a schema, their encoding, and reading it back with readers that are not ours."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Any

import fastavro
from avro.datafile import DataFileReader
from avro.io import DatumReader

from tests.transforms.files.client_messages import ClientMessage, batch_of
from transforms.files.format import EncodedRecords
from transforms.files.formats import make_format
from transforms.files.pieces import Pieces
from transforms.pulsar.schemas import TopicSchema


@dataclass
class FixedSchemas:
    versions: dict[int, TopicSchema] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def get(self, topic: str, version: int) -> TopicSchema | None:
        self.asked.append((topic, version))
        return self.versions.get(version)


def schema(kind: str, definition: Any = None, **properties: str) -> TopicSchema:
    return TopicSchema(kind, b"" if definition is None else json.dumps(definition).encode(), properties or None)


def encode(
    file_format: str, versions: list[TopicSchema] | TopicSchema, *messages: ClientMessage
) -> dict[str, EncodedRecords]:
    """Encode by lane; messages without a version of their own get version 0."""
    kinds = versions if isinstance(versions, list) else [versions]
    _, make_encoder = make_format(file_format, None, "value")
    encoder = make_encoder(FixedSchemas(dict(enumerate(kinds))))
    return {lane.lane: lane for lane in encoder.encode(batch_of(*messages))}


def avro_rows(encoded: EncodedRecords) -> list[Any]:
    file_format, _ = make_format("avro", "deflate", "value")
    data = encoded.header + bytes(file_format.block(Pieces(encoded.data), len(encoded.lengths)))
    rows = list(fastavro.reader(io.BytesIO(data)))
    with DataFileReader(io.BytesIO(data), DatumReader()) as reader:  # another reader takes the schema, too
        assert len(list(reader)) == len(rows)
    return rows


def json_rows(encoded: EncodedRecords) -> list[Any]:
    ends = pairwise(accumulate(encoded.lengths, initial=0))
    return [json.loads(encoded.data[start:end]) for start, end in ends]


def written(definition: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(definition), value)
    return out.getvalue()


ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID"]}, "default": "NEW"},
        {"name": "raw", "type": "bytes", "default": "\xff"},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            "default": "\0",
        },
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 0},
        {"name": "lines", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "tags", "type": {"type": "map", "values": ["null", "int", "string"]}, "default": {}},
        {"name": "next", "type": ["null", "Order"], "default": None},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 2}, "default": "ab"},
        {"name": "weight", "type": "float", "default": 0.5},
        {"name": "done", "type": "boolean", "default": False},
    ],
}
VALUE = {
    "id": 5,
    "note": "ü",
    "state": "PAID",
    "raw": b"\x00\xff",
    "price": Decimal("-12.34"),
    "at": 1_700_000_000_123,
    "lines": ["a", "b"],
    "tags": {"x": 1, "y": None, "z": "t"},
    "next": None,
    "hash": b"\x01\x02",
    "weight": 0.25,
    "done": True,
}
VALUE["next"] = {**VALUE, "id": 6}
AS_JSON = {**VALUE, "raw": "AP8=", "price": "-12.34", "hash": "AQI="}
AS_JSON["next"] = {**AS_JSON, "id": 6, "next": None}
PAYLOAD = written(ORDER, VALUE)
