"""A record as text: JSON equal to our JSON lines, and one line that cannot act on a terminal."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given

from tests.transforms.files.client_messages import ClientMessage, batch_of, batches
from tests.transforms.files.test_decode import read, written
from tests.transforms.files.values import ORDER, PAYLOAD, encode, schema
from transforms.files.formats import make_format
from transforms.files.pieces import Pieces
from transforms.looking.record_text import record_json, record_line
from transforms.pulsar.messages import MessageBatch


@given(batches())
def test_json_is_that_of_a_backup_as_json_lines(batch: MessageBatch) -> None:
    records = read(*written(("avro", "null"), batch))
    lines, _ = written(("jsonl", "none"), batch)
    assert b"".join(map(record_json, records)) == lines
    assert b"".join(map(record_json, read(lines, "jsonl"))) == lines
    for record in records:
        line = record_line(record)
        assert line.isprintable()


def test_values_and_quarantine_are_written_as_json_lines_have_them() -> None:
    messages = ClientMessage(PAYLOAD, version=0), ClientMessage(b"!", version=0)
    lines = {name: lane.data for name, lane in encode("jsonl", schema("AVRO", ORDER), *messages).items()}
    for kind in ("avro", "jsonl"):
        lanes = encode(kind, schema("AVRO", ORDER), *messages)
        file_format, _ = make_format(kind, None, "value")
        for name, lane in lanes.items():
            body = lane.header + bytes(file_format.block(Pieces(lane.data), len(lane.lengths)))
            (record,) = read(body, file_format.extension)
            assert orjson.loads(record_json(record)) == orjson.loads(lines[name])
            assert ("reason=" in record_line(record)) == (name == "quarantine")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (ClientMessage(b"text"), "2025-11-22 08:26:40.000Z p3 7:0:0  text"),
        (ClientMessage(None, key=b"k"), "2025-11-22 08:26:40.000Z p3 7:0:0 key=k  (null)"),
        (ClientMessage(b"\x00\xff"), "2025-11-22 08:26:40.000Z p3 7:0:0  (2 bytes) 00ff"),
        (ClientMessage(b"\xff" * 60), f"2025-11-22 08:26:40.000Z p3 7:0:0  (60 bytes) {'ff' * 50}…"),
        (ClientMessage("ü\n\x1b[1m".encode()), r"2025-11-22 08:26:40.000Z p3 7:0:0  ü\n\x1b[1m"),
        (ClientMessage(b"x" * 201), f"2025-11-22 08:26:40.000Z p3 7:0:0  {'x' * 200}…"),
        (
            ClientMessage(b"", key=b"a b", ordering=b"o", application={b"n": b"1\n"}, event=1_700_000_000_123),
            r'2025-11-22 08:26:40.000Z p3 7:0:0 key="a b" ordering_key=o event=2023-11-14T22:13:20Z n="1\n"  ',
        ),
        (ClientMessage(b"", event=2**62), "2025-11-22 08:26:40.000Z p3 7:0:0 event=9999-12-31T23:59:59Z  "),
    ],
)  # fmt: skip
def test_a_line_for_people(message: ClientMessage, line: str) -> None:
    (record,) = read(*written(("avro", "null"), batch_of(message)))
    assert record_line(record) == line
