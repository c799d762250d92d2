from __future__ import annotations

import io
import json
import struct
from base64 import b64encode
from dataclasses import replace
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.files.client_messages import ClientMessage, batch_of
from tests.transforms.files.values import (
    AS_JSON,
    ORDER,
    PAYLOAD,
    VALUE,
    FixedSchemas,
    avro_rows,
    encode,
    json_rows,
    schema,
    written,
)
from transforms.files.avro import encode_long
from transforms.files.avro_primitives import MisfitError
from transforms.files.datum import Datum, SchemaError
from transforms.files.formats import make_format
from transforms.pulsar.schemas import TopicSchema


def test_avro_payloads_go_in_as_they_are_and_read_back_as_values() -> None:
    lanes = encode("avro", schema("AVRO", ORDER), ClientMessage(PAYLOAD, version=0), ClientMessage(None, version=0))
    assert list(lanes) == ["v000000"]
    assert PAYLOAD in lanes["v000000"].data
    first, tombstone = avro_rows(lanes["v000000"])
    assert {**first["value"], "at": 0, "next": 0} == {**VALUE, "at": 0, "next": 0}
    assert tombstone["value"] is None
    assert "payload" not in first


def test_avro_payloads_are_nested_in_json_lines() -> None:
    (row,) = json_rows(encode("jsonl", schema("AVRO", ORDER), ClientMessage(PAYLOAD, version=0))["v000000"])
    assert row["value"] == AS_JSON


@pytest.mark.parametrize("file_format", ["avro", "jsonl"])
def test_a_payload_that_does_not_fit_is_quarantined_whole_and_in_its_place(file_format: str) -> None:
    bad = [PAYLOAD + b"\0", PAYLOAD[:-1], b"", b"\xff" * 30]
    messages = [ClientMessage(payload, key=b"k", version=0) for payload in (PAYLOAD, *bad, PAYLOAD)]
    lanes = encode(file_format, schema("AVRO", ORDER), *messages)
    assert lanes["v000000"].indexes == [0, 5]
    assert lanes["quarantine"].indexes == [1, 2, 3, 4]
    if file_format == "avro":
        rows = avro_rows(lanes["quarantine"])
        assert [row["payload"] for row in rows] == bad
        assert rows[0]["reason"] == "1 bytes are left over"
        assert {row["schema_version"] for row in rows} == {0}


