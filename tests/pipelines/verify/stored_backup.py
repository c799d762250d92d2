"""Backups made without a broker, by the parts that a run is made of, and hands to damage them with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.transforms.files.client_messages import ClientMessage
from tests.transforms.files.values import FixedSchemas, schema
from transforms.cos.destination import Destination, open_store, parse_destination
from transforms.cos.object_metadata import metadata_of
from transforms.cos.store import ObjectStore
from transforms.cos.window_manifest import ManifestSettings, ManifestWriter, WindowOfTopic
from transforms.files.assemble import assemble
from transforms.files.formats import make_format
from transforms.files.manifest import GapFound, PartitionRead, RunRecord, moment, to_json
from transforms.files.naming import Layout
from transforms.files.records import Records
from transforms.files.roll import Limits, PartitionFiles, Roller
from transforms.pulsar.messages import FOREVER, MessageBatch, TopicPartition
from transforms.pulsar.positions import Position
from transforms.testing.cos_server import TEST_BUCKET, CosServer

ORDERS, EVENTS = "persistent://cluster/shop/orders", "persistent://cluster/shop/events"
PARTITIONS = (TopicPartition(ORDERS, 0), TopicPartition(ORDERS, 1), TopicPartition(EVENTS))
BEGIN = 1_763_800_200_000
SECONDS = 300
#: In the middle of the second window, where the first run ends and the second goes on.
ENTRIES, MIDDLE = 24, 13
V0 = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}
V1 = {**V0, "fields": [*V0["fields"], {"name": "note", "type": ["null", "string"], "default": None}]}  # type: ignore[misc]


@dataclass(frozen=True)
class Kind:
    """How a backup is written."""

    format: str = "avro"
    codec: str = "deflate"
    payload: str = "bytes"

    def __str__(self) -> str:
        return f"{self.files}-{self.payload}"

    @property
    def files(self) -> str:
        return f"{self.format}-{self.codec}"


@dataclass
class StoredBackup:
    """A backup below a prefix, with hands that no run has. Keys are whole."""

    destination: Destination
    root: Path
    """Of the folder, or of the server."""
    server: CosServer | None = None
    kind: Kind = field(default_factory=Kind)

    @property
    def store(self) -> ObjectStore:
        return open_store(self.destination)

    @property
    def prefix(self) -> str:
        return self.destination.prefix

    def keys(self, *words: str, area: str = "") -> list[str]:
        """Those that hold all of the words; of messages, unless an area or a manifest is among them."""
        wanted = self.prefix + area
        keys = [each for each in self.store.list_keys(wanted) if all(word in each for word in words)]
        if area or any(word.startswith("_manifest") for word in words):
            return keys
        return [each for each in keys if not each[len(self.prefix) :].startswith("_") and "_manifest" not in each]

    def read(self, key: str) -> bytes:
        return b"".join(self.store.read(key))

    def write(self, key: str, content: bytes, like: str | None = None) -> None:
        """Put content under a key, over what stands there; with the metadata of another object, or of that one."""
        if self.server is None:
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return
        disk = self.server.disk
        headers: Mapping[str, str] = {}
        if like is not None or key in self.store.list_keys(key):
            headers = disk.get(TEST_BUCKET, like or key).headers
        with _Bytes(content) as source:
            disk.put(TEST_BUCKET, key, disk.receive(source, len(content)), headers, False)

    def describe(self, key: str, **metadata: str) -> None:
        """Change metadata of an object."""
        assert self.server is not None
        disk = self.server.disk
        stored = disk.get(TEST_BUCKET, key)
        changed = {f"x-cos-meta-{name.replace('_', '-')}": value for name, value in metadata.items()}
        with _Bytes(self.read(key)) as source:
            content = disk.receive(source, stored.content.size)
        disk.put(TEST_BUCKET, key, content, {**stored.headers, **changed}, False)

    def rot(self, key: str, place: int) -> None:
        """Flip a bit of an object where it is kept; the store does not notice."""
        if self.server is None:
            path = self.root / key
        else:
            path = self.root / "contents" / self.server.disk.get(TEST_BUCKET, key).content.file
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)

    def delete(self, key: str) -> None:
        self.store.delete_parts([key])

    def rename(self, key: str, to: str) -> str:
        self.write(to, self.read(key), like=key)
        self.delete(key)
        return to


class _Bytes:
    def __init__(self, content: bytes) -> None:
        import io

        self._file = io.BytesIO(content)

    def __enter__(self) -> Any:
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()


def in_folder(path: Path, kind: Kind) -> StoredBackup:
    """An empty place in a folder."""
    return StoredBackup(parse_destination(f"file://{path}/"), path, kind=kind)


def in_bucket(path: Path, server: CosServer, kind: Kind) -> StoredBackup:
    """An empty place in the bucket of a server whose directory is ``path``."""
    destination = parse_destination(f"cos://{TEST_BUCKET}/backup/", endpoint=server.endpoint)
    return StoredBackup(destination, path, server, kind)


def copied(path: Path, to: Path) -> Path:
    """A copy of a folder."""
    shutil.copytree(path, to)
    return to


def messages_of(partition: TopicPartition, kind: Kind, first: int = 0, last: int = ENTRIES) -> Iterator[MessageBatch]:
    """Entries of one partition; the third of every four holds a batch of three, some are a little late."""
    for entry in range(first, last):
        size = 3 if entry % 4 == 2 else 1
        late = 70_000 if entry % 11 == 10 else 0
        time = BEGIN + entry * 30_000 - late + max(partition.index, 0)
        ids = [(7 + entry // 20, entry % 20, place if size > 1 else -1) for place in range(size)]
        version = -1 if kind.payload != "value" else entry // 5 % 2
        made = [
            ClientMessage(_payload(kind, entry, version), b"key-%d" % (entry % 3), version=version) for _ in range(size)
        ]
        yield MessageBatch.of(partition, list(made), ids, [time] * size, time)


def _payload(kind: Kind, entry: int, version: int) -> bytes:
    if kind.payload != "value":
        return b'{"id": %d, "text": "%s"}' % (entry, b"x" * 40)
    if entry % 7 == 3:
        return b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"  # fits no version
    return bytes([2 * entry]) + (b"\x02\x02x" if version == 1 else b"")


def write_run(
    place: StoredBackup,
    run: str,
    *,
    first: int = 0,
    last: int = ENTRIES,
    written: bool = True,
    record: bool = True,
    manifests: bool = True,
    gaps: Sequence[GapFound] = (),
    granularity: int = SECONDS,
    partitions: Sequence[TopicPartition] = PARTITIONS,
    template: str = Layout.template,
    timezone: str = "UTC",
) -> None:
    """Write what a run writes that reads the entries ``first`` to before ``last`` of each partition.

    If not ``written``, all of them stood there already.
    """
    kind, store = place.kind, place.store
    layout = Layout(place.prefix, template, timezone, granularity)
    file_format, factory = make_format(kind.format, kind.codec, kind.payload)
    schemas = FixedSchemas({0: schema("AVRO", V0), 1: schema("AVRO", V1)})
    start, stop = (Position(7 + entry // 20, entry % 20) for entry in (first, last))
    reads, windows, count, size = [], set(), 0, 0
    for partition in partitions:
        state = PartitionFiles()
        roller = Roller(state, Limits(messages=8), lambda *_: (), lambda: [])
        encoder = factory(schemas)
        for batch in messages_of(partition, kind, first, last):
            window = batch.time - batch.time % (granularity * 1000)
            windows.add((partition.topic, partition.index < 0, window))
            for part in encoder.encode(batch):
                places = part.indexes if part.indexes is not None else range(len(batch.ids))
                ids, times = [batch.ids[at] for at in places], [batch.publish_times[at] for at in places]
                roller.add(Records.of(window, part.lane, part.header, ids, times, part.records))
        roller.seal(FOREVER, granularity * 1000)
        for finished in roller.finished if written else ():
            file, body = finished.file, assemble(finished, file_format)
            key = layout.file(partition, file.lane, file.window, file.run, file_format.extension)
            store.put(key, body.tail, metadata_of(file, body.records_crc))
            count, size = count + 1, size + body.size
        read = PartitionRead(
            topic=partition.topic, partition=partition.index, start=start, stop=stop, messages=state.messages
        )
        reads.append(read)
    writer = ManifestWriter(store, ManifestSettings(place.destination, layout, kind.format, run))
    for topic, unpartitioned, window in sorted(windows) if manifests else ():
        of_topic = tuple(read for read in reads if read.topic == topic)
        writer.write(WindowOfTopic(topic, window, unpartitioned, of_topic))
    if record:
        document = RunRecord(
            run=run, started=moment(BEGIN), ended=moment(BEGIN), path_template=template, timezone=timezone,
            granularity=granularity, format=kind.format, payload=kind.payload, window_by="publish_time",  # type: ignore[arg-type]
            files=count, bytes=size, read=tuple(reads), gaps=tuple(gaps),
        )  # fmt: skip
        store.put_document(f"{place.prefix}_runs/{run}.json", to_json(document))


def write_backup(place: StoredBackup) -> StoredBackup:
    """Two runs, the second going on where the first ended, in the middle of a window."""
    write_run(place, "run-1", last=MIDDLE)
    write_run(place, "run-2", first=MIDDLE)
    return place
