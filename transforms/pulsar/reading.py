"""The read loop, a slice at a time: what is claimed, which windows are sealed, when to let others have their turn."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from apache_beam.utils.timestamp import Duration

from transforms.errors import TopicNotFoundError
from transforms.memory import RECORD_BYTES
from transforms.progress import progress_of
from transforms.pulsar.feeds import ReadSettings, leased
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.message_columns import MessageColumns, joined
from transforms.pulsar.messages import FOREVER, NO_WINDOW, MessageBatch, Seal, TopicPartition
from transforms.pulsar.portion import Portion
from transforms.pulsar.positions import Position
from transforms.pulsar.read_metrics import ReadMetrics
from transforms.pulsar.restriction import Claim, ReadRange
from transforms.pulsar.turns import Turns
from transforms.pulsar.windows import WindowRule, WindowTracker
from transforms.wall_clock import now_ms

#: A slice is what one call of ``process`` yields. Its output has no backpressure on some runners, so it is bounded.
SLICE_SECONDS = 0.5
#: Flink cuts a delay to whole seconds after it has taken off the time that has passed.
IDLE_DELAY = Duration(2.5)  # type: ignore[no-untyped-call]

#: How often it is said that a topic is not there.
_MISSING_SECONDS = 60.0

_log = logging.getLogger(__name__)


class PartitionReader:
    """The read loop that the bounded and the unbounded source share."""

    def __init__(self, settings: ReadSettings, *, bounded: bool) -> None:
        self._settings = settings
        self._bounded = bounded
        self._metrics = ReadMetrics()
        self._turns = Turns(settings.bundle_bytes)
        self._missing: dict[TopicPartition, float] = {}
        """When it was last said that a partition is not there."""

    def begin_bundle(self) -> None:
        """Allow for another bundle."""
        self._turns.begin()

    def read(
        self, partition: TopicPartition, tracker: Any, watermark: Callable[[int], None] = lambda _: None
    ) -> Iterator[MessageBatch | Seal | Gap]:
        """Yield one slice of what the tracker's restriction holds; ask the tracker for a checkpoint if more is left.

        ``watermark`` is told, in milliseconds, how far the partition has come. Deleted messages do not end the
        reading: the sooner the rest is stored, the less is deleted.
        """
        restriction: ReadRange = tracker.current_restriction()
        if restriction.empty:
            yield Seal(partition, FOREVER, restriction.settled)
            return
        if not self._turns.take(partition):
            self._hand_back(tracker)
            return
        if not self._bounded:
            # What this says of the slice before is said once that one is safe in the runner's state.
            yield Seal(partition, NO_WINDOW, restriction.settled)
        with leased(self._settings, partition, restriction, bounded=self._bounded) as feed:
            yield from self._slice(partition, restriction, feed, tracker, watermark)

    def _slice(
        self,
        partition: TopicPartition,
        restriction: ReadRange,
        feed: Any,
        tracker: Any,
        watermark: Callable[[int], None],
    ) -> Iterator[MessageBatch | Seal | Gap]:
        settings, rule = self._settings, self._settings.windows
        windows = WindowTracker(rule, restriction.windows)
        upto, settled = restriction.start, restriction.settled
        deadline = time.monotonic() + SLICE_SECONDS
        size = late = 0
        while True:
            try:
                portion = feed.take(max(deadline - time.monotonic(), 0.001))
            except TopicNotFoundError as error:
                if self._bounded:
                    raise
                self._note_missing(partition, error)
                feed.close()
                portion = Portion(caught_up=now_ms(), resume=settled)
            if portion is not None and portion.messages:
                whole, portion = portion, portion.before(restriction.stop)
                batches = list(_batches(partition, portion, rule, windows, settled)) if portion.messages else []
                upto = portion.behind(-1) if portion.messages else restriction.stop
                reached = upto >= restriction.stop or len(portion.messages) < len(whole.messages)
                upto = restriction.stop if reached else upto
                if not tracker.try_claim(Claim(upto, windows.state, portion.look_from(upto))):
                    return
                settled = portion.look_from(upto) or upto
                yield from batches
                yield from self._noted(portion.gaps)
                grown = portion.bytes + RECORD_BYTES * len(portion.messages)
                size += grown
                self._turns.spend(grown)
                if portion.messages:
                    self._metrics.read(partition, portion, windows.late - late)
                    late = windows.late
                    progress_of(settings.run).read(
                        partition,
                        len(portion.messages),
                        portion.bytes,
                        upto,
                        portion.columns.entries[-1].publish_time,
                    )
                if reached:
                    break
            elif portion is not None and self._bounded:
                # The broker has no more: the last entry ends with the last message read, or holds none; or what
                # was there is deleted.
                gap = feed.gap_before(restriction.stop)
                upto = restriction.stop
                if not tracker.try_claim(Claim(upto, windows.state, portion.look_from(upto))):
                    return
                settled = portion.look_from(upto) or upto
                yield from self._noted([gap] if gap else [])
                break
            elif portion is not None:
                yield from self._idle(partition, portion, upto, windows, tracker)
                watermark(windows.state.watermark(rule))
                return
            if time.monotonic() >= deadline or size >= settings.slice_bytes:
                watermark(windows.state.watermark(rule))
                self._hand_back(tracker)
                return
        feed.close()
        progress_of(settings.run).finished(partition)
        yield Seal(partition, FOREVER, settled)

    def _idle(
        self, partition: TopicPartition, portion: Portion, upto: Position, windows: WindowTracker, tracker: Any
    ) -> Iterator[Seal | Gap]:
        """There is no more for now: what ends by the clock."""
        seal = windows.idle(portion.caught_up)
        self._metrics.caught_up(partition)
        if not tracker.try_claim(Claim(upto, windows.state, portion.look_from(upto))):
            return
        if seal is not None:
            yield Seal(partition, seal, portion.look_from(upto) or upto)
        yield from self._noted(portion.gaps)
        self._hand_back(tracker, IDLE_DELAY)

    def _note_missing(self, partition: TopicPartition, error: TopicNotFoundError) -> None:
        """The topic was deleted, or a broker says so for a moment: it is looked for again; no other waits for it."""
        self._metrics.missing()
        now = time.monotonic()
        if now > self._missing.get(partition, -math.inf) + _MISSING_SECONDS:
            self._missing[partition] = now
            _log.warning("%s What was read of it is stored; it is read on if it comes back.", error)

    def _hand_back(self, tracker: Any, delay: Duration | None = None) -> None:
        tracker.defer_remainder(delay)
        self._metrics.handed_back()

    def _noted(self, gaps: list[Gap]) -> list[Gap]:
        for gap in gaps:
            self._metrics.gap(gap)
            _log.warning("%s.", gap, extra={"fields": gap.fields})
        return gaps


def _batches(
    partition: TopicPartition, portion: Portion, rule: WindowRule, windows: WindowTracker, settled: Position
) -> Iterator[MessageBatch | Seal]:
    """The messages of a portion, those of one window together, and the seals between them.

    ``settled`` is what the seals tell: the position that was reached before the portion. Within it, a chunked message
    may be under way that begins before the seal and ends behind it.
    """
    now, columns = now_ms(), portion.columns
    spans: dict[int, list[tuple[int, int]]] = {}
    first_times: dict[int, int] = {}

    def gathered() -> Iterator[MessageBatch]:
        for window, places in spans.items():
            together = joined([columns.part(begin, end) for begin, end in places])
            yield MessageBatch(partition, together, first_times[window])
        spans.clear()
        first_times.clear()

    end = 0
    for time_ms, count in _times(columns, rule):
        begin, end = end, end + count
        window, seal = windows.observe(time_ms, now, count)
        places = spans.setdefault(window, [])
        first_times.setdefault(window, time_ms)
        if places and places[-1][1] == begin:
            places[-1] = places[-1][0], end
        else:
            places.append((begin, end))
        if seal is not None:
            yield from gathered()
            yield Seal(partition, seal, settled)
    yield from gathered()


def _times(columns: MessageColumns, rule: WindowRule) -> Iterator[tuple[int, int]]:
    """The times that decide the windows, each with how many messages in a row have it."""
    if rule.by_event_time:
        events = (message.event_timestamp() for message in columns.messages)
        times = map(rule.time, columns.publish_times, events)
        return ((time_ms, len(list(group))) for time_ms, group in groupby(times))
    return ((rule.time(run.publish_time, 0), run.messages) for run in columns.entries)
