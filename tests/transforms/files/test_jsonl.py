from __future__ import annotations

import gzip
import io
import json
import subprocess
from base64 import b64decode
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pandas
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.files.client_messages import ClientMessage, batch_of, batches, messages
from transforms.files.envelope import FIELDS, read_message
from transforms.files.formats import make_format
from transforms.files.jsonl import base64_text, nested_json
from transforms.files.jsonl_encoder import JsonLinesEncoder
from transforms.files.pieces import Pieces
from transforms.pulsar.messages import MessageBatch


def lines_of(batch: MessageBatch, payload: Any = "bytes") -> list[bytes]:
    (encoded,) = JsonLinesEncoder(payload).encode(batch)
    assert encoded.header == b""
    assert sum(encoded.lengths) == len(encoded.data)
    return [encoded.data[start:end] for start, end in pairwise(accumulate(encoded.lengths, initial=0))]


def expected(batch: MessageBatch, place: int, *, nest: bool) -> dict[str, Any]:
    """The dict that a line stands for, written down once more and without any haste."""
    message = read_message(batch.messages[place], batch.partition, batch.ids[place], batch.publish_times[place])
    record: dict[str, Any] = {name: getattr(message, name) for name in FIELDS}
    del record["payload"], record["encryption"], record["unreadable"]
    record["payload"] = None
    if message.payload is not None:
        try:
            record["payload"] = message.payload.decode()
        except UnicodeDecodeError:
            record["payload_base64"] = base64_text(message.payload)
        if nest:
            try:
                value = orjson.loads(message.payload)
            except ValueError:
                value = None
            if value is not None and not isinstance(value, str):
                text = message.payload.replace(b"\n", b" ").replace(b"\r", b" ")
                record["payload"] = orjson.Fragment(text)
    if message.encryption is not None:
        record["encryption"] = {
            **message.encryption,
            "keys": {
                name: {"value": base64_text(key["value"]), "metadata": key["metadata"]}
                for name, key in message.encryption["keys"].items()
            },
            "parameter": base64_text(message.encryption["parameter"]),
        }
    if message.unreadable is not None:
        record["unreadable"] = message.unreadable
    return record


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)
json_payloads = st.builds(
    lambda value, indent, ascii_only: json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(),
    json_values,
    st.sampled_from([None, 1]),
    st.booleans(),
)


@given(batches())
def test_lines_are_what_orjson_makes_of_the_record(batch: MessageBatch) -> None:
    for place, line in enumerate(lines_of(batch)):
        assert line == orjson.dumps(expected(batch, place, nest=False)) + b"\n"


@given(batches(st.one_of(messages, st.builds(ClientMessage, payload=json_payloads))))
def test_json_is_nested_as_it_came(batch: MessageBatch) -> None:
    for place, line in enumerate(lines_of(batch, "json")):
        assert line == orjson.dumps(expected(batch, place, nest=True)) + b"\n"
        assert line.count(b"\n") == 1


def payload_of(line: bytes) -> bytes | None:
    record = json.loads(line)
    if "payload_base64" in record:
        return b64decode(record["payload_base64"])
    return None if record["payload"] is None else record["payload"].encode()


@given(batches())
def test_every_payload_comes_back_from_its_line(batch: MessageBatch) -> None:
    for message, line in zip(batch.messages, lines_of(batch), strict=True):
        assert payload_of(line) == message.payload  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1}',
        b"[]",
        b"123456789012345678901234567890",
        b"1.000000000000000000000000000000001",
        b"-0",
        b"1E5",
        b"false",
        b' {"a" : 1, "a" : 2 } ',
        '{"\u2028":"\\u0000"}'.encode(),
        b"[" * 100 + b"]" * 100,
    ],
)
def test_json_that_is_nested_keeps_its_text(payload: bytes) -> None:
    (line,) = lines_of(batch_of(ClientMessage(payload)), "json")
    assert b'"payload":' + payload + b"}" in line
    orjson.loads(line)


def test_line_breaks_between_tokens_become_blanks() -> None:
    assert nested_json(b'{\r\n "a": 1e2}\n') == b'{   "a": 1e2} '


