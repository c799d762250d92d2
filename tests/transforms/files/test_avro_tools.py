"""What Java makes of our Avro files: its reader is the strictest about schemas and values."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.transforms.files.client_messages import ClientMessage, batch_of
from tests.transforms.files.test_avro import CODECS, file_of, sample
from tests.transforms.files.test_value import (
    ORDER,
    OTHER_POINT,
    PAYLOAD,
    POINT,
    PRIMITIVES,
    FixedSchemas,
    key_value,
    schema,
    sized,
)
from transforms.files.formats import make_format
from transforms.files.pieces import Pieces
from transforms.pulsar.schemas import TopicSchema
from transforms.testing.fetch import avro_tools_jar, java


def by_java(data: bytes, folder: Path) -> list[Any]:
    path = folder / "file.avro"
    path.write_bytes(data)
    command = [java(), "-jar", str(avro_tools_jar()), "tojson", str(path)]
    done = subprocess.run(command, check=True, capture_output=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("codec", CODECS)
def test_java_reads_every_codec(codec: str, tmp_path: Path) -> None:
    rows = by_java(file_of(sample(), codec), tmp_path)
    assert [row["payload"] for row in rows] == [
        {"bytes": "payload"},
        None,
        {"bytes": ""},
        {"bytes": "\x00\xff"},
        {"bytes": "ü\u2028".encode().decode("latin-1")},
    ]
    assert rows[3]["unreadable"] == {"array": ["key", "properties"]}
    assert (rows[0]["event_time"], rows[0]["schema_version"]) == ({"long": 1_700_000_000_123}, {"long": 4})


def value_files(kind: TopicSchema, *payloads: bytes | None) -> dict[str, bytes]:
    file_format, make_encoder = make_format("avro", None, "value")
    batch = batch_of(*(ClientMessage(payload, version=0) for payload in payloads))
    return {
        lane.lane: lane.header + bytes(file_format.block(Pieces(lane.data), len(lane.lengths)))
        for lane in make_encoder(FixedSchemas({0: kind})).encode(batch)
    }


def test_java_reads_values_and_the_quarantine(tmp_path: Path) -> None:
    files = value_files(schema("AVRO", ORDER), PAYLOAD, None, b"!")
    rows = by_java(files["v000000"], tmp_path)
    assert rows[0]["value"]["shop.Order"]["next"]["shop.Order"]["state"] == "PAID"
    assert rows[1]["value"] is None
    assert by_java(files["quarantine"], tmp_path)[0]["payload"] == {"bytes": "!"}


def test_java_reads_key_and_value_with_types_of_one_name(tmp_path: Path) -> None:
    kind = key_value("INLINE", OTHER_POINT, POINT)
    (row,) = by_java(value_files(kind, sized(b"\x02\x02\x04\x00") + sized(b"\x06"))["v000000"], tmp_path)
    assert row["value"] == {"Point": {"x": 3}}
    assert row["key_value"]["key.Point"]["y"]["key.Point"]["x"] == 2


def test_java_reads_types_that_have_our_names(tmp_path: Path) -> None:
    definition = {"type": "record", "name": "PulsarMessage", "fields": [{"name": "x", "type": "int"}]}
    (row,) = by_java(value_files(schema("AVRO", definition), b"\x02")["v000000"], tmp_path)
    assert row["value"] == {"PulsarMessage": {"x": 1}}


@pytest.mark.parametrize("kind", ["INSTANT", "LOCAL_DATE_TIME", "STRING"])
def test_java_reads_primitives(kind: str, tmp_path: Path) -> None:
    payload, value = next((payload, value) for name, payload, value in PRIMITIVES if name == kind)
    (row,) = by_java(value_files(schema(kind), payload)["v000000"], tmp_path)
    assert list(row["value"].values()) == [value]