def test_versions_have_lanes_of_their_own() -> None:
    older = {"type": "record", "name": "A", "fields": [{"name": "a", "type": "int"}]}
    newer = {"type": "record", "name": "A", "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "string"}]}
    lanes = encode(
        "avro",
        [schema("AVRO", older), schema("AVRO", newer)],
        ClientMessage(b"\x02", version=0),
        ClientMessage(b"\x04\x02x", version=1),
        ClientMessage(b"\x06", version=0),
        ClientMessage(b"raw", version=-1),
        ClientMessage(b"\x06", version=2),
    )
    assert {name: lane.indexes for name, lane in lanes.items()} == {
        "v000000": [0, 2], "v000001": [1], "vnone": [3], "quarantine": [4]
    }  # fmt: skip
    assert [row["value"] for row in avro_rows(lanes["v000000"])] == [{"a": 1}, {"a": 3}]
    assert avro_rows(lanes["v000001"])[0]["value"] == {"a": 2, "b": "x"}
    assert avro_rows(lanes["vnone"])[0]["value"] == b"raw"
    assert avro_rows(lanes["quarantine"])[0]["reason"] == "the broker has no schema of version 2"


def test_a_schema_is_asked_for_once_and_by_the_name_of_the_topic() -> None:
    schemas = FixedSchemas({0: schema("STRING")})
    encoder = make_format("avro", None, "value")[1](schemas)
    for _ in range(3):
        encoder.encode(batch_of(ClientMessage(b"a", version=0), ClientMessage(b"b", version=0)))
    assert schemas.asked == [("persistent://tenant/namespace/orders", 0)]


JSON_PAYLOADS = [
    json.dumps({**AS_JSON, "price": b64encode(b"\xfb\x2e").decode(), "next": None}).encode(),
    b'{"id": 9007199254740993}',  # all others have defaults, and nulls are left out by Pulsar's Java client
    b'{"id":1,"weight":"NaN",\n"tags":{"a":null}}',
]


def test_json_payloads_become_avro_under_their_schema() -> None:
    messages = [ClientMessage(payload, version=0) for payload in JSON_PAYLOADS]
    lanes = encode("avro", schema("JSON", ORDER), *messages)
    assert list(lanes) == ["v000000"]
    rows = [row["value"] for row in avro_rows(lanes["v000000"])]
    assert {**rows[0], "at": 0} == {**VALUE, "at": 0, "next": None}
    assert (rows[1]["id"], rows[1]["note"], rows[1]["raw"], rows[1]["hash"]) == (2**53 + 1, None, b"\xff", b"ab")
    assert rows[2]["weight"] != rows[2]["weight"]


def test_json_payloads_are_nested_with_their_own_text() -> None:
    messages = [ClientMessage(payload, version=0) for payload in JSON_PAYLOADS]
    lane = encode("jsonl", schema("JSON", ORDER), *messages)["v000000"]
    for payload in JSON_PAYLOADS:
        assert payload.replace(b"\n", b" ") in lane.data


@pytest.mark.parametrize("file_format", ["avro", "jsonl"])
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{", "the payload is not JSON"),
        (b'{"id":1e400}', "the payload is not JSON"),
        (b"[]", "an array is not an object"),
        (b"{}", "field id is missing"),
        (b'{"id":1,"more":2}', 'the schema has no field "more"'),
        (b'{"id":1.0}', "field id: 1.0 is not a long"),
        (b'{"id":true}', "field id: true is not a long"),
        (b'{"id":9223372036854775808}', "field id: 9223372036854775808 is not a long"),
        (b'{"id":1,"state":"LOST"}', 'field state: "LOST" is not a symbol of the enum'),
        (b'{"id":1,"raw":"?"}', 'field raw: "?" is not base64'),
        (b'{"id":1,"weight":1e39}', "field weight: 1e+39 is not a float"),
        (b'{"id":1,"note":5}', "field note: 5 is not a string"),
    ],
)
def test_json_that_does_not_fit_says_where(file_format: str, payload: bytes, reason: str) -> None:
    lane = encode(file_format, schema("JSON", ORDER), ClientMessage(payload, version=0))["quarantine"]
    (row,) = avro_rows(lane) if file_format == "avro" else json_rows(lane)
    assert row["reason"] == reason
    assert row["payload"] in (payload, payload.decode())


PRIMITIVES = [
    ("STRING", "ü".encode(), "ü"),
    ("BYTES", b"\xff", b"\xff"),
    ("NONE", b"\xff", b"\xff"),
    ("PROTOBUF", b"\x08\x01", b"\x08\x01"),
    ("PROTOBUF_NATIVE", b"\x08\x01", b"\x08\x01"),
    ("INT8", b"\xff", -1),
    ("INT16", b"\x80\x00", -(2**15)),
    ("INT32", struct.pack(">i", -7), -7),
    ("INT64", struct.pack(">q", 2**62), 2**62),
    ("FLOAT", struct.pack(">f", 0.5), 0.5),
    ("DOUBLE", struct.pack(">d", 0.1), 0.1),
    ("DOUBLE", struct.pack(">d", float("inf")), float("inf")),
    ("BOOLEAN", b"\x01", True),
    ("TIME", struct.pack(">q", 5), 5),
    ("LOCAL_TIME", struct.pack(">q", 7), 7),
    ("INSTANT", struct.pack(">qi", -1, 999_999_999), -1),
    ("LOCAL_DATE_TIME", struct.pack(">qq", 1, 5), 86_400_000_000_005),
]


