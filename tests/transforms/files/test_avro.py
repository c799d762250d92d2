from __future__ import annotations

import io
import pickle
from dataclasses import asdict
from itertools import accumulate, pairwise
from typing import Any

import fastavro
import pytest
from avro.datafile import DataFileReader
from avro.io import DatumReader
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.files.client_messages import ClientMessage, batch_of, batches
from transforms.files.avro import MAGIC, SYNC_MARKER, encode_long
from transforms.files.avro_encoder import AvroEncoder
from transforms.files.envelope import FIELDS, envelope_schema, read_message
from transforms.files.formats import make_format
from transforms.files.pieces import Pieces
from transforms.pulsar.messages import MessageBatch, PulsarMessage

SCHEMA = fastavro.parse_schema(envelope_schema())


def reference(batch: MessageBatch) -> list[PulsarMessage]:
    return [
        read_message(message, batch.partition, place, time)
        for message, place, time in zip(batch.messages, batch.ids, batch.publish_times, strict=True)
    ]


def plain(message: PulsarMessage) -> dict[str, Any]:
    record = asdict(message)
    record["unreadable"] = list(message.unreadable) if message.unreadable else None
    return record


def by_fastavro(record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    # Times beyond year 9999 have no datetime, so the logical types are taken out: the bytes are those of a long.
    fastavro.schemaless_writer(out, PLAIN, record)
    return out.getvalue()


def without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: without_logical_types(value) for name, value in schema.items() if name != "logicalType"}
    if isinstance(schema, list):
        return [without_logical_types(part) for part in schema]
    return schema


PLAIN = fastavro.parse_schema(without_logical_types(envelope_schema()))


def records_of(data: bytes, lengths: list[int]) -> list[bytes]:
    assert sum(lengths) == len(data)
    return [data[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]


@given(st.integers(-(2**63), 2**63 - 1))
def test_long_is_encoded_as_fastavro_does(value: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    assert encode_long(value) == out.getvalue()


@given(batches())
def test_records_are_the_bytes_that_fastavro_writes(batch: MessageBatch) -> None:
    (encoded,) = AvroEncoder("null").encode(batch)
    assert encoded.indexes is None
    for record, message in zip(records_of(encoded.data, encoded.lengths), reference(batch), strict=True):
        assert record == by_fastavro(plain(message))


@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=4), max_size=3, unique=True),
    st.lists(st.tuples(st.binary(max_size=3), st.integers(0, 2**14), st.sampled_from("aab")), min_size=5, max_size=20),
    st.integers(1, 20),
)
def test_records_of_one_application_are_the_bytes_that_fastavro_writes(
    names: list[str], contents: list[tuple[bytes, int, str]], entry_size: int
) -> None:
    messages = [
        ClientMessage(
            payload,
            key=text.encode(),
            application={name.encode(): (text * place).encode() for place, name in enumerate(names)},
            event=event,
        )
        for payload, event, text in contents
    ]
    batch = batch_of(*messages, entry_size=entry_size)
    (encoded,) = AvroEncoder("null").encode(batch)
    for record, message in zip(records_of(encoded.data, encoded.lengths), reference(batch), strict=True):
        assert record == by_fastavro(plain(message))


@given(batches(), st.data())
def test_the_bytes_of_a_record_do_not_depend_on_the_batch_it_is_in(batch: MessageBatch, data: st.DataObject) -> None:
    (whole,) = AvroEncoder("null").encode(batch)
    cut = data.draw(st.integers(1, len(batch.messages)))
    parts = [slice(None, cut), slice(cut, None)]
    pieces = [
        MessageBatch.of(batch.partition, batch.messages[part], batch.ids[part], batch.publish_times[part], batch.time)
        for part in parts
    ]
    encoded = [lane for piece in pieces for lane in AvroEncoder("null").encode(piece)]
    assert b"".join(lane.data for lane in encoded) == whole.data


