"""Objects of messages as the sink writes them, made without a broker."""

from __future__ import annotations

from typing import NamedTuple

from fastcrc import crc64

from tests.transforms.files.client_messages import ClientMessage
from transforms.cos.object_metadata import metadata_of
from transforms.cos.store import ObjectStore
from transforms.files.formats import make_format
from transforms.files.naming import Layout, StoredRun
from transforms.files.pieces import Pieces
from transforms.files.roll import OpenFile
from transforms.files.windows_complete import FileFacts
from transforms.pulsar.messages import MessageBatch, TopicPartition
from transforms.pulsar.positions import Position

TOPIC = "persistent://cluster/shop/orders"
LAYOUT = Layout(prefix="backup/")
NOON = 1_772_366_400_000
MINUTES = 300_000


class Made(NamedTuple):
    """An object that stands at a destination."""

    key: str
    facts: FileFacts

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]


def put_file(
    store: ObjectStore,
    first: int,
    count: int = 3,
    *,
    index: int = 0,
    window: int = NOON,
    lane: str = "",
    layout: Layout = LAYOUT,
    kind: tuple[str, str] = ("avro", "null"),
    with_metadata: bool = True,
) -> Made:
    """Write the messages of entries ``first`` and on; their publish times go down, a second each."""
    partition = TopicPartition(TOPIC, index)
    ids = [(7, first + number, -1) for number in range(count)]
    times = [window + 1000 * (count - number) for number in range(count)]
    batch = MessageBatch.of(partition, [ClientMessage(b"%d" % entry) for _, entry, _ in ids], ids, times, times[0])
    file_format, factory = make_format(*kind)
    (part,) = factory().encode(batch)
    body = part.header + bytes(file_format.block(Pieces(part.data), count))
    run = StoredRun(Position(7, first), Position(7, first + count - 1), count)
    file = OpenFile(window, lane, b"", run.first, run.last, count, len(part.data), min(times), max(times))
    key = layout.file(partition, lane, window, run, file_format.extension)
    store.put(key, body, metadata_of(file, crc64.xz(part.data)) if with_metadata else {})
    return Made(key, FileFacts(key, len(body), crc64.xz(body), min(times), max(times)))
