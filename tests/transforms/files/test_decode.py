"""What the encoders write is read back as it was, and what is damaged says so."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.files.client_messages import ClientMessage, batch_of, batches
from tests.transforms.files.test_avro import plain, reference
from tests.transforms.files.values import AS_JSON, ORDER, PAYLOAD, encode, schema
from transforms.errors import DamagedError
from transforms.files.decode import partition_of, position_of, read_records, read_with_values
from transforms.files.envelope import envelope_schema
from transforms.files.formats import make_format
from transforms.files.pieces import Pieces
from transforms.pulsar.messages import MessageBatch
from transforms.pulsar.positions import Position

KINDS = [
    ("avro", "null"), ("avro", "deflate"), ("avro", "snappy"), ("avro", "zstandard"),
    ("jsonl", "none"), ("jsonl", "gzip"), ("jsonl", "zstd"),
]  # fmt: skip


def written(kind: tuple[str, str], *parts: MessageBatch, payload: str = "bytes") -> tuple[bytes, str]:
    """An object with a block for each batch; and its extension."""
    file_format, factory = make_format(*kind, payload)
    encoder = factory()
    body = b""
    for batch in parts:
        for lane in encoder.encode(batch):
            body += (b"" if body else lane.header) + bytes(file_format.block(Pieces(lane.data), len(lane.lengths)))
    return body, file_format.extension


def in_pieces(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def read(body: bytes, extension: str, size: int = 1 << 18) -> list[dict[str, Any]]:
    return list(read_records(in_pieces(body, size), extension, "object x"))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(batches(), batches(), st.sampled_from([1, 7, 1 << 18]))
def test_every_field_comes_back(kind: tuple[str, str], first: MessageBatch, second: MessageBatch, size: int) -> None:
    records = read(*written(kind, first, second), size)
    assert records == [plain(message) for message in [*reference(first), *reference(second)]]
    assert [list(record) for record in records] == [list(plain(each)) for each in reference(first) + reference(second)]
    assert [partition_of(record) for record in records] == [first.partition] * len(first.ids) + [
        second.partition
    ] * len(second.ids)
    assert [position_of(record) for record in records] == [
        Position(ledger, entry, max(index, 0)) for ledger, entry, index in [*first.ids, *second.ids]
    ]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a": 1.50, "b":[1e2,{"c":"\\u00e9"}],"a":2}',
        b" [ ] ",
        b"12345678901234567890123",
        b"true",
        b'"text"',
        b"null",
    ],
)
def test_a_payload_nested_as_json_comes_back_to_the_byte(payload: bytes) -> None:
    batch = batch_of(ClientMessage(payload, key=b"k", producer=b"\xff"), ClientMessage(payload, ordering=b"\xff"))
    records = read(*written(("jsonl", "none"), batch, payload="json"))
    assert [record["payload"] for record in records] == [payload, payload]


@pytest.mark.parametrize("file_format", ["avro", "jsonl"])
def test_values_come_back_as_json_has_them(file_format: str) -> None:
    lanes = encode(file_format, schema("AVRO", ORDER), ClientMessage(PAYLOAD, version=0), ClientMessage(b"", version=0))
    codec = make_format(file_format)[0]
    for lane, name, value in (("v000000", "value", AS_JSON), ("quarantine", "payload", b"")):
        made = lanes[lane]
        (record,) = read(made.header + bytes(codec.block(Pieces(made.data), len(made.lengths))), codec.extension)
        assert record[name] == value
    assert record["reason"] == "the payload ends too early"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_cut_off_is_damaged(kind: tuple[str, str]) -> None:
    batch = batch_of(*(ClientMessage(b"payload %d" % number) for number in range(50)))
    body, extension = written(kind, batch, batch)
    for end in range(1, len(body), 97):
        with pytest.raises(DamagedError, match="object x is damaged"):
            assert len(read(body[:end], extension)) == 50, "a whole block is no damage that can be seen"
            raise DamagedError("object x is damaged: only its count tells")
    assert len(read(body, extension)) == 100


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind[1] in ("deflate", "snappy", "zstandard", "gzip", "zstd")]
)
def test_a_flipped_bit_is_damage_or_changes_nothing_but_texts(kind: tuple[str, str]) -> None:
    batch = batch_of(*(ClientMessage(b"payload %d" % number) for number in range(50)))
    body, extension = written(kind, batch)
    for place in range(0, len(body), 41):
        flipped = bytearray(body)
        flipped[place] ^= 1 << place % 8
        try:
            read(bytes(flipped), extension)
        except DamagedError as error:
            assert str(error).startswith("object x is damaged")


#: What is valid in its format, and no message.
NO_MESSAGES: dict[str, Any] = {
        "topic": 5, "partition": "0", "ledger_id": None, "entry_id": 1.5, "batch_index": None, "publish_time": "x",
        "event_time": "x", "key": 5, "ordering_key": [], "properties": {"a": 1}, "producer_name": {},
        "schema_version": "1", "encryption": 5, "unreadable": "key",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_MESSAGES)
def test_a_field_of_another_type_is_damage(name: str) -> None:
    body, extension = written(("jsonl", "none"), batch_of(ClientMessage(b"x"), ClientMessage(b"y")))
    first, second = body.splitlines(keepends=True)
    changed = orjson.dumps({**orjson.loads(second), name: NO_MESSAGES[name]}) + b"\n"
    with pytest.raises(DamagedError, match="object x is damaged: line 2 is no record"):
        read(first + changed, extension)
    assert len(read(first + second, extension)) == 2


def avro_of(schema: Any, *records: Any) -> bytes:
    file = io.BytesIO()
    fastavro.writer(file, schema, records)
    return file.getvalue()


@pytest.mark.parametrize("reading", [read_records, read_with_values])
@pytest.mark.parametrize("change", [None, *NO_MESSAGES, "payload", "value"])
def test_an_avro_file_of_something_else_is_damage(reading: Any, change: str | None) -> None:
    envelope, (record,) = envelope_schema(), read(*written(("avro", "null"), batch_of(ClientMessage(b"x"))))
    other = {"type": "record", "name": "Other", "fields": [{"name": "id", "type": "long"}]}
    fields = [
        {"name": field["name"], "type": "double" if field["name"] == change else field["type"]}
        for field in envelope["fields"]
    ]
    if change == "value":
        fields = [{"name": "value", "type": "long"}]
    record = {**record, **({change: 1.0} if change else {}), "value": 1, "id": 1}
    foreign = avro_of({**envelope, "fields": fields}, record)
    if change is None:
        foreign = avro_of(other, record)
    with pytest.raises(DamagedError, match="object x is damaged: block 0 holds no message"):
        list(reading([foreign], "avro", "object x"))


@pytest.mark.parametrize("reading", [read_records, read_with_values])
@pytest.mark.parametrize("schema", [b'"long', b"[]", b"7", b'{"fields":7}', b'{"type":"record","fields":[1]}'])
def test_a_header_without_a_schema_is_damage(reading: Any, schema: bytes) -> None:
    body = b"Obj\x01\x02\x16avro.schema%c%b\x00" % (2 * len(schema), schema) + bytes(16) + b"\x02\x02\x01" + bytes(16)
    with pytest.raises(DamagedError, match="object x is damaged"):
        list(reading([body], "avro", "object x"))


@pytest.mark.parametrize(
    ("body", "extension", "said"),
    [
        (b"", "avro", "ends too early"),
        (b"PK\x03\x04", "avro", "does not begin as an Avro file does"),
        (b"{}\n", "jsonl", "line 1 is no record"),
        (b"[]\n", "jsonl", "line 1 is no record"),
        (b"\xff\n", "jsonl", "line 1 is no record"),
        (b"{}", "jsonl", "its last line has no end"),
        (b"{}\n", "jsonl.gz", "cannot be decompressed"),
        (b"{}\n", "jsonl.zst", "cannot be decompressed"),
    ],
)
def test_what_is_something_else_says_so(body: bytes, extension: str, said: str) -> None:
    with pytest.raises(DamagedError, match=said):
        read(body, extension)
