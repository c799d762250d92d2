"""The source: a splittable DoFn whose restriction is positions in one partition."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.coders import Coder, registry
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.metrics import Metrics
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import Duration, Timestamp

from transforms.memory import RECORD_BYTES, MemoryWatch
from transforms.progress import progress_of
from transforms.pulsar.client import connect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.feed import Chunk, PartitionFeed
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import MessageBatch, Seal, SourceElement, TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.restriction import Claim, PartitionRange, ReadRange, ReadRangeCoder, ReadTracker
from transforms.pulsar.windows import MAX_TIME, WindowRule, WindowTracker

#: Seals every window.
FOREVER = 2**62
#: A slice is what one call of ``process`` yields. Its output has no backpressure on some runners, so it is bounded.
SLICE_SECONDS = 0.5
#: Flink cuts a delay to whole seconds after it has taken off the time that has passed.
IDLE_DELAY = Duration(2.5)  # type: ignore[no-untyped-call]

GAPS = "gaps"

_MESSAGE_SIZE = 200

_log = logging.getLogger(__name__)


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


class _Restrictions(RestrictionProvider):  # type: ignore[misc]
    def initial_restriction(self, element: PartitionRange) -> ReadRange:
        return ReadRange(element.start, element.stop)

    def create_tracker(self, restriction: ReadRange) -> ReadTracker:
        return ReadTracker(restriction)

    def split(self, element: PartitionRange, restriction: ReadRange) -> Iterator[ReadRange]:
        yield restriction  # whole: see transforms.pulsar.restriction

    def restriction_size(self, element: PartitionRange, restriction: ReadRange) -> float:
        return 0.0 if restriction.empty else 1.0

    def restriction_coder(self) -> Coder:
        return ReadRangeCoder()

    def truncate(self, element: PartitionRange, restriction: ReadRange) -> None:
        """Drain ends the reading where it stands."""


class PartitionReader:
    """The read loop that the bounded and the unbounded source share."""

    def __init__(self, settings: ReadSettings, *, bounded: bool) -> None:
        self._settings = settings
        self._bounded = bounded
        self._messages = Metrics.counter("tdmq_backup", "messages_read")
        self._bytes = Metrics.counter("tdmq_backup", "payload_bytes_read")
        self._gaps = Metrics.counter("tdmq_backup", "gaps")
        self._turns = Turns(settings.bundle_bytes)

    def begin_bundle(self) -> None:
        """Allow for another bundle."""
        self._turns.begin()

    def read(  # noqa: PLR0912 - one loop, of which each way out is another end of a slice
        self, partition: TopicPartition, tracker: Any, watermark: Callable[[int], None] = lambda _: None
    ) -> Iterator[MessageBatch | Seal | Gap]:
        """Yield one slice of what the tracker's restriction holds; ask the tracker for a checkpoint if more is left.

        ``watermark`` is told, in milliseconds, how far the partition has come. Deleted messages do not end the
        reading: the sooner the rest is stored, the less is deleted.
        """
        restriction: ReadRange = tracker.current_restriction()
        settings, rule = self._settings, self._settings.windows
        windows = WindowTracker(rule, restriction.windows)
        upto, resume = restriction.start, restriction.look_from
        if not restriction.empty:
            if not self._turns.take(partition):
                tracker.defer_remainder()
                return
            feed = _feed(settings, partition, restriction, bounded=self._bounded)
            deadline = time.monotonic() + SLICE_SECONDS
            size = 0
            while True:
                chunk = feed.take(max(deadline - time.monotonic(), 0.001))
                now = time.time_ns() // 1_000_000
                if chunk is not None and chunk.ids:
                    whole, chunk = chunk, chunk.before(restriction.stop)
                    batches = list(_batches(partition, chunk, rule, windows, now)) if chunk.ids else []
                    upto = chunk.behind(-1) if chunk.ids else restriction.stop
                    reached = upto >= restriction.stop or len(chunk.ids) < len(whole.ids)
                    resume = chunk.resume
                    upto = restriction.stop if reached else upto
                    if not tracker.try_claim(Claim(upto, windows.state, resume)):
                        return
                    yield from batches
                    yield from self._noted(chunk.gaps)
                    grown = chunk.bytes + RECORD_BYTES * len(chunk.ids)
                    size += grown
                    self._turns.spend(grown)
                    if chunk.ids:
                        self._count(partition, chunk, upto)
                    if reached:
                        break
                elif chunk is not None and self._bounded:
                    # The broker has no more: the last entry ends with the last message read, or holds none; or what
                    # was there is deleted.
                    gap = feed.gap_before(restriction.stop)
                    resume, upto = chunk.resume, restriction.stop
                    if not tracker.try_claim(Claim(upto, windows.state, resume)):
                        return
                    yield from self._noted([gap] if gap else [])
                    break
                elif chunk is not None:
                    seal = windows.idle(now)
                    if not tracker.try_claim(Claim(upto, windows.state, chunk.resume)):
                        return
                    if seal is not None:
                        yield Seal(partition, seal, chunk.resume or upto)
                    watermark(windows.state.watermark(rule))
                    tracker.defer_remainder(IDLE_DELAY)
                    return
                if time.monotonic() >= deadline or size >= settings.slice_bytes:
                    watermark(windows.state.watermark(rule))
                    tracker.defer_remainder()
                    return
        _close_feed(settings, partition)
        progress_of(settings.run).finished(partition)
        yield Seal(partition, FOREVER, upto if resume is None else min(resume, upto))

    def _noted(self, gaps: list[Gap]) -> list[Gap]:
        for gap in gaps:
            self._gaps.inc()
            _log.warning("%s.", gap)
        return gaps

    def _count(self, partition: TopicPartition, chunk: Chunk, upto: Position) -> None:
        self._messages.inc(len(chunk.ids))
        self._bytes.inc(chunk.bytes)
        progress_of(self._settings.run).read(partition, len(chunk.ids), chunk.bytes, upto, chunk.publish_times[-1])


def _batches(
    partition: TopicPartition, chunk: Chunk, rule: WindowRule, windows: WindowTracker, now: int
) -> Iterator[MessageBatch | Seal]:
    """The messages of a chunk, those of one window together, and the seals between them."""
    messages, ids, publish_times = chunk.messages, chunk.ids, chunk.publish_times
    if rule.by_event_time:
        times = [rule.time(at, message.event_timestamp()) for at, message in zip(publish_times, messages, strict=True)]
    else:
        times = publish_times if max(publish_times) <= MAX_TIME else [rule.time(at, 0) for at in publish_times]
    spans: dict[int, list[slice]] = {}

    def gathered() -> Iterator[MessageBatch]:
        for places in spans.values():
            if len(places) == 1:
                yield MessageBatch(
                    partition, messages[places[0]], ids[places[0]], publish_times[places[0]], times[places[0].start]
                )
            else:
                yield MessageBatch(
                    partition,
                    [message for place in places for message in messages[place]],
                    [each for place in places for each in ids[place]],
                    [each for place in places for each in publish_times[place]],
                    times[places[0].start],
                )
        spans.clear()

    begin, count = 0, len(ids)
    while begin < count:
        end = begin + 1
        while end < count and times[end] == times[begin]:
            end += 1
        window, seal = windows.observe(times[begin], now)
        places = spans.setdefault(window, [])
        if places and places[-1].stop == begin:
            places[-1] = slice(places[-1].start, end)
        else:
            places.append(slice(begin, end))
        if seal is not None:
            yield from gathered()
            yield Seal(partition, seal, chunk.settled(end - 1))
        begin = end
    yield from gathered()


class Turns:
    """Which partitions give a slice in a bundle that holds a number of bytes: all in turn, as many as fit.

    Runners give a bundle the rest of every partition. If each brought a large message, memory would grow with them.
    """

    def __init__(self, bundle_bytes: int) -> None:
        self._bundle_bytes = self._left = bundle_bytes
        self._had_theirs: set[TopicPartition] = set()
        self._passed_over: set[TopicPartition] = set()

    def begin(self) -> None:
        """Begin a bundle."""
        if self._passed_over <= self._had_theirs:
            self._had_theirs.clear()
        self._passed_over.clear()
        self._left = self._bundle_bytes

    def take(self, partition: TopicPartition) -> bool:
        """Whether it is the partition's turn."""
        if self._left <= 0 or partition in self._had_theirs:
            self._passed_over.add(partition)
            return False
        self._had_theirs.add(partition)
        return True

    def spend(self, size: int) -> None:
        """Count a slice."""
        self._left -= size