@pytest.mark.parametrize(
    "payload",
    [
        b"NaN",
        b"1e400",
        b'{"a":-1e400}',
        b"[1,]",
        b"1,2",
        b"",
        b"hello",
        b"null",
        b'"a string"',
        b'"\\ud800"',
        b"\xef\xbb\xbf1",
        b'{"a":"\n"}',
        b"[" * 101 + b"]" * 101,
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_what_is_not_json_for_every_reader_stays_text(payload: bytes) -> None:
    (line,) = lines_of(batch_of(ClientMessage(payload)), "json")
    assert orjson.loads(line)["payload"].encode() == payload


def test_bytes_that_are_not_utf8_are_base64_in_either_mode() -> None:
    for mode in ("bytes", "json"):
        (line,) = lines_of(batch_of(ClientMessage(b"\xff\x00")), mode)
        assert line.endswith(b'"payload":null,"payload_base64":"/wA="}\n')


@pytest.mark.parametrize("size", [1, 2_000, 100_000])
@pytest.mark.parametrize("binary", [0, 3, 7])
def test_one_payload_among_texts_is_not_utf8(size: int, binary: int) -> None:
    made = [
        ClientMessage(b"\xff" if place == binary else b"%d" % place * size, application={b"n": b"%d" % place})
        for place in range(8)
    ]
    lines = lines_of(batch_of(*made, entry_size=8))
    assert [payload_of(line) for line in lines] == [message.payload for message in made]
    assert [orjson.loads(line)["properties"] for line in lines] == [{"n": str(place)} for place in range(8)]
    assert [orjson.loads(line)["batch_index"] for line in lines] == list(range(8))


def sample() -> MessageBatch:
    return batch_of(
        ClientMessage(b'{"n":1}', key=b"key", application={b"a": b"1"}, event=1_700_000_000_123, version=4),
        ClientMessage(None),
        ClientMessage(b""),
        ClientMessage(b"\x00\xff"),
        ClientMessage("ü\u2028\n\0".encode(), ordering=b"o", producer=b""),
    )


def file_of(batch: MessageBatch, codec: str, *, payload: str = "bytes", blocks: int = 2) -> tuple[bytes, str]:
    file_format, make_encoder = make_format("jsonl", codec, payload)
    (encoded,) = make_encoder().encode(batch)
    lines = encoded.data.splitlines(keepends=True)
    lines = [encoded.data[start:end] for start, end in pairwise(accumulate(encoded.lengths, initial=0))]
    size = -(-len(lines) // blocks)
    groups = [lines[start : start + size] for start in range(0, len(lines), size)]
    return b"".join(
        bytes(file_format.block(Pieces(b"".join(group)), len(group))) for group in groups
    ), file_format.extension


CODECS = ["none", "gzip", "gzip:2", "zstd", "zstd:9"]


@pytest.mark.parametrize("codec", CODECS)
def test_duckdb_reads_it(codec: str, tmp_path: Path) -> None:
    data, extension = file_of(sample(), codec)
    path = tmp_path / f"file.{extension}"
    path.write_bytes(data)
    rows = duckdb.sql(
        f"select key, event_time, payload, decode(from_base64(payload_base64)) is null from read_json('{path}')"
        " where payload_base64 is null"
    ).fetchall()
    assert [row[:3] for row in rows] == [
        ("key", 1_700_000_000_123, '{"n":1}'),
        (None, None, None),
        (None, None, ""),
        (None, None, "ü\u2028\n\0"),
    ]
    (binary,) = duckdb.sql(
        f"select from_base64(payload_base64) from read_json('{path}') where payload_base64 is not null"
    ).fetchall()
    assert binary[0] == b"\x00\xff"


@pytest.mark.parametrize("codec", CODECS)
def test_pandas_reads_it(codec: str, tmp_path: Path) -> None:
    data, extension = file_of(sample(), codec)
    path = tmp_path / f"file.{extension}"
    path.write_bytes(data)
    table = pandas.read_json(path, lines=True)
    assert table["ledger_id"].tolist() == [7] * 5
    assert table["payload"].tolist()[0] == '{"n":1}'
    assert table["event_time"][0] == pandas.Timestamp(1_700_000_000_123, unit="ms")


def test_duckdb_reads_nested_payloads(tmp_path: Path) -> None:
    made = [ClientMessage(f'{{"n":{place},"big":{2**80}}}'.encode()) for place in range(3)]
    data, _ = file_of(batch_of(*made), "none", payload="json")
    path = tmp_path / "file.jsonl"
    path.write_bytes(data)
    assert duckdb.sql(f"select sum(payload.n) from read_json('{path}')").fetchall() == [(3,)]


def test_duckdb_reads_the_deepest_payload(tmp_path: Path) -> None:
    data, _ = file_of(batch_of(ClientMessage(b"[" * 100 + b"]" * 100)), "none", payload="json")
    path = tmp_path / "file.jsonl"
    path.write_bytes(data)
    assert duckdb.sql(f"select ledger_id from read_json('{path}')").fetchall() == [(7,)]


def test_zcat_and_zstd_read_it(tmp_path: Path) -> None:
    plain, _ = file_of(sample(), "none")
    for codec, command in (("gzip", ["zcat"]), ("zstd", ["zstd", "-dc"])):
        data, extension = file_of(sample(), codec)
        path = tmp_path / f"file.{extension}"
        path.write_bytes(data)
        assert subprocess.run([*command, str(path)], check=True, capture_output=True).stdout == plain
    assert gzip.decompress(file_of(sample(), "gzip")[0]) == plain
    reader = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(file_of(sample(), "zstd")[0]), read_across_frames=True
    )
    assert reader.read() == plain


@pytest.mark.parametrize("codec", CODECS)
def test_a_payload_of_five_megabytes(codec: str) -> None:
    file_format, make_encoder = make_format("jsonl", codec)
    payload = b"ab\n\xc3\xbc" * 1_000_000
    (encoded,) = make_encoder().encode(batch_of(ClientMessage(payload)))
    assert payload_of(encoded.data) == payload
    block = bytes(file_format.block(Pieces(encoded.data), 1))
    opened = {"n": bytes, "g": gzip.decompress, "z": zstandard.decompress}[codec[0]](block)
    assert opened == encoded.data


def test_a_gzip_member_names_no_time_and_no_system() -> None:
    data, _ = file_of(sample(), "gzip", blocks=1)
    assert data[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_a_zstd_frame_holds_its_size_and_a_checksum() -> None:
    data, _ = file_of(sample(), "zstd", blocks=1)
    frame = zstandard.get_frame_parameters(data)
    assert (frame.content_size, frame.has_checksum, frame.dict_id) == (len(file_of(sample(), "none")[0]), True, 0)
