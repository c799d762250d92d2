"""The source: a splittable DoFn whose restriction is positions in one partition."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.coders import Coder, registry
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import Timestamp

from transforms.progress import progress_of
from transforms.pulsar.feeds import ReadSettings
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import MessageBatch, Seal, SourceElement
from transforms.pulsar.reading import PartitionReader
from transforms.pulsar.restriction import PartitionRange, ReadRange, ReadRangeCoder, ReadTracker

GAPS = "gaps"

_MESSAGE_SIZE = 200


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
        partition = beam.ParDo(self._read).with_output_types(SourceElement)
        partition.label = "Partition"  # else the name of a class, which savepoints would know the stage by
        result = ranges | "Read" >> partition.with_outputs(GAPS, main="batches")
        return ReadBatchesResult(result["batches"], result[GAPS])


class SourceElementCoder(Coder):  # type: ignore[misc]
    """Knows sizes only: batches hold messages as they were read, which live in one process."""

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
        return _MESSAGE_SIZE * len(value.messages) if isinstance(value, MessageBatch) else _MESSAGE_SIZE

    def is_deterministic(self) -> bool:
        """Never used as a key."""
        return False

    def to_type_hint(self) -> type:
        """What it is registered for."""
        return SourceElement


registry.register_coder(SourceElement, SourceElementCoder)