class _ReadBounded(beam.DoFn):  # type: ignore[misc]
    def __init__(self, settings: ReadSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        self._reader = PartitionReader(self._settings, bounded=True)

    def start_bundle(self) -> None:
        self._reader.begin_bundle()

    def process(
        self, element: PartitionRange, tracker: Any = beam.DoFn.RestrictionParam(_Restrictions())
    ) -> Iterator[Any]:
        failures = progress_of(self._settings.run)
        try:
            for value in self._reader.read(element.partition, tracker):
                yield _output(value)
        except Exception as error:
            failures.failed(error)
            raise


@beam.DoFn.unbounded_per_element()
class _ReadUnbounded(beam.DoFn):  # type: ignore[misc]
    def __init__(self, settings: ReadSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        self._reader = PartitionReader(self._settings, bounded=False)

    def start_bundle(self) -> None:
        self._reader.begin_bundle()

    def process(
        self,
        element: PartitionRange,
        tracker: Any = beam.DoFn.RestrictionParam(_Restrictions()),
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),
    ) -> Iterator[Any]:
        for value in self._reader.read(element.partition, tracker, partial(advance, watermark)):
            yield _output(value)


def advance(watermark: Any, time_ms: int) -> None:
    """Move a manual watermark estimator forward; it starts at None and raises when it is moved back."""
    reached = Timestamp(micros=time_ms * 1000)
    before = watermark.current_watermark()
    if before is None or reached > before:
        watermark.set_watermark(reached)


def _output(value: MessageBatch | Seal | Gap) -> Any:
    if isinstance(value, Gap):
        return beam.pvalue.TaggedOutput(GAPS, value)
    time_ms = value.time if isinstance(value, MessageBatch) else min(value.before, 2**52)
    return beam.window.TimestampedValue(value, Timestamp(micros=time_ms * 1000))


class ReadBatchesResult(NamedTuple):
    """What ``ReadBatches`` gives back."""

    batches: beam.PCollection
    """MessageBatch and Seal, in order for each partition."""
    gaps: beam.PCollection
    """Gap, each at least once: what the broker has deleted while it was read."""


class ReadBatches(beam.PTransform):  # type: ignore[misc]
    """PartitionRange elements to the messages in them."""

    def __init__(self, settings: ReadSettings, *, bounded: bool = True) -> None:
        super().__init__()
        self._read = (_ReadBounded if bounded else _ReadUnbounded)(settings)

    def expand(self, ranges: beam.PCollection) -> ReadBatchesResult:
        """Build the transform."""
        read = beam.ParDo(self._read).with_output_types(SourceElement).with_outputs(GAPS, main="batches")
        result = ranges | "Read" >> read
        return ReadBatchesResult(result["batches"], result[GAPS])


class SourceElementCoder(Coder):  # type: ignore[misc]
    """Knows sizes only: batches hold messages of the broker's client, which live in one process."""

    def encode(self, value: SourceElement) -> bytes:
        """Refuse."""
        msg = (
            "a MessageBatch cannot leave the process that read it: put the stage that turns it into data of your own "
            "right behind the source, before any shuffle, or use ReadFromPulsar"
        )
        raise TypeError(msg)

    def decode(self, encoded: bytes) -> SourceElement:
        """Refuse."""
        raise TypeError("no MessageBatch has ever been encoded")

    def estimate_size(self, value: SourceElement) -> int:
        """About the bytes in memory; Beam samples it for its counters."""
        return _MESSAGE_SIZE * len(value.ids) if isinstance(value, MessageBatch) else _MESSAGE_SIZE

    def is_deterministic(self) -> bool:
        """Never used as a key."""
        return False

    def to_type_hint(self) -> type:
        """What it is registered for."""
        return SourceElement


registry.register_coder(SourceElement, SourceElementCoder)


# Readers outlive a bundle, a DoFn instance and a checkpoint: opening one costs a round trip and its read-ahead.
_feeds: dict[tuple[str, TopicPartition], PartitionFeed] = {}
_watches: dict[str, MemoryWatch] = {}
_feeds_lock = threading.Lock()


def _feed(settings: ReadSettings, partition: TopicPartition, restriction: ReadRange, *, bounded: bool) -> PartitionFeed:
    key = settings.run, partition
    with _feeds_lock:
        feed = _feeds.pop(key, None)
    if feed is None or feed.next != restriction.start:
        if feed is not None:
            feed.close()
        feed = PartitionFeed(
            connect(settings.connection),
            partition,
            restriction.start,
            look_from=restriction.look_from,
            stop=restriction.stop if bounded else None,
            max_bytes=settings.read_ahead_bytes,
            compacted=settings.compacted,
            retry_seconds=settings.retry_seconds,
            watch=_watch(settings),
        )
    with _feeds_lock:
        _feeds[key] = feed
    return feed


def _watch(settings: ReadSettings) -> MemoryWatch:
    """The watch of a run, which began before its first reader was opened."""
    with _feeds_lock:
        watch = _watches.get(settings.run)
        if watch is None:
            watch = _watches[settings.run] = MemoryWatch(settings.memory_budget)
        return watch


def _close_feed(settings: ReadSettings, partition: TopicPartition) -> None:
    with _feeds_lock:
        feed = _feeds.pop((settings.run, partition), None)
    if feed is not None:
        feed.close()


def close_readers(run: str) -> None:
    """Close all readers that a run has left open in this process."""
    with _feeds_lock:
        feeds = [_feeds.pop(key) for key in list(_feeds) if key[0] == run]
        _watches.pop(run, None)
    for feed in feeds:
        feed.close()
