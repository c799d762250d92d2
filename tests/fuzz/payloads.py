"""Payloads under the schemas of topics, and what readers make of the files."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any
from unittest import mock

import fastavro
import orjson
from fastavro.read import LOGICAL_READERS
from hypothesis import strategies as st

from tests.fuzz.inputs import damaged, json_values
from tests.fuzz.target import target
from tests.transforms.files.client_messages import ClientMessage, batch_of, messages
from tests.transforms.files.values import FixedSchemas, json_rows
from transforms.files.avro_primitives import MisfitError
from transforms.files.content import Content, content_of
from transforms.files.formats import make_format
from transforms.files.pieces import Pieces
from transforms.pulsar.schemas import TYPE_NAMES, TopicSchema

NAMES = ("value", "Person", "a.b.C", "PulsarMessage", "tdmq.backup.Encryption", "", "1x", "é")
avro_schemas = st.recursive(
    st.sampled_from([
        "null", "boolean", "int", "long", "float", "double", "bytes", "string", "Person", "nonsense",
        {"type": "fixed", "name": "F", "size": 3}, {"type": "fixed", "name": "F", "size": -1},
        {"type": "enum", "name": "E", "symbols": ["A", "B"]}, {"type": "long", "logicalType": "date"},
        {"type": "bytes", "logicalType": "decimal", "precision": 4},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": "x"},
        {"type": "string", "logicalType": "uuid"}, {"type": "record"}, {}, [], None, 7,
    ]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"type": st.just("map"), "values": inner}),
        st.builds(
            lambda name, kinds, default: {
                "type": "record",
                "name": name,
                "fields": [{"name": f"f{at}", "type": kind, **default} for at, kind in enumerate(kinds)],
            },
            st.sampled_from(NAMES),
            st.lists(inner, max_size=3),
            st.one_of(st.just({}), json_values.map(lambda value: {"default": value})),
        ),
    ),
    max_leaves=6,
)  # fmt: skip
definitions = st.one_of(avro_schemas.map(lambda schema: json.dumps(schema).encode()), st.binary(max_size=20))
kinds = st.one_of(st.sampled_from(["AVRO", "JSON"]), st.sampled_from([*TYPE_NAMES.values(), "type 99"]))
key_values = st.builds(
    lambda one, other: b"".join(len(each).to_bytes(4, "big") + each for each in (one, other)), definitions, definitions
)
properties = st.dictionaries(
    st.sampled_from(["key.schema.type", "value.schema.type", "kv.encoding.type", "key.schema.name"]),
    st.one_of(kinds, st.sampled_from(["INLINE", "SEPARATED", ""])),
)
schemas = st.one_of(
    st.builds(TopicSchema, kinds, definitions, st.none()),
    st.builds(TopicSchema, st.just("KEY_VALUE"), damaged(key_values), st.one_of(st.none(), properties)),
)
payloads = st.one_of(
    st.binary(max_size=40),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"", b"[" * 3000, b'{"a":' * 3000, b"\xff" * 12, b"\x80" * 12, b"1e999", b"NaN", b"\x02" * 30]),
)


def rows_of(avro_file: bytes) -> list[Any]:
    """Its records as they are stored: times beyond the year 9999 are kept, and are no dates to Python."""
    with mock.patch.dict(LOGICAL_READERS, clear=True):
        return list(fastavro.reader(io.BytesIO(avro_file)))


@target(schemas, payloads)
def payloads_under_any_schema(schema: TopicSchema, payload: bytes) -> None:
    content = content_of(schema)
    if isinstance(content, str):
        assert content
        return
    assert isinstance(content, Content)
    batch = batch_of(ClientMessage(payload=payload, version=0), ClientMessage(payload=None, version=0))
    for name in ("avro", "jsonl"):
        file_format, make_encoder = make_format(name, "null" if name == "avro" else "none", "value")
        for encoded in make_encoder(FixedSchemas({0: schema})).encode(batch):
            assert sum(encoded.lengths) == len(encoded.data)
            if name == "jsonl":
                json_rows(encoded)
                continue
            whole = encoded.header + bytes(file_format.block(Pieces(encoded.data), len(encoded.lengths)))
            assert len(rows_of(whole)) == len(encoded.lengths)


@target(avro_schemas, payloads)
def values_that_do_not_fit(schema: Any, payload: bytes) -> None:
    for kind in ("AVRO", "JSON"):
        content = content_of(TopicSchema(kind, json.dumps(schema).encode()))
        if isinstance(content, Content):
            part = content.fields[0].part
            with contextlib.suppress(MisfitError):
                part.to_avro(payload)
            with contextlib.suppress(MisfitError):
                part.to_json("value", payload)


@target(st.lists(messages, min_size=1, max_size=4), st.sampled_from(["avro", "jsonl", "json"]))
def messages_of_any_kind(made: list[ClientMessage], form: str) -> None:
    name, payload = ("jsonl", "json") if form == "json" else (form, "bytes")
    file_format, make_encoder = make_format(name, "null" if name == "avro" else "none", payload)
    (encoded,) = make_encoder().encode(batch_of(*made))
    whole = encoded.header + bytes(file_format.block(Pieces(encoded.data), len(encoded.lengths)))
    rows = rows_of(whole) if name == "avro" else list(map(orjson.loads, whole.splitlines()))
    assert len(rows) == len(made)
