"""The partitions of a stream: those that were there when it began, and those that are added while it goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.coders import Coder, registry
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.metrics import Metrics
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import Duration

from transforms.errors import BackupError
from transforms.pulsar.ends import partition_ends, partitions_of
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import EARLIEST, LATEST, Position
from transforms.pulsar.request import Request
from transforms.pulsar.restriction import PartitionRange
from transforms.pulsar.source import advance
from transforms.wall_clock import now_ms

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where the stream begins in the partitions that were there first. As data: a job that goes on keeps its own."""

    starts: tuple[tuple[TopicPartition, Position], ...]


@dataclass(frozen=True, slots=True)
class Known:
    """The restriction: the partitions that have been given out; None: not yet even the first ones."""

    partitions: frozenset[TopicPartition] | None = None


class KnownTracker(RestrictionTracker):  # type: ignore[misc]
    """Claims what is known by now. There is always more to come."""

    def __init__(self, restriction: Known) -> None:
        self._restriction = restriction
        self._claimed = restriction
        self._split = False

    def current_restriction(self) -> Known:
        """As given."""
        return self._restriction

    def try_claim(self, known: Known) -> bool:
        """Claim that these are known now."""
        self._claimed = known
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[Known, Known] | None:
        """Leave all that may still come to the rest."""
        if fraction_of_remainder != 0 or self._split:
            return None
        self._split = True
        return self._restriction, self._claimed

    def check_done(self) -> None:
        """Raise ValueError if nobody goes on looking."""
        if not self._split:
            raise ValueError("nobody goes on looking for partitions")

    def current_progress(self) -> RestrictionProgress:
        """There is no end."""
        return RestrictionProgress(fraction=0.0)

    def is_bounded(self) -> bool:
        """False."""
        return False


class BeginningCoder(Coder):  # type: ignore[misc]
    """Stable between versions: runners keep state under the encoded element."""

    def encode(self, value: Beginning) -> bytes:
        """Encode as JSON."""
        return _dump([[partition.topic, partition.index, start] for partition, start in value.starts])

    def decode(self, encoded: bytes) -> Beginning:
        """Decode what ``encode`` gave."""
        return Beginning(
            tuple((TopicPartition(topic, index), Position(*start)) for topic, index, start in json.loads(encoded))
        )

    def is_deterministic(self) -> bool:
        """True: used as a key."""
        return True

    def to_type_hint(self) -> type:
        """What it is registered for."""
        return Beginning


class KnownCoder(Coder):  # type: ignore[misc]
    """Stable between versions: restrictions wait in a runner's state."""

    def encode(self, value: Known) -> bytes:
        """Encode as JSON."""
        if value.partitions is None:
            return _dump([1, None])
        return _dump([1, sorted([each.topic, each.index] for each in value.partitions)])

    def decode(self, encoded: bytes) -> Known:
        """Decode what ``encode`` gave."""
        version, known = json.loads(encoded)
        if version != 1:
            raise ValueError(f"known partitions in an encoding of number {version}; this build reads 1")
        return Known(None if known is None else frozenset(TopicPartition(topic, index) for topic, index in known))

    def is_deterministic(self) -> bool:
        """True."""
        return True


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


registry.register_coder(Beginning, BeginningCoder)


class DiscoverPartitions(beam.PTransform):  # type: ignore[misc]
    """A Beginning to PartitionRange elements without end, those of partitions that are added later among them.

    Looks every ``interval`` seconds. A partition that was added is read from its earliest message on; the subscription
    is created there before. A broker that does not answer is asked again the next time.
    """

    def __init__(self, request: Request, interval: float) -> None:
        super().__init__()
        self._request = request
        self._interval = interval

    def expand(self, beginning: beam.PCollection) -> beam.PCollection:
        """Build the transform."""
        return beginning | "Discover" >> beam.ParDo(_Discover(self._request, self._interval)).with_output_types(
            PartitionRange
        )


class _Restrictions(RestrictionProvider):  # type: ignore[misc]
    def initial_restriction(self, element: Beginning) -> Known:
        return Known()

    def create_tracker(self, restriction: Known) -> KnownTracker:
        return KnownTracker(restriction)

    def split(self, element: Beginning, restriction: Known) -> Iterator[Known]:
        yield restriction

    def restriction_size(self, element: Beginning, restriction: Known) -> float:
        return 1.0

    def restriction_coder(self) -> Coder:
        return KnownCoder()

    def truncate(self, element: Beginning, restriction: Known) -> None:
        """Drain ends the looking."""


@beam.DoFn.unbounded_per_element()
class _Discover(beam.DoFn):  # type: ignore[misc]
    def __init__(self, request: Request, interval: float) -> None:
        self._request = request
        # Flink cuts a delay to whole seconds after it has taken off the time that has passed.
        self._pause = Duration(interval + 0.5)  # type: ignore[no-untyped-call]
        self._added = Metrics.counter("tdmq_backup", "partitions_added")

    def process(
        self,
        element: Beginning,
        tracker: Any = beam.DoFn.RestrictionParam(_Restrictions()),  # noqa: B008 - Beam's way to say it
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),
    ) -> Iterator[PartitionRange]:
        known = tracker.current_restriction().partitions
        if known is None:
            found = [PartitionRange(partition, start, LATEST) for partition, start in element.starts]
            known = frozenset()
        else:
            found = [PartitionRange(partition, EARLIEST, LATEST) for partition in self._new(known)]
            self._added.inc(len(found))
        tracker.try_claim(Known(known | {each.partition for each in found}))
        yield from found
        advance(watermark, now_ms())
        tracker.defer_remainder(self._pause)

    def _new(self, known: frozenset[TopicPartition]) -> list[TopicPartition]:
        new = []
        for partition in added_partitions(self._request, known):
            try:
                if self._request.subscription is not None:
                    partition_ends(self._request.connection, partition, self._request.subscription)
            except BackupError as error:
                _log.warning("%s was added, and is not read yet: %s", partition.name, error)
                continue
            _log.info("%s was added; it is read from its earliest message on", partition.name)
            new.append(partition)
        return new


def added_partitions(request: Request, known: frozenset[TopicPartition]) -> list[TopicPartition]:
    """The partitions of the request's topics that are not known. What the broker does not tell is logged, and left."""
    found: dict[TopicPartition, None] = {}
    topics: list[str] = []
    try:
        topics = request.all_topics()
    except BackupError as error:
        _log.warning("Whether there are new topics is not known: %s", error)
    for topic in topics:
        try:
            found |= dict.fromkeys(partitions_of(request.connection, topic))
        except BackupError as error:
            _log.warning("Whether %s has new partitions is not known: %s", topic, error)
    return [each for each in found if each not in known]
