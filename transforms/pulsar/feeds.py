"""The read-aheads of this process. They outlive a bundle, a DoFn instance and a checkpoint: opening one is dear."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from transforms.memory import MemoryWatch
from transforms.pulsar.client import connect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.feed import PartitionFeed
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.pace import Pace
from transforms.pulsar.restriction import ReadRange
from transforms.pulsar.windows import WindowRule


@dataclass(frozen=True)
class ReadSettings:
    """How partitions are read; picklable."""

    connection: PulsarConnection
    windows: WindowRule = WindowRule()
    compacted: bool = False
    run: str = ""
    """Names the run, so that two in one process do not share readers."""
    read_ahead_bytes: int = 32 * 1024 * 1024
    """Bytes in memory that are read ahead, for each partition."""
    slice_bytes: int = 16 * 1024 * 1024
    """Bytes of records in a slice; exceeded by what is read at once."""
    bundle_bytes: int = 16 * 1024 * 1024
    """Bytes of records in the slices of a bundle; partitions beyond that come in the next one."""
    memory_budget: int = 256 * 1000 * 1000
    """Of the process; beyond it, what the client holds ready is dropped while it is not needed."""
    retry_seconds: float = 600
    """For how long a broker may be away."""


@dataclass(slots=True)
class _Run:
    """The feeds of one run."""

    watch: MemoryWatch
    pace: Pace = field(default_factory=Pace)
    idle: dict[TopicPartition, PartitionFeed] = field(default_factory=dict)
    """Those that nobody reads from right now."""
    all: weakref.WeakSet[PartitionFeed] = field(default_factory=weakref.WeakSet)


_runs: dict[str, _Run] = {}
_lock = threading.Lock()


@contextmanager
def leased(
    settings: ReadSettings, partition: TopicPartition, restriction: ReadRange, *, bounded: bool
) -> Iterator[PartitionFeed]:
    """A feed that goes on where the restriction begins: nobody else's until the body ends, and closed if it fails.

    While a job is restored, an attempt that has failed may still be reading in the same process. It must not take
    messages from the feed of the one that goes on.
    """
    with _lock:
        # The watch of a run begins before its first reader is opened.
        run = _runs.get(settings.run) or _runs.setdefault(settings.run, _Run(MemoryWatch(settings.memory_budget)))
        feed = run.idle.pop(partition, None)
    if feed is not None and (feed.closed or feed.next != restriction.start):
        feed.close()
        feed = None
    if feed is None:
        feed = PartitionFeed(
            connect(settings.connection),
            partition,
            restriction.start,
            look_from=restriction.look_from,
            stop=restriction.stop if bounded else None,
            max_bytes=settings.read_ahead_bytes,
            compacted=settings.compacted,
            retry_seconds=settings.retry_seconds,
            watch=run.watch,
            pace=run.pace,
        )
        run.all.add(feed)
    try:
        yield feed
    except BaseException:  # that of a generator which is not read to its end, too
        feed.close()
        raise
    if not feed.closed:
        with _lock:
            replaced = run.idle.pop(partition, None)
            run.idle[partition] = feed
        if replaced is not None:
            replaced.close()


def close_readers(run: str) -> None:
    """Close all readers that a run has left open in this process."""
    with _lock:
        ended = _runs.pop(run, None)
    for feed in list(ended.all) if ended is not None else ():
        feed.close()
