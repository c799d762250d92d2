"""Large payloads are not copied into their records: what becomes of them must not tell."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.files.client_messages import ClientMessage, batch_of
from transforms.files import jsonl_encoder
from transforms.files.avro import encode_record as avro_record
from transforms.files.avro_encoder import AvroEncoder
from transforms.files.envelope import read_message
from transforms.files.jsonl import encode_record as json_record
from transforms.files.jsonl import payload_members
from transforms.files.jsonl_encoder import JsonLinesEncoder
from transforms.files.records import Records
from transforms.pulsar.messages import MessageBatch, PulsarMessage

LARGE = 64 * 1024
#: An event time that only the slow way can encode.
RARE = 2**63 + 5


def text(size: int) -> bytes:
    return (b'{"text": "a \\n line"}' * (size // 10 + 1))[:size]


def noise(size: int) -> bytes:
    return bytes(number * 7 % 251 for number in range(256)) * (size // 256) + b"\xff" * (size % 256)


PAYLOADS = {
    "large": [noise(LARGE), noise(100_000), text(300_000)],
    "texts": [text(LARGE), 'aß€😀\x01"'.encode() * 30_000],
    "texts and one that is none": [text(200_000), text(200_000) + b"\xe2\x82"],
    "large on average": [noise(900_000), b"", text(5), noise(3)],
    "small on average": [noise(100_000), *[b"x"] * 9],
}
EVENTS = {"usual": lambda _: 5, "one is rare": lambda number: RARE if number == 1 else 0}


def json_line(message: PulsarMessage, *, nest: bool) -> bytes:
    return json_record(message, payload_members(message.payload, nest=nest))


ENCODERS = {
    "avro": (AvroEncoder("null"), avro_record),
    "text": (JsonLinesEncoder("bytes"), partial(json_line, nest=False)),
    "json": (JsonLinesEncoder("json"), partial(json_line, nest=True)),
}


def batch(payloads: str, events: str = "usual") -> MessageBatch:
    made = [
        ClientMessage(payload, key=b"k", application={b"a": b"%d" % number}, event=EVENTS[events](number))
        for number, payload in enumerate(PAYLOADS[payloads])
    ]
    return batch_of(*made, entry_size=2)


@pytest.mark.parametrize("payloads", PAYLOADS)
@pytest.mark.parametrize("events", EVENTS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_records_are_those_that_are_encoded_one_by_one(payloads, events, encoder):
    read, (encoder, encode_one) = batch(payloads, events), ENCODERS[encoder]
    (encoded,) = encoder.encode(read)
    wanted = [
        encode_one(read_message(message, read.partition, place, time))
        for message, place, time in zip(read.messages, read.ids, read.publish_times, strict=True)
    ]
    assert [bytes(record) for record in encoded.records] == wanted
    assert (encoded.data, encoded.lengths) == (b"".join(wanted), list(map(len, wanted)))
    records = Records.of_columns(0, "", encoded.header, read.columns, encoded.records)
    assert bytes(records.data) == b"".join(wanted)
    for place in range(len(wanted)):
        assert bytes(records.slice(place, place + 1).data) == wanted[place]


@given(
    st.text(st.sampled_from('a"\\\n\x01\x7fß€😀\u2028')).map(str.encode) | st.binary(max_size=60),
    st.integers(5, 20),
)
@settings(max_examples=500, deadline=None)
def test_a_text_in_pieces_is_the_text_as_a_whole(payload, size):
    with patch.object(jsonl_encoder, "_PIECE_BYTES", size):
        try:
            whole = orjson.dumps(payload.decode())
        except UnicodeDecodeError:
            with pytest.raises(UnicodeDecodeError):
                jsonl_encoder._large_text(payload)
        else:
            assert bytes(jsonl_encoder._large_text(payload)) == whole


def test_a_large_payload_is_not_copied():
    read = batch("large")
    (encoded,) = AvroEncoder("null").encode(read)
    records = Records.of_columns(0, "", encoded.header, read.columns, encoded.records)
    kept = {id(piece) for piece in records.data} & {id(piece) for piece in records.slice(0, 3).data}
    assert {id(payload) for payload in read.columns.payloads} <= kept