@pytest.mark.parametrize(("kind", "payload", "value"), PRIMITIVES)
def test_primitive_schemas(kind: str, payload: bytes, value: Any) -> None:
    assert avro_rows(encode("avro", schema(kind), ClientMessage(payload, version=0))["v000000"])[0]["value"] == value
    row = json_rows(encode("jsonl", schema(kind), ClientMessage(payload, version=0))["v000000"])[0]
    shown = {b"\xff": None, b"\x08\x01": "\x08\x01", float("inf"): "Infinity"}
    assert row["value"] == shown.get(value, value)
    if value == b"\xff":
        assert row["value_base64"] == "/w=="


def test_dates() -> None:
    for kind, payload, text in [
        ("DATE", struct.pack(">q", 1_700_000_000_123), "2023-11-14 22:13:20.123000+00:00"),
        ("TIMESTAMP", struct.pack(">q", 1_700_000_000_123), "2023-11-14 22:13:20.123000+00:00"),
        ("LOCAL_DATE", struct.pack(">q", 19_675), "2023-11-14"),
    ]:
        (row,) = avro_rows(encode("avro", schema(kind), ClientMessage(payload, version=0))["v000000"])
        assert str(row["value"]) == text


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("STRING", b"\xff"),
        ("INT8", b""),
        ("INT32", b"12345"),
        ("BOOLEAN", b"\x02"),
        ("LOCAL_DATE", struct.pack(">q", 2**40)),
        ("INSTANT", struct.pack(">qi", 2**40, 0)),
    ],
)
def test_primitives_of_the_wrong_shape_are_quarantined(kind: str, payload: bytes) -> None:
    for file_format in ("avro", "jsonl"):
        assert list(encode(file_format, schema(kind), ClientMessage(payload, version=0))) == ["quarantine"]


def sized(data: bytes | None) -> bytes:
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def key_value(encoding: str, key: Any, value: Any, key_kind: str = "AVRO", value_kind: str = "AVRO") -> TopicSchema:
    definition = sized(json.dumps(key).encode() if key else b"") + sized(json.dumps(value).encode())
    properties = {"key.schema.type": key_kind, "value.schema.type": value_kind, "kv.encoding.type": encoding}
    return TopicSchema("KEY_VALUE", definition, properties)


POINT = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}]}
OTHER_POINT = {
    "type": "record",
    "name": "Point",
    "fields": [{"name": "x", "type": "long"}, {"name": "y", "type": ["null", "Point"]}],
}


def test_inline_key_and_value_are_kept_apart() -> None:
    kind = key_value("INLINE", None, ORDER, "STRING")
    payloads = [sized(b"k") + sized(PAYLOAD), sized(None) + sized(None), sized(b"k")]
    lanes = encode(
        "avro", kind, *(ClientMessage(payload, version=0) for payload in payloads), ClientMessage(None, version=0)
    )
    rows = avro_rows(lanes["v000000"])
    assert [row["key_value"] for row in rows] == ["k", None, None]
    assert [row["value"] and row["value"]["id"] for row in rows] == [5, None, None]
    assert avro_rows(lanes["quarantine"])[0]["reason"] == "the payload is not a key and a value"


def test_separated_keys_come_from_the_partition_key() -> None:
    kind = key_value("SEPARATED", POINT, ORDER)
    good = ClientMessage(PAYLOAD, key=b64encode(b"\x06"), version=0)
    messages = [
        good,
        replace(good, payload=None),
        replace(good, key=b""),
        replace(good, key=b"!"),
        replace(good, key=b"\xff"),
    ]
    lanes = encode("avro", kind, *messages)
    assert [(row["key_value"], row["value"] and 1) for row in avro_rows(lanes["v000000"])] == [
        ({"x": 3}, 1), ({"x": 3}, None), (None, 1)
    ]  # fmt: skip
    assert lanes["quarantine"].indexes == [3, 4]