def test_each_accessor_of_a_usual_message_is_called_once_and_those_of_the_entry_once_an_entry() -> None:
    messages = [ClientMessage(b"x", key=b"k", application={b"a": b"b"}, event=5) for _ in range(6)]
    AvroEncoder("null").encode(batch_of(*messages, entry_size=3))
    for place, message in enumerate(messages):
        per_message = {"data", "partition_key", "ordering_key", "properties", "event_timestamp"}
        per_entry = {"producer_name", "int_schema_version", "encryption_context"} if place % 3 == 0 else set()
        assert message.calls == dict.fromkeys(per_message | per_entry, 1)


def sample() -> MessageBatch:
    return batch_of(
        ClientMessage(b"payload", key=b"key", application={b"a": b"1"}, event=1_700_000_000_123, version=4),
        ClientMessage(None),
        ClientMessage(b""),
        ClientMessage(b"\x00\xff", key=b"\xff", application={b"\xfe": b"x"}),
        ClientMessage("ü\u2028".encode(), ordering=b"o", producer=b""),
    )


def file_of(batch: MessageBatch, codec: str, blocks: int = 2) -> bytes:
    file_format, make_encoder = make_format("avro", codec)
    (encoded,) = make_encoder().encode(batch)
    records = records_of(encoded.data, encoded.lengths)
    size = -(-len(records) // blocks)
    groups = [records[start : start + size] for start in range(0, len(records), size)]
    return encoded.header + b"".join(bytes(file_format.block(Pieces(b"".join(group)), len(group))) for group in groups)


CODECS = ["null", "deflate", "deflate:2", "snappy", "zstandard", "zstandard:9"]


@pytest.mark.parametrize("codec", CODECS)
def test_fastavro_reads_every_codec(codec: str) -> None:
    reader = fastavro.reader(io.BytesIO(file_of(sample(), codec)), return_record_name=False)
    assert [{**row, "publish_time": 0, "event_time": 0} for row in reader] == [
        {**plain(message), "publish_time": 0, "event_time": 0} for message in reference(sample())
    ]
    assert reader.codec == codec.partition(":")[0]


def test_unreadable_texts_are_named_and_tombstones_are_null() -> None:
    rows: list[Any] = list(fastavro.reader(io.BytesIO(file_of(sample(), "null"))))
    assert [row["payload"] for row in rows] == [b"payload", None, b"", b"\x00\xff", "ü\u2028".encode()]
    assert rows[3]["unreadable"] == ["key", "properties"]
    assert (rows[3]["key"], rows[3]["properties"], rows[0]["unreadable"]) == (None, {}, None)
    assert list(rows[0]) == list(FIELDS)
    assert rows[0]["event_time"].isoformat() == "2023-11-14T22:13:20.123000+00:00"


@pytest.mark.parametrize("codec", ["null", "deflate", "zstandard"])
def test_the_avro_package_reads_it(codec: str) -> None:
    with DataFileReader(io.BytesIO(file_of(sample(), codec)), DatumReader()) as reader:
        rows: list[Any] = list(reader)
    assert [row["payload"] for row in rows] == [message.payload for message in reference(sample())]


@pytest.mark.parametrize("codec", CODECS)
def test_a_block_is_a_pure_function_of_its_records(codec: str) -> None:
    file_format, make_encoder = make_format("avro", codec)
    again = pickle.loads(pickle.dumps(file_format))
    assert again == file_format
    records = bytes(range(256)) * 100
    assert (
        bytes(again.block(Pieces(records), 3))
        == bytes(file_format.block(Pieces(records), 3))
        == bytes(make_format("avro", codec)[0].block(Pieces(records), 3))
    )
    assert pickle.loads(pickle.dumps(make_encoder)) == make_encoder


def test_the_container_is_the_same_for_ever() -> None:
    data = file_of(sample(), "null")
    assert data.startswith(MAGIC)
    assert data.count(SYNC_MARKER) == 3
    assert b"1." not in data[: data.index(SYNC_MARKER)]


@pytest.mark.parametrize("codec", CODECS)
def test_a_payload_of_five_megabytes(codec: str) -> None:
    payload = bytes(range(251)) * 20_000
    (row,) = fastavro.reader(io.BytesIO(file_of(batch_of(ClientMessage(payload)), codec)))
    assert row["payload"] == payload


def test_an_empty_batch_has_no_lanes() -> None:
    assert AvroEncoder("null").encode(MessageBatch.of(sample().partition, [], [], [], 0)) == []
