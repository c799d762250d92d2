"""Comparing a backup with what the broker holds: reads ids through a reader, which moves no subscription."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from transforms.at_once import at_once
from transforms.cos.store import ObjectStore
from transforms.cos.stored_files import StoredFile
from transforms.pulsar.client import connect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.feed import PartitionFeed
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.request import Request
from transforms.pulsar.resolve import examine
from transforms.pulsar.restriction import PartitionRange
from transforms.verify.against import Compared, Comparison, Span, stored_positions
from transforms.verify.counts import Judged
from transforms.verify.findings import Findings, Kind

_AT_ONCE = 4
_READ_AHEAD_BYTES = 16 * 1024 * 1024
_WAIT_SECONDS = 1.0

#: Topic and index of the partition, as in names: 0 for a topic without partitions.
_Place = tuple[str, int]


def compare(
    store: ObjectStore,
    connection: PulsarConnection,
    files: Iterable[tuple[str, StoredFile]],
    topics: Sequence[str],
    stretches: Iterable[Judged],
    findings: Findings,
) -> list[Compared]:
    """Compare all partitions of the topics. ``files`` are those of the backup, with their topics.

    Creates neither topics nor subscriptions. What comes while this goes on is left out. Raises SourceError,
    TopicNotFoundError and AccessError as reading does.
    """
    ranges = examine(Request(connection, tuple(topics), beside=True)).ranges
    held = {_place(each.partition): each for each in ranges}
    read: defaultdict[_Place, list[Span]] = defaultdict(list)
    for each in stretches:
        read[each.series.topic, each.series.partition].append(Span(each.start, each.stop))
    inside: defaultdict[_Place, list[StoredFile]] = defaultdict(list)
    before: defaultdict[_Place, int] = defaultdict(int)
    for topic, file in files:
        place = topic, file.name.partition
        if place in held and held[place].start < held[place].stop and file.name.run.last >= held[place].start:
            inside[place].append(file)
        else:
            before[place] += file.name.run.messages
    tasks = []
    for place, of_broker in held.items():
        span = Span(of_broker.start, of_broker.stop)
        comparison = Comparison(of_broker.partition.name, span, read[place] or _around(inside[place]), findings)
        comparison.older(before[place])
        tasks.append(partial(_compare, store, connection, of_broker, inside[place], comparison, findings))
    results = at_once(tasks, limit=_AT_ONCE)
    for compared in results:
        if compared.counts[Kind.TRIMMED]:
            what = f"{compared.counts[Kind.TRIMMED]} messages before {compared.span.start}"
            findings.add(Kind.TRIMMED, compared.partition, what)
    return results


def _compare(
    store: ObjectStore,
    connection: PulsarConnection,
    of_broker: PartitionRange,
    files: Sequence[StoredFile],
    comparison: Comparison,
    findings: Findings,
) -> Compared:
    return comparison.run(_held(connection, of_broker), stored_positions(store, files, findings))


def _held(connection: PulsarConnection, of_broker: PartitionRange) -> Iterator[Position]:
    """The positions of all messages that the broker holds in the range."""
    if of_broker.start >= of_broker.stop:
        return
    feed = PartitionFeed(
        connect(connection),
        of_broker.partition,
        of_broker.start,
        stop=of_broker.stop,
        max_bytes=_READ_AHEAD_BYTES,
    )
    try:
        while True:
            portion = feed.take(_WAIT_SECONDS)
            if portion is None:
                continue
            if not portion.messages:
                return
            for ledger, entry, index in portion.columns.ids:
                position = Position(ledger, entry, max(index, 0))
                if position >= of_broker.stop:
                    return
                yield position
            if portion.behind(-1) >= of_broker.stop:
                return
    finally:
        feed.close()


def _around(files: Sequence[StoredFile]) -> list[Span]:
    """Where no run says what it has read: from the first stored message to the last."""
    runs = [file.name.run for file in files]
    if not runs:
        return []
    return [Span(min(run.first for run in runs), max(run.last for run in runs).next_message())]


def _place(partition: TopicPartition) -> _Place:
    return partition.topic, max(partition.index, 0)
