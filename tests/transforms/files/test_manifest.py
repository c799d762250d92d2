"""Manifests and run records are read back as they were written, and what is none says so."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from transforms.errors import DamagedError
from transforms.files import manifest
from transforms.files.manifest import (
    GapFound,
    Manifest,
    ManifestFile,
    PartitionRead,
    RunRecord,
    SchemaVersion,
    from_json,
    json_schema,
    moment,
    parse_manifest_name,
    to_json,
)
from transforms.pulsar.positions import EARLIEST, Position

TOPIC = "persistent://t/ns/orders"
FIRST, LAST = Position(1, 2, 0), Position(7, 0, 3)
GAP = GapFound(topic=TOPIC, partition=0, start=FIRST, stop=LAST, certain=False)
READ = PartitionRead(topic=TOPIC, partition=0, start=EARLIEST, stop=LAST, messages=12)
FILE = ManifestFile(
    name="x.avro", partition=0, first=FIRST, last=LAST, messages=12, bytes=99, crc64=str(2**64 - 1),
    first_publish_time=1_763_800_200_000, last_publish_time=1_763_800_200_001,
)  # fmt: skip
MANIFEST = Manifest(
    topic=TOPIC, window=moment(1_763_800_200_000), granularity=300, format="avro", number=1, run="r",
    written=moment(1_763_800_500_123), files=(FILE,), gaps=(GAP,), read=(READ,),
)  # fmt: skip
RECORD = RunRecord(
    run="r", rule="orders", started=moment(1_763_800_200_000), ended=moment(1_763_800_200_000),
    path_template="{topic}/", timezone="UTC", granularity=300, format="jsonl", payload="value",
    window_by="publish_time", files=1, bytes=99,
    read=(READ,), gaps=(GAP,),
    schemas=(
        SchemaVersion(topic=TOPIC, schema_version=0, type="KEY_VALUE", definition=b"\0\xff", properties={"a": "b"}),
    ),
)  # fmt: skip


@pytest.mark.parametrize("document", [MANIFEST, RECORD])
def test_a_document_comes_back_as_it_was(document):
    assert from_json(type(document), to_json(document), "x") == document
    newer = {**json.loads(to_json(document)), "added": 1}
    assert from_json(type(document), json.dumps(newer).encode(), "x") == document


def test_positions_and_times_are_texts_that_people_read():
    written = json.loads(to_json(MANIFEST))
    assert (written["kind"], written["version"], written["window"]) == ("manifest", 1, "2025-11-22T08:30:00Z")
    assert written["files"][0]["first"] == "1:2:0"
    assert written["read"][0]["start"] == "-1:-1:0"
    assert json.loads(to_json(RECORD))["schemas"][0]["definition"] == "AP8="


def test_a_manifest_has_a_name_that_is_read_back():
    assert str(MANIFEST.name) == "_manifest-20251122T083000Z-300s-avro-0001.json"
    assert parse_manifest_name(str(MANIFEST.name)) == MANIFEST.name
    for other in ("_manifest-20251122T083000Z-300s-avro-1.json", "_manifest-20259922T083000Z-300s-avro-0001.json", "x"):
        assert parse_manifest_name(other) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "x is damaged: it is no manifest"),
        (b"{}", "topic: Field required"),
        (to_json(RECORD), "kind: Input should be 'manifest'"),
        (to_json(MANIFEST).replace(b'"1:2:0"', b'"1:2"'), "files.0.first"),
        (to_json(MANIFEST).replace(b'"version": 1', b'"version": 2'), "version: Input should be 1"),
    ],
)
def test_what_is_no_manifest_says_where(content, said):
    with pytest.raises(DamagedError, match=said):
        from_json(Manifest, content, "x")


@pytest.mark.parametrize(("name", "document"), [("manifest-1", MANIFEST), ("run-1", RECORD)])
def test_the_published_schema_is_that_of_what_is_written(name, document):
    """Written by ``json.dumps(json_schema(…), indent=2)``; a field may be added, none may change."""
    published = json.loads((Path(manifest.__file__).parent / "schemas" / f"{name}.json").read_text())
    assert published == json_schema(type(document))
    jsonschema.Draft202012Validator.check_schema(published)
    valid = jsonschema.Draft202012Validator(published)
    written = json.loads(to_json(document))
    valid.validate(written)
    assert not valid.is_valid({**written, "version": 2})
    assert not valid.is_valid({**written, "granularity": "5m"})
    valid.validate({**written, "added": 1})
