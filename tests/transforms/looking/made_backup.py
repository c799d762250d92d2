"""A small backup made without a broker: real names, real contents, manifests and a run record."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastcrc import crc64

from tests.transforms.files.client_messages import ClientMessage
from transforms.cos.store import ObjectStore
from transforms.files.formats import make_format
from transforms.files.manifest import Manifest, ManifestFile, PartitionRead, RunRecord, moment, to_json
from transforms.files.naming import Layout, StoredRun
from transforms.files.pieces import Pieces
from transforms.pulsar.messages import MessageBatch, TopicPartition
from transforms.pulsar.positions import Position

TOPIC = "persistent://shop/web/orders"
#: 2026-11-22T09:40:00Z
START = 1_795_340_400_000
GRANULARITY = 300


@dataclass(frozen=True)
class Message:
    """What was put into a file, by the name of its object."""

    object: str
    place: int
    partition: int
    id: tuple[int, int, int]
    time: int
    key: str
    payload: bytes

    @property
    def id_text(self) -> str:
        return ":".join(map(str, self.id))


@dataclass
class Backup:
    """What was made."""

    messages: list[Message] = field(default_factory=list)

    @property
    def objects(self) -> list[str]:
        return sorted({each.object for each in self.messages})

    def keys_of(self, *, partition: int | None = None, window: int | None = None) -> list[str]:
        stamp = "" if window is None else f"{moment(START + window * GRANULARITY * 1000):%Y%m%dT%H%M%SZ}"
        place = "" if partition is None else f"-p{partition:04d}-"
        return [key for key in self.objects if stamp in key and place in key]


def make_backup(
    store: ObjectStore,
    prefix: str = "",
    *,
    topic: str = TOPIC,
    partitions: int = 3,
    windows: int = 8,
    files: int = 2,
    messages: int = 10,
    kind: tuple[str, str] = ("avro", "deflate"),
    manifests: bool = True,
    window_by: str | None = "publish_time",
    template: str | None = None,
    shift: int = 0,
    run_id: str = "00000000",
) -> Backup:
    """Put into each window of each partition some files of some messages; seven keys, ids that go on and on.

    Publish times are spread evenly over the window. ``shift`` moves them by so many milliseconds out of it, as with
    windows of event times. Without a ``window_by`` there is no run record.
    """
    layout = Layout(prefix, template) if template else Layout(prefix)
    file_format, factory = make_format(*kind, "bytes")
    made = Backup()
    for window in range(windows):
        begin = START + window * GRANULARITY * 1000
        named: list[ManifestFile] = []
        for index in range(partitions):
            partition = TopicPartition(topic, index)
            for number in range(files):
                entries = range((window * files + number) * messages, (window * files + number + 1) * messages)
                step = GRANULARITY * 1000 // (files * messages)
                times = [begin + shift + (entry % (files * messages)) * step for entry in entries]
                keys = [f"customer-{entry % 7}" for entry in entries]
                payloads = [b'{"order": %d, "shop": %d}' % (entry, index) for entry in entries]
                batch = MessageBatch.of(
                    partition,
                    [
                        ClientMessage(payload, key=key.encode(), event=begin + 1000, application={b"try": b"1"})
                        for payload, key in zip(payloads, keys, strict=True)
                    ],
                    [(5, entry, -1) for entry in entries],
                    times,
                    begin,
                )
                (lane,) = factory().encode(batch)
                body = lane.header + bytes(file_format.block(Pieces(lane.data), len(lane.lengths)))
                run = StoredRun(Position(5, entries[0]), Position(5, entries[-1]), messages)
                key = layout.file(partition, "", begin, run, file_format.extension)
                store.put(key, body, {})
                made.messages += [
                    Message(key, place, index, (5, entry, 0), *rest)
                    for place, (entry, *rest) in enumerate(zip(entries, times, keys, payloads, strict=True))
                ]
                file = ManifestFile(
                    name=key.rpartition("/")[2], partition=index, first=run.first, last=run.last, messages=messages,
                    bytes=len(body), crc64=str(crc64.xz(body)),
                    first_publish_time=min(times), last_publish_time=max(times),
                )  # fmt: skip
                named.append(file)
        if manifests:
            manifest = Manifest(
                topic=topic, window=moment(begin), granularity=GRANULARITY, format=kind[0], number=0, run="r",
                written=moment(begin), files=tuple(named),
            )  # fmt: skip
            folder = layout.folder(TopicPartition(topic, 0), begin)
            store.put(f"{folder}{manifest.name}", to_json(manifest), {})
    if window_by is not None:
        ended = moment(START + windows * GRANULARITY * 1000)
        total = windows * files * messages
        read = tuple(
            PartitionRead(topic=topic, partition=index, start=Position(5, 0), stop=Position(5, total), messages=total)
            for index in range(partitions)
        )
        record = RunRecord(
            run=f"{ended:%Y%m%dT%H%M%SZ}-{run_id}", started=ended, ended=ended, path_template=layout.template,
            timezone="UTC", granularity=GRANULARITY, format=kind[0], payload="bytes", window_by=window_by,
            files=len(made.objects), bytes=0, read=read,
        )  # fmt: skip
        store.put(f"{prefix}_runs/{record.run}.json", to_json(record), {})
    return made
