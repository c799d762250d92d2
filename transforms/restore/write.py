"""``RestoreToPulsar``: from the plans of partitions to messages in a topic."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.cos.destination import Destination, open_store
from transforms.errors import UnrestorableError
from transforms.files.decode import Record, partition_of, read_with_values
from transforms.progress import progress_of
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.producing import Entry, PartitionProducer
from transforms.restore.merge import BackupObject, StoredMessage, merged
from transforms.restore.messages import MessageMaker, TargetSchema, newest_registered
from transforms.restore.plan import PartitionPlan
from transforms.restore.reached import reached_of
from transforms.restore.routing import Router
from transforms.restore.selection import Selection
from transforms.restore.stream import Pace, TargetStream

_log = logging.getLogger(__name__)
_NAMESPACE = "tdmq_backup"
_PROGRESS_MESSAGES = 500


@dataclass(frozen=True)
class RestoreSettings:
    """How a backup is restored. Picklable; holds references to secrets, never secrets."""

    backup: Destination
    connection: PulsarConnection
    target: tuple[TopicPartition, ...]
    """The partitions of the target; it must exist."""
    router: Router
    restore: str
    """Names the restore, and with it the producers: equal when it is started again, different for any other one."""
    selection: Selection = Selection()
    schemas: Mapping[int, TargetSchema] = field(default_factory=dict)
    """Those of the source by version, registered at the target."""
    with_schemas: bool = True
    """Whether messages are sent under them."""
    origin: bool = True
    """Whether messages get properties that tell where they came from."""
    skip_unrestorable: bool = False
    """Whether to go on where a message cannot be restored as it was."""
    rate: float | None = None
    rate_bytes: float | None = None
    """Messages and bytes a second, of each partition that is restored at the same time as others."""
    send: bool = True
    """False: read all, and send nothing."""
    retry_seconds: float = 600
    """For how long a broker may be away."""
    run: str = ""
    """Names the run in the progress of this process."""


class TargetRestored(NamedTuple):
    """What one partition of the target has got from one of the source."""

    partition: str
    messages: int
    """All, also those that were there already."""
    already: int
    """What an earlier attempt had sent."""
    bytes: int
    """Of what was sent now: payloads, keys and properties."""
    doubtful: int
    """Messages that may stand twice: a connection broke, the broker does not deduplicate, and there is no origin."""
    deduplicates: bool
    """Whether the broker deduplicates."""
    first_time: int | None
    last_time: int | None
    """The earliest and the latest of the original publish times, milliseconds."""


class PartitionRestored(NamedTuple):
    """What was restored of one partition of a backup."""

    partition: str
    """Full name of the partition that the messages came from."""
    objects: int
    targets: tuple[TargetRestored, ...]
    re_encoded: int
    """Messages whose payloads are equal as values, and perhaps not as bytes."""
    unrestorable: tuple[tuple[str, int], ...]
    """What was left out: reasons, and how many messages each."""


class RestoreResult(NamedTuple):
    """What ``RestoreToPulsar`` gives back."""

    restored: beam.PCollection
    """A PartitionRestored for each plan, once all of its messages are stored."""


class RestoreToPulsar(beam.PTransform):  # type: ignore[misc]
    """PartitionPlan elements, as ``plan_restore`` makes them, to messages in a topic.

    The messages of a partition are sent in its order, each once, one partition after the other or several at once, as
    the runner does it. An attempt that is broken off and made again, by the runner or by somebody who starts the same
    restore again, goes on behind the last message that the target holds:

    - where the broker deduplicates, exactly: it knows the last sequence id of each producer, whose name is that of the
      restore and of the two partitions, for some hours after it has gone (six by default);
    - else by reading the target and looking for the origin that the messages carry. Exact as long as nothing was
      deleted from the target meanwhile;
    - with ``origin=False`` and without deduplication, it does not: all is sent again.

    Not guaranteed: publish times, message ids and producer names, which are new (see ``transforms.restore.origin`` for
    the old ones); producer batches as they were. Raises UnrestorableError, SourceError, AccessError, DestinationError.
    Memory: a block of each object that reaches over the place being read, and 16 MB on their way for each producer.
    """

    def __init__(self, settings: RestoreSettings) -> None:
        super().__init__()
        self._settings = settings

    def expand(self, plans: beam.PCollection) -> RestoreResult:
        """Build the transform."""
        restored = plans | "Partition" >> beam.ParDo(_Restore(self._settings)).with_output_types(PartitionRestored)
        return RestoreResult(restored)


class _Restore(beam.DoFn):  # type: ignore[misc]
    def __init__(self, settings: RestoreSettings) -> None:
        self._settings = settings
        self._sent = Metrics.counter(_NAMESPACE, "messages_restored")
        self._already = Metrics.counter(_NAMESPACE, "messages_already_restored")
        self._left_out = Metrics.counter(_NAMESPACE, "messages_unrestorable")

    def process(self, element: PartitionPlan) -> Iterator[PartitionRestored]:
        try:
            done = restore_partition(element, self._settings)
        except Exception as error:
            progress_of(self._settings.run).failed(error)
            raise
        self._sent.inc(sum(each.messages - each.already for each in done.targets))
        self._already.inc(sum(each.already for each in done.targets))
        self._left_out.inc(sum(count for _, count in done.unrestorable))
        yield done


def restore_partition(plan: PartitionPlan, settings: RestoreSettings) -> PartitionRestored:
    """Restore the messages of one partition; returns when all are stored. Raises as ``RestoreToPulsar`` does."""
    work = _Work(plan, settings)
    try:
        return work.do()
    finally:
        work.close()


class _Work:
    def __init__(self, plan: PartitionPlan, settings: RestoreSettings) -> None:
        self._plan, self._settings = plan, settings
        self._maker = MessageMaker(
            settings.schemas, settings.with_schemas, settings.restore if settings.origin else None
        )
        self._streams: dict[int, TargetStream] = {}
        self._pace = Pace(settings.rate, settings.rate_bytes) if settings.rate or settings.rate_bytes else None
        self._unrestorable: Counter[str] = Counter()
        self._left_out: Counter[int] = Counter()
        """By target: what was left out before its first message."""
        self._re_encoded = 0
        self._source = TopicPartition(plan.topic, plan.partition).name

    def do(self) -> PartitionRestored:
        settings, plan = self._settings, self._plan
        progress = progress_of(settings.run)
        store = open_store(settings.backup)

        def read(each: BackupObject) -> Iterator[tuple[Record, dict[str, bytes]]]:
            return read_with_values(store.read(each.key), each.extension, each.key)

        shown, count, size = TopicPartition(plan.topic, plan.partition), 0, 0
        for stored in merged(plan.objects, read, plan.topic, plan.partition):
            self._source = partition_of(stored.record).name
            count += 1
            size += self._take(stored) if settings.selection.takes(stored.record) else 0
            if count >= _PROGRESS_MESSAGES:
                progress.read(shown, count, size, stored.position, stored.record["publish_time"])
                count = size = 0
        for stream in self._streams.values():
            stream.finish()
        progress.finished(shown)
        return PartitionRestored(
            self._source,
            len(plan.objects),
            tuple(self._told(index, stream) for index, stream in sorted(self._streams.items())),
            self._re_encoded,
            tuple(sorted(self._unrestorable.items())),
        )

    def close(self) -> None:
        for stream in self._streams.values():
            stream.sender.close()

    def _take(self, stored: StoredMessage) -> int:
        record = stored.record
        index = self._settings.router.target(self._plan.partition, record["key"])
        stream = self._streams.get(index)
        try:
            message, exact = self._maker.make(stored)
        except UnrestorableError as error:
            self._unrestorable[str(error)] += 1
            if not self._settings.skip_unrestorable and self._settings.send:
                raise UnrestorableError(
                    f"{self._source}: message {stored.position} cannot be restored as it was: {error}. --dry_run "
                    "counts all such messages; --on_unrestorable=skip leaves them out."
                ) from None
            if stream is None:
                self._left_out[index] += 1
            else:
                stream.leave_out()
            return 0
        self._re_encoded += not exact
        if stream is None:
            stream = self._streams[index] = self._open(index)
            stream.leave_out(self._left_out[index])
        stream.add(message, stored.position, record["publish_time"])
        return message.size

    def _open(self, index: int) -> TargetStream:
        settings, target = self._settings, self._settings.target[index]
        if not settings.send:
            return TargetStream(_Nowhere())
        sender = PartitionProducer(
            settings.connection,
            target,
            f"tdmq-restore-{settings.restore}-{self._plan.partition}-{max(target.index, 0)}",
            schema=newest_registered(settings.schemas) if settings.with_schemas else None,
            look=partial(self._reached, target) if settings.origin else None,
            retry_seconds=settings.retry_seconds,
        )
        return TargetStream(sender, sender.reached, self._pace)

    def _reached(self, target: TopicPartition, after: Position | None) -> Position | None:
        settings = self._settings
        return reached_of(settings.connection, target, settings.restore, self._source, after)

    def _told(self, index: int, stream: TargetStream) -> TargetRestored:
        deduplicates = stream.sender.deduplicates()
        return TargetRestored(
            self._settings.target[index].name,
            stream.messages,
            stream.already,
            stream.sent_bytes,
            stream.sender.doubtful,
            deduplicates,
            stream.first_time,
            stream.last_time,
        )


class _Nowhere:
    """Where a dry run sends to."""

    stored = doubtful = 0

    def send(self, entry: Entry) -> None:
        pass

    def flush(self) -> None:
        pass

    def deduplicates(self) -> bool:
        return False

    def close(self) -> None:
        pass
