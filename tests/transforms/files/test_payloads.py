"""What ``--payload=value`` has written becomes the payload again."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.files.client_messages import ClientMessage
from tests.transforms.files.values import ORDER, PAYLOAD, encode, schema
from transforms.errors import DamagedError, UnrestorableError
from transforms.files.decode import read_records, read_with_values
from transforms.files.formats import make_format
from transforms.files.payloads import Payloads, Restored
from transforms.files.pieces import Pieces
from transforms.pulsar.schemas import TopicSchema

FORMATS = pytest.mark.parametrize("form", ["avro", "jsonl"])
AGE = {"type": "record", "name": "Age", "fields": [{"name": "age", "type": "int"}]}
PRIMITIVES = {
    "STRING": st.text().map(str.encode),
    "BOOLEAN": st.sampled_from([b"\0", b"\1"]),
    "INT8": st.binary(min_size=1, max_size=1),
    "INT16": st.binary(min_size=2, max_size=2),
    "INT32": st.binary(min_size=4, max_size=4),
    "INT64": st.binary(min_size=8, max_size=8),
    "FLOAT": st.floats(width=32, allow_nan=False).map(lambda value: struct.pack(">f", value)),
    "DOUBLE": st.floats(allow_nan=False).map(lambda value: struct.pack(">d", value)),
    "DATE": st.binary(min_size=8, max_size=8),
    "TIME": st.binary(min_size=8, max_size=8),
    "TIMESTAMP": st.binary(min_size=8, max_size=8),
    "INSTANT": st.tuples(st.integers(-(2**33), 2**33), st.integers(0, 999_999_999)).map(
        lambda value: struct.pack(">qi", *value)
    ),
    "LOCAL_DATE": st.integers(-(2**31), 2**31 - 1).map(lambda value: struct.pack(">q", value)),
    "LOCAL_TIME": st.binary(min_size=8, max_size=8),
    "LOCAL_DATE_TIME": st.tuples(st.integers(-90_000, 90_000), st.integers(0, 86_399_999_999_999)).map(
        lambda value: struct.pack(">qq", *value)
    ),
}


def stored(form: str, kind: TopicSchema, *messages: ClientMessage) -> list[tuple[dict[str, Any], dict[str, bytes]]]:
    """Records of an object of these messages, all of which fit."""
    lanes = encode(form, kind, *messages)
    assert list(lanes) == ["v000000"]
    frame, _ = make_format(form, None, "value")
    body = lanes["v000000"].header + bytes(frame.block(Pieces(lanes["v000000"].data), len(lanes["v000000"].lengths)))
    found = list(read_with_values([body], frame.extension, "x"))
    assert [record for record, _ in found] == list(read_records([body], frame.extension, "x"))
    return found


def back(form: str, kind: TopicSchema, *payloads: bytes | None, key: bytes = b"") -> list[Restored]:
    payload_of = Payloads(kind)
    found = stored(form, kind, *(ClientMessage(each, key=key, version=0) for each in payloads))
    return [payload_of.of(record, values, is_avro=form == "avro") for record, values in found]


@FORMATS
@pytest.mark.parametrize("kind", PRIMITIVES)
@given(data=st.data())
def test_primitives_come_back_to_the_byte(form: str, kind: str, data: st.DataObject) -> None:
    payloads = data.draw(st.lists(PRIMITIVES[kind], min_size=1, max_size=4))
    expected = [Restored(each, True) for each in [*payloads, None]]
    assert back(form, schema(kind), *payloads, None) == expected


@FORMATS
def test_avro_comes_back_to_the_byte_from_avro_and_as_a_value_from_json_lines(form: str) -> None:
    plain = schema("AVRO", AGE)
    exact = form == "avro"
    assert back(form, plain, b"\x02", b"\xff\x01", None) == [
        Restored(b"\x02", exact),
        Restored(b"\xff\x01", exact),
        Restored(None, True),
    ]
    if exact:
        assert back(form, schema("AVRO", ORDER), PAYLOAD) == [Restored(PAYLOAD, True)]
    # Not the shortest form of 1: kept by Avro, and written anew from JSON lines.
    assert back(form, plain, b"\x82\x00") == [Restored(b"\x82\x00" if exact else b"\x02", exact)]


def test_decimals_in_json_lines_are_refused() -> None:
    with pytest.raises(UnrestorableError, match="its schema has decimals"):
        back("jsonl", schema("AVRO", ORDER), PAYLOAD)


@FORMATS
def test_json_comes_back_as_what_it_means_and_from_json_lines_as_its_text(form: str) -> None:
    texts = [b'{"age": 1}', b'{ "age":\t-5 }', b'{"age":7}']
    found = back(form, schema("JSON", AGE), *texts)
    assert [json.loads(each.payload or b"") for each in found] == [json.loads(text) for text in texts]
    assert not any(each.exact for each in found)
    if form == "jsonl":
        assert [each.payload for each in found] == texts


@FORMATS
@given(st.lists(st.one_of(st.none(), st.binary(max_size=20)), min_size=1, max_size=5))
def test_what_no_schema_decodes_comes_back_to_the_byte(form: str, payloads: list[bytes | None]) -> None:
    for kind in (schema("PROTOBUF", {"no": "use"}), schema("BYTES")):
        assert back(form, kind, *payloads) == [Restored(each, True) for each in payloads]


def pair(encoding: str, key: str = "STRING", value: str = "JSON") -> TopicSchema:
    parts = [
        b"" if kind == "STRING" else json.dumps({**AGE, "name": side}).encode()
        for side, kind in (("K", key), ("V", value))
    ]
    definition = b"".join(struct.pack(">i", len(part)) + part for part in parts)
    return TopicSchema(
        "KEY_VALUE",
        definition,
        {"key.schema.type": key, "value.schema.type": value, "kv.encoding.type": encoding},
    )


def inline(*parts: bytes | None) -> bytes:
    return b"".join(struct.pack(">i", -1 if part is None else len(part)) + (part or b"") for part in parts)


@FORMATS
def test_pairs_come_back(form: str) -> None:
    payloads = [inline(b"ann", b'{"age":1}'), inline(None, b'{"age":2}'), inline(b"", None), None]
    assert [each.payload for each in back(form, pair("INLINE"), *payloads)] == payloads
    both_json = [inline(b'{"age":1}', b'{"age":2}')]
    assert [each.payload for each in back(form, pair("INLINE", "JSON"), *both_json)] == both_json
    assert back(form, pair("INLINE", "STRING", "STRING"), inline(b"a", b"b")) == [Restored(inline(b"a", b"b"), True)]
    key = b64encode(b"ann")
    assert [each.payload for each in back(form, pair("SEPARATED"), b'{"age":1}', None, key=key)] == [b'{"age":1}', None]


def test_a_schema_of_a_union_with_null_tells_no_tombstone() -> None:
    kind = schema("AVRO", ["null", AGE])
    for form in ("avro", "jsonl"):
        with pytest.raises(UnrestorableError, match="are written alike"):
            back(form, kind, b"\x00")
    assert back("avro", kind, b"\x02\x08") == [Restored(b"\x02\x08", True)]


def test_another_schema_than_it_was_written_under_is_told() -> None:
    found = stored("avro", schema("AVRO", AGE), ClientMessage(b"\x02", version=0))
    with pytest.raises(UnrestorableError, match="does not fit the schema that is recorded for it"):
        Payloads(schema("STRING")).of(*found[0], is_avro=True)
    with pytest.raises(UnrestorableError, match="which only --admin_url tells"):
        Payloads(TopicSchema("KEY_VALUE", inline(b"", b"")))


def test_values_that_do_not_fit_the_header_are_damage() -> None:
    frame, _ = make_format("avro", None, "value")
    lane = encode("avro", schema("AVRO", AGE), ClientMessage(b"\x02", version=0))["v000000"]
    with pytest.raises(DamagedError, match="block 0 does not fit its schema"):
        list(read_with_values([lane.header + bytes(frame.block(Pieces(lane.data[:-5]), 1))], "avro", "x"))
