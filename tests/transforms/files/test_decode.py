"""What the encoders write is read back as it was, and what is damaged says so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.files.client_messages import ClientMessage, batch_of, batches
from tests.transforms.files.test_avro import plain, reference
from tests.transforms.files.values import AS_JSON, ORDER, PAYLOAD, encode, schema
from transforms.errors import DamagedError
from transforms.files.decode import partition_of, position_of, read_records
from transforms.files.formats import make_format
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
            body += (b"" if body else lane.header) + file_format.block(lane.data, len(lane.lengths))
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
        (record,) = read(made.header + codec.block(made.data, len(made.lengths)), codec.extension)
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
