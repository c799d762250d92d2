"""Reading everything that stands at a destination back into records, by readers that are not ours.

Each object is held against its name, its folder, its limits and the others on the way, so that a test that reads back
has proved: names parse and agree with what is inside, each object is an unbroken run in the order of the messages,
no two overlap, no message stands twice.
"""

from __future__ import annotations

import base64
import gzip
import io
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote

import fastavro
import fastavro.read
import orjson
import zstandard
from fastcrc import crc64

from tests.pipelines.backups import Bucket, Destination
from transforms.files.manifest import Manifest, RunRecord, from_json
from transforms.files.naming import FileName, parse_name
from transforms.pulsar.positions import Position

Record = dict[str, Any]


@dataclass(frozen=True)
class StoredFile:
    """An object that holds messages."""

    key: str
    folder: str
    """Below the prefix, with the slash at its end."""
    name: FileName
    records: list[Record]


def read_avro(body: bytes) -> list[Record]:
    """Records of an Avro file; times as milliseconds."""
    # Times of any number have to come through, also those that are no dates.
    with patch.dict(fastavro.read.LOGICAL_READERS, {"long-timestamp-millis": lambda value, *_: value}):
        return list(fastavro.reader(io.BytesIO(body)))  # type: ignore[arg-type]


def read_lines(body: bytes, extension: str) -> list[Record]:
    """Records of a file of JSON lines, whatever compressed it."""
    if extension.endswith(".gz"):
        body = gzip.decompress(body)
    elif extension.endswith(".zst"):
        body = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True).read()
    assert body.endswith(b"\n")
    return [_with_bytes(orjson.loads(line)) for line in body[:-1].split(b"\n")]


def _with_bytes(record: Record) -> Record:
    """The payload as bytes, as in Avro, and what is left out as null."""
    text, encoded = record["payload"], record.pop("payload_base64", None)
    assert text is None or encoded is None
    if encoded is not None:
        record["payload"] = base64.b64decode(encoded, validate=True)
    elif isinstance(text, str):
        record["payload"] = text.encode()
    return {"encryption": None, "unreadable": None, **record}


def read_files(destination: Destination, *, area: str = "") -> list[StoredFile]:
    """All objects of messages, in the order of a listing; anything else there fails the test.

    ``area`` is ``_quarantine/`` for what stands there; else that is left out.
    """
    files = []
    for key in destination.listed():
        place = key.removeprefix(destination.prefix)
        if place.startswith("_quarantine/") != bool(area):
            continue
        folder, _, base = place.removeprefix(area).rpartition("/")
        name = parse_name(base)
        assert name is not None, f"{key} is no object of messages"
        assert str(name) == base
        body = destination.read(key)
        files.append(StoredFile(key, f"{folder}/", name, records_in(body, name)))
    return files


def records_in(body: bytes, name: FileName) -> list[Record]:
    """Records of a file."""
    return read_avro(body) if name.format == "avro" else read_lines(body, name.extension)


def position(record: Record) -> Position:
    """Where the message stood."""
    return Position(record["ledger_id"], record["entry_id"], max(record["batch_index"], 0))


def partition_of(record: Record) -> str:
    """Full name of the partition that the message was in."""
    index = record["partition"]
    return str(record["topic"]) if index < 0 else f"{record['topic']}-partition-{index}"


def time_of(record: Record, *, by_event_time: bool = False) -> int:
    """The time that decides the window, in milliseconds."""
    event_time = record["event_time"]
    if by_event_time and event_time is not None and 0 < event_time <= 253_402_300_799_999:
        return int(event_time)
    return int(record["publish_time"])


def check_file(file: StoredFile, *, granularity: int = 300, by_event_time: bool = False) -> None:
    """Hold an object against its name and its folder (of the default template)."""
    name, records = file.name, file.records
    places = [position(record) for record in records]
    assert len(places) > 0, file.key
    assert len(places) == name.run.messages, file.key
    assert (places[0], places[-1]) == (name.run.first, name.run.last), file.key
    assert all(before < after for before, after in itertools.pairwise(places)), f"{file.key}: out of order"
    assert {partition_of(record) for record in records} == {partition_of(records[0])}, file.key
    assert max(records[0]["partition"], 0) == name.partition, file.key
    assert name.granularity == granularity
    windows = {_window(time_of(record, by_event_time=by_event_time), granularity) for record in records}
    assert windows == {name.window}, file.key
    start = datetime.fromtimestamp(name.window / 1000, tz=timezone.utc)
    topic = records[0]["topic"].removeprefix("persistent://")
    assert unquote(file.folder) == f"{topic}/{start:dt=%Y-%m-%d/hh=%H}/"


def _window(time: int, granularity: int) -> int:
    return time - time % (granularity * 1000)