def test_key_and_value_may_define_the_same_name_differently() -> None:
    kind = key_value("INLINE", OTHER_POINT, POINT)
    payload = sized(b"\x02\x02\x04\x00") + sized(b"\x06")
    (row,) = avro_rows(encode("avro", kind, ClientMessage(payload, version=0))["v000000"])
    assert (row["key_value"], row["value"]) == ({"x": 1, "y": {"x": 2, "y": None}}, {"x": 3})


def test_a_key_value_schema_without_properties_is_quarantined_with_the_cure() -> None:
    kind = replace(key_value("INLINE", POINT, POINT), properties=None)
    lane = encode("avro", kind, ClientMessage(b"", version=0))["quarantine"]
    assert "--admin_url" in avro_rows(lane)[0]["reason"]


@pytest.mark.parametrize(
    "name", ["PulsarMessage", "tdmq.backup.Encryption", "tdmq.backup.EncryptionKey", "tdmq.backup_.Encryption"]
)
def test_a_topics_types_keep_names_that_are_ours(name: str) -> None:
    definition = {"type": "record", "name": name, "fields": [{"name": "x", "type": ["null", name]}]}
    lane = encode("avro", schema("AVRO", definition), ClientMessage(b"\x02\x00", version=0))["v000000"]
    assert avro_rows(lane)[0]["value"] == {"x": {"x": None}}


@pytest.mark.parametrize(
    ("definition", "payload", "value"),
    [
        (["string", "int"], b"\x02\x04", 2),
        (["string", "null"], b"\x02", None),
        ("null", b"", None),
        ({"type": "array", "items": POINT}, b"\x04\x02\x04\x00", [{"x": 1}, {"x": 2}]),
        ({"type": "array", "items": "int"}, b"\x03\x04\x02\x04\x00", [1, 2]),
        ([POINT, {"type": "array", "items": "Point"}], b"\x02\x02\x02\x00", [{"x": 1}]),
    ],
)
def test_schemas_that_are_no_records(definition: Any, payload: bytes, value: Any) -> None:
    messages = [ClientMessage(payload, version=0), ClientMessage(None, version=0)]
    assert [row["value"] for row in avro_rows(encode("avro", schema("AVRO", definition), *messages)["v000000"])] == [
        value,
        None,
    ]
    (row, _) = json_rows(encode("jsonl", schema("AVRO", definition), *messages)["v000000"])
    assert row["value"] == value


@pytest.mark.parametrize(
    "definition",
    [
        "Nowhere",
        {"type": "record"},
        5,
        {"type": "array"},
        {"type": {"type": "string"}},
        {
            "type": "record",
            "name": "Twice",
            "fields": [{"name": "inner", "type": {"type": "record", "name": "Twice", "fields": []}}],
        },
    ],
)
def test_what_is_no_avro_schema_quarantines_avro_and_keeps_json_as_bytes(definition: Any) -> None:
    with pytest.raises(SchemaError):
        Datum(definition)
    assert list(encode("avro", schema("AVRO", definition), ClientMessage(b"1", version=0))) == ["quarantine"]
    (row,) = avro_rows(encode("avro", schema("JSON", definition), ClientMessage(b"1", version=0))["v000000"])
    assert row["value"] == b"1"


@pytest.mark.parametrize(
    ("definition", "data"),
    [
        (["null", "int"], b"\x01\x02"),  # branch -1
        ({"type": "enum", "name": "E", "symbols": ["a"]}, b"\x01"),
        ("boolean", b"\x05"),
        ("int", b"\xff\xff\xff\xff\xff\x7f"),
        ("long", b"\xff" * 10 + b"\x01"),
        ("long", b"\xff" * 9 + b"\x7f"),
        ("bytes", b"\x03abc"),
        ("bytes", b"\x08abc"),
        ("string", b"\x02\xff"),
        ("double", b"1234567"),
        ({"type": "array", "items": "int"}, b"\x04\x02"),
        ({"type": "array", "items": "int"}, b"\x03\x06\x02\x04\x00"),
        ({"type": "array", "items": "null"}, encode_long(2**60) + b"\x00"),
        ({"type": "fixed", "name": "F", "size": 4}, b"abc"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4}, b"\x00"),
        (
            {"type": "record", "name": "L", "fields": [{"name": "n", "type": ["null", "L"]}]},
            b"\x02" * 100_000 + b"\x00",
        ),
    ],
)
def test_bytes_that_other_readers_would_refuse_do_not_fit(definition: Any, data: bytes) -> None:
    with pytest.raises(MisfitError):
        Datum(definition).read(data)


plain_values = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "note": st.none() | st.text(max_size=5),
        "state": st.sampled_from(["NEW", "PAID"]),
        "raw": st.binary(max_size=5),
        "price": st.decimals(-(10**6), 10**6, places=2, allow_nan=False),
        "at": st.integers(0, 2**40),
        "lines": st.lists(st.text(max_size=3), max_size=3),
        "tags": st.dictionaries(st.text(max_size=3), st.none() | st.integers(-5, 5) | st.text(max_size=3), max_size=3),
        "next": st.none(),
        "hash": st.binary(min_size=2, max_size=2),
        "weight": st.floats(width=32, allow_nan=False),
        "done": st.booleans(),
    }
)


@given(plain_values)
def test_what_fastavro_writes_fits_and_comes_back_through_json(value: dict[str, Any]) -> None:
    datum = Datum(ORDER)
    data = written(ORDER, value)
    shown = datum.read(data)
    assert Decimal(shown["price"]) == value["price"]
    assert (shown["raw"], shown["lines"], shown["tags"]) == (
        b64encode(value["raw"]).decode(),
        value["lines"],
        value["tags"],
    )
    unscaled = int(value["price"].scaleb(2))
    price = unscaled.to_bytes((unscaled.bit_length() + 8) // 8, "big", signed=True)
    assert datum.write({**shown, "price": b64encode(price).decode()}) == written(ORDER, value)


@given(st.binary(max_size=60))
def test_any_bytes_fit_or_not_and_nothing_else_happens(data: bytes) -> None:
    datum = Datum(ORDER)
    try:
        datum.read(data)
    except MisfitError:
        return
    fastavro.schemaless_reader(io.BytesIO(data), fastavro.parse_schema(ORDER), None)


def test_an_encrypted_payload_is_quarantined_with_what_decrypts_it() -> None:
    from tests.transforms.files.client_messages import EncryptionContext, EncryptionKey

    context = EncryptionContext((EncryptionKey("k", b"\xff", {"a": "b"}),))
    lane = encode("avro", schema("STRING"), ClientMessage(b"secret", version=0, context=context))["quarantine"]
    (row,) = avro_rows(lane)
    assert row["encryption"]["keys"] == {"k": {"value": b"\xff", "metadata": {"a": "b"}}}
    assert row["reason"] == "the payload is encrypted"


def test_a_fixed_of_a_negative_size_is_no_schema() -> None:
    with pytest.raises(SchemaError, match="a size of -1"):
        Datum({"type": "array", "items": {"type": "fixed", "name": "F", "size": -1}})


def test_a_default_that_does_not_fit_does_not_make_a_file_unreadable() -> None:
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "n", "type": "int", "default": "many"}]}
    definition = {"type": "record", "name": "Outer", "fields": [{"name": "items", "type": ["null", inner]}]}
    lanes = encode("avro", schema("AVRO", definition), ClientMessage(b"\x02\x0e", version=0))
    assert [row["value"] for row in avro_rows(lanes["v000000"])] == [{"items": {"n": 7}}]