def messages_in(
    destination: Destination,
    *,
    granularity: int = 300,
    by_event_time: bool = False,
    most: int = 5_000,
    named: bool = True,
) -> dict[str, list[Record]]:
    """Every message at the destination, by partition, in the order of the partition; all objects checked.

    ``named`` says that no file may be without a manifest.
    """
    runs: defaultdict[tuple[str, int, str, str], list[FileName]] = defaultdict(list)
    found: defaultdict[str, list[Record]] = defaultdict(list)
    known: dict[str, list[Record]] = {}
    for file in read_files(destination):
        known[file.key] = file.records
        check_file(file, granularity=granularity, by_event_time=by_event_time)
        assert len(file.records) <= most
        if isinstance(destination, Bucket):
            check_metadata(file, destination.metadata(file.key))
        partition = partition_of(file.records[0])
        runs[partition, file.name.window, file.name.version, file.name.format].append(file.name)
        found[partition] += file.records
    for names in runs.values():
        # As listed: the order of names is the order of messages.
        for before, after in itertools.pairwise(names):
            assert before.run.last < after.run.first, f"{before} and {after} overlap"
    left = check_documents(destination, known)
    assert not (named and left), f"no manifest names {sorted(left)[:3]}"
    for records in found.values():
        records.sort(key=position)
        assert len({position(record) for record in records}) == len(records), "a message stands twice"
    check_counts(destination, {file.rpartition(".avro")[1] or ".jsonl" for file in known}, found, whole=named)
    return dict(found)


def check_metadata(file: StoredFile, metadata: Mapping[str, str]) -> None:
    """Hold an object against its user metadata."""
    run = file.name.run
    assert metadata["format-version"] == "1"
    assert metadata["window"] == str(file.name.window)
    assert metadata["messages"] == str(run.messages)
    assert (metadata["first-message-id"], metadata["last-message-id"]) == (str(run.first), str(run.last))
    times = [record["publish_time"] for record in file.records]
    assert (metadata["first-publish-time"], metadata["last-publish-time"]) == (str(min(times)), str(max(times)))


def unnamed(destination: Destination) -> set[str]:
    """Keys of the files that no manifest names."""
    files = {key for key in destination.listed() if not key.startswith(f"{destination.prefix}_spool/")}
    for key in destination.documents():
        if "/_manifest-" in f"/{key}":
            files -= set(named_by(destination, key, from_json(Manifest, destination.read(key), key)))
    return files


def named_by(destination: Destination, key: str, manifest: Manifest) -> list[str]:
    """Keys of the files that a manifest names."""
    folder = key.removeprefix(destination.prefix).rpartition("_manifest-")[0]
    areas = ("_quarantine/" if file.quarantined else "" for file in manifest.files)
    return [f"{destination.prefix}{area}{folder}{file.name}" for area, file in zip(areas, manifest.files, strict=True)]


def check_documents(destination: Destination, known: Mapping[str, list[Record]] | None = None) -> set[str]:
    """Hold manifests and run records against the files; gives the keys of the files that no manifest names.

    ``known`` has the records of files that were read already.
    """
    seen: set[str] = set()
    for key in destination.documents():
        if key.startswith(f"{destination.prefix}_runs/"):
            record = from_json(RunRecord, destination.read(key), key)
            assert key == f"{destination.prefix}_runs/{record.run}.json"
            continue
        for file in check_manifest(destination, key, known or {}):
            assert file not in seen, f"{file} is named twice"
            seen.add(file)
    return unnamed(destination)


def check_counts(destination: Destination, kinds: set[str], found: Mapping[str, list[Record]], *, whole: bool) -> None:
    """Hold what runs say to have read against what is stored between the same positions.

    Not of payloads under their own schema, some of which are in quarantine. ``whole``: no file is open any more.
    """
    for key in destination.documents():
        is_run = key.startswith(f"{destination.prefix}_runs/")
        document = from_json(RunRecord if is_run else Manifest, destination.read(key), key)
        if f".{document.format}" not in kinds or (isinstance(document, RunRecord) and document.payload == "value"):
            continue
        for read in document.read:
            name = read.topic if read.partition < 0 else f"{read.topic}-partition-{read.partition}"
            stored = sum(read.start <= position(record) < read.stop for record in found.get(name, []))
            assert stored == read.messages if is_run or whole else stored <= read.messages, (key, read, stored)


def check_manifest(destination: Destination, key: str, known: Mapping[str, list[Record]]) -> list[str]:
    """Hold a manifest against its name and its files, whose keys are given."""
    manifest = from_json(Manifest, destination.read(key), key)
    assert key.rpartition("/")[2] == str(manifest.name)
    assert manifest.files, key
    keys = named_by(destination, key, manifest)
    for at, file in zip(keys, manifest.files, strict=True):
        name, body = parse_name(file.name), destination.read(at)
        assert name is not None
        assert (name.window, name.granularity, name.format) == (
            round(manifest.window.timestamp() * 1000),
            manifest.granularity,
            manifest.format,
        )
        records = known.get(at) or records_in(body, name)
        assert {record["topic"] for record in records} == {manifest.topic}
        times = [record["publish_time"] for record in records]
        assert {
            "partition": file.partition,
            "first": file.first,
            "last": file.last,
            "messages": file.messages,
            "bytes": file.bytes,
            "crc64": file.crc64,
            "times": (file.first_publish_time, file.last_publish_time),
        } == {
            "partition": records[0]["partition"],
            "first": position(records[0]),
            "last": position(records[-1]),
            "messages": len(records),
            "bytes": len(body),
            "crc64": str(crc64.xz(body)),
            "times": (min(times), max(times)),
        }, at
    return keys


def positions(records: Iterable[Record]) -> list[Position]:
    """Where messages stood."""
    return [position(record) for record in records]


def assert_holds(stored: Mapping[str, Sequence[Record]], sent: Mapping[str, Sequence[Position]]) -> None:
    """Exactly these messages, id by id and in order; partitions without any are left out."""
    wanted = {partition: list(places) for partition, places in sent.items() if places}
    assert {partition: positions(records) for partition, records in stored.items()} == wanted
