"""The sink: gathers encoded records in windows, cuts files, and writes them while reading goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder, registry
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec
from apache_beam.transforms.window import FixedWindows, GlobalWindow, GlobalWindows
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from transforms.cos.destination import Destination, open_store
from transforms.cos.element_coder import ElementCoder
from transforms.cos.handed_over import HandedOver, WaitingRecords
from transforms.cos.listing import SharedFiles, StoredFiles
from transforms.cos.object_metadata import metadata_of
from transforms.cos.spool import spool_of
from transforms.cos.uploads import Uploads, results
from transforms.cos.write_metrics import WriteMetrics
from transforms.cos.written import PartitionReport, SchemaSeen, WrittenFile
from transforms.files.assemble import MIN_PART_BYTES, assemble, pack
from transforms.files.format import EncodedRecords, FileFormat, RecordEncoder
from transforms.files.naming import QUARANTINE_LANE, Layout
from transforms.files.records import Element, Records, SealMark
from transforms.files.roll import FinishedFile, Limits, PartitionFiles, Roller, in_order_of_messages
from transforms.files.state import decode_state, encode_state
from transforms.files.windows_complete import Came, FileFacts, encode_told
from transforms.progress import progress_of
from transforms.pulsar.message_columns import MessageColumns
from transforms.pulsar.messages import FOREVER, NO_WINDOW, MessageBatch, Seal, TopicPartition
from transforms.pulsar.positions import Position
from transforms.wall_clock import now_ms

PARTITIONS, POSITIONS, TOLD, SCHEMAS = "partitions", "positions", "told", "schemas"

registry.register_coder(Element, ElementCoder)

#: A file, and how many seconds its upload took.
_Timed = tuple[WrittenFile, float]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriteToCosResult:
    """What ``WriteToCos`` gives back."""

    files: beam.PCollection
    """WrittenFile, each file once."""
    partitions: beam.PCollection
    """PartitionReport, one for each partition that was read to its end."""
    positions: beam.PCollection
    """Name of a partition, and the position before which everything is in files that stand complete."""
    told: beam.PCollection
    """Full name of a topic, and what ``WriteManifests`` needs to know of one of its partitions."""
    schemas: beam.PCollection
    """SchemaSeen, each at least once; of some messages of each batch."""


@dataclass(frozen=True)
class WriteSettings:
    """How files are gathered and written; picklable."""

    destination: Destination
    layout: Layout
    file_format: FileFormat
    make_encoder: Callable[[], RecordEncoder]
    limits: Limits = Limits()
    part_bytes: int = 16 * 1024 * 1024
    """Records of an open file that wait in state, at most; beyond it they are compressed and spooled."""
    waiting_bytes: int = 64 * 1024 * 1024
    """Records of all open files of a partition that wait in state, at most."""
    upload_bytes: int = 64 * 1024 * 1024
    """Bytes that uploads under way hold in memory."""
    by_reference: bool = False
    """Whether all stages run in one process, whose state no other one ever reads; see ``handed_over``."""
    run: str = ""

    @property
    def format_name(self) -> str:
        """``avro`` or ``jsonl``, whatever the compression."""
        return self.file_format.extension.partition(".")[0]


class WriteToCos(beam.PTransform):  # type: ignore[misc]
    """Write MessageBatch and Seal elements into files at the destination.

    Each partition's elements must come in order and on one path, as the source yields them. A file is written
    when it is full, when a Seal passes the end of its window, and when what the destination already holds begins.
    What the destination already holds is not written again. All uploads of a bundle have ended when the bundle ends.

    Not guaranteed: that a file is written soon after its window has ended; that depends on when the source seals.
    """

    def __init__(self, settings: WriteSettings) -> None:
        super().__init__()
        self._settings = settings

    def expand(self, elements: beam.PCollection) -> WriteToCosResult:
        """Build the transform."""
        settings = self._settings
        roll = beam.ParDo(_RollFiles(settings))
        kind = tuple[str, HandedOver] if settings.by_reference else tuple[str, Element]
        encode = beam.ParDo(_EncodeRecords(settings.make_encoder, settings.run)).with_output_types(kind)
        # Else the names of classes, which savepoints would know the stages by.
        roll.label, encode.label = "Roll", "Encode"
        encoded = (
            elements
            | "FixedWindows" >> beam.WindowInto(FixedWindows(settings.layout.granularity))
            | "EncodeRecords" >> encode.with_outputs(SCHEMAS, main="records")
        )
        rolled = (
            encoded["records"]
            # The window travels as data from here on: a runner drops late elements of a stateful stage by the
            # window's end, and a backup drops nothing.
            | "GlobalWindow" >> beam.WindowInto(GlobalWindows())
            | "RollFiles" >> roll.with_outputs(PARTITIONS, POSITIONS, TOLD, main="files")
        )
        return WriteToCosResult(rolled["files"], rolled[PARTITIONS], rolled[POSITIONS], rolled[TOLD], encoded[SCHEMAS])

    def display_data(self) -> dict[str, Any]:
        """What the runner's console shows."""
        settings = self._settings
        return {
            "destination": settings.destination.url,
            "granularity_seconds": settings.layout.granularity,
            "max_file_messages": settings.limits.messages,
            "max_file_bytes": settings.limits.bytes,
        }


class _EncodeRecords(beam.DoFn):  # type: ignore[misc]
    def __init__(self, make_encoder: Callable[[], RecordEncoder], run: str) -> None:
        self._make_encoder = make_encoder
        self._run = run

    def setup(self) -> None:
        self._encoder = self._make_encoder()
        self._schemas: set[SchemaSeen] = set()

    def process(self, element: MessageBatch | Seal, window: Any = beam.DoFn.WindowParam) -> Iterator[Any]:
        name = element.partition.name
        if isinstance(element, Seal):
            yield name, SealMark(element.before, element.position)
            return
        try:
            encoded = self._encoder.encode(element)
        except Exception as error:
            progress_of(self._run).failed(error)
            raise
        lanes = _lanes(element.columns, window.start.micros // 1000, encoded)
        if any(lane.lane == QUARANTINE_LANE for lane in lanes):
            lanes = in_order_of_messages(lanes, [part.indexes or range(len(part.records)) for part in encoded])
        for lane in lanes:
            yield name, lane
        # Not of each message, for that is another call into the client.
        for message in element.messages[:1] + element.messages[-1:]:
            seen = SchemaSeen(element.partition.topic, message.int_schema_version())
            if seen.version >= 0 and seen not in self._schemas:
                self._schemas.add(seen)
                yield beam.pvalue.TaggedOutput(SCHEMAS, seen)


def _lanes(columns: MessageColumns, window: int, encoded: Sequence[EncodedRecords]) -> list[Records]:
    if len(encoded) == 1 and encoded[0].indexes is None:
        (whole,) = encoded
        return [Records.of_columns(window, whole.lane, whole.header, columns, whole.records)]
    ids, times = columns.ids, columns.publish_times
    lanes = []
    for part in encoded:
        places = range(len(ids)) if part.indexes is None else part.indexes
        chosen = [ids[place] for place in places], [times[place] for place in places]
        lanes.append(Records.of(window, part.lane, part.header, *chosen, part.records))
    return lanes


class _RollFiles(beam.DoFn):  # type: ignore[misc]
    """Keyed by partition, in the global window; see ``transforms.files.roll`` for the rules of the cut."""

    # Encoded here, not by a coder: Beam's state cache measures what it keeps object by object, and bytes are one.
    FILES = ReadModifyWriteStateSpec("files", BytesCoder())
    WAITING = BagStateSpec("waiting", BytesCoder())

    def __init__(self, settings: WriteSettings) -> None:
        self._settings = settings
        self._window_size = settings.layout.granularity * 1000
        self._metrics = WriteMetrics()

    def setup(self) -> None:
        settings = self._settings
        self._store = open_store(settings.destination)
        self._shared = SharedFiles((settings.run, settings.destination.url, settings.layout, settings.format_name))
        self._stored = self._shared.acquire(lambda: StoredFiles(self._store, settings.layout, settings.format_name))
        self._spool = spool_of(self._store, settings.layout, settings.format_name, by_reference=settings.by_reference)
        self._uploads = Uploads(settings.upload_bytes)

    def teardown(self) -> None:
        self._uploads.close()
        self._shared.release()

    def start_bundle(self) -> None:
        self._uploads.begin()
        self._writing: list[Future[_Timed]] = []
        self._quarantining: dict[tuple[str, int], Future[_Timed]] = {}
        self._spooling: dict[str, list[Future[None]]] = {}
        self._done: dict[str, Position] = {}
        self._told: dict[TopicPartition, Came] = {}

    def process(
        self,
        element: tuple[str, Element],
        files: Any = beam.DoFn.StateParam(FILES),
        waiting: Any = beam.DoFn.StateParam(WAITING),
    ) -> Iterator[Any]:
        name, value = element
        try:
            known = files.read()
            restored = self._stored.begin_with(name, known)
            state = decode_state(known) if known else PartitionFiles()
            partition = TopicPartition.parse(name)
            before = {window for window, _ in state.files}
            records = WaitingRecords(waiting, by_reference=self._settings.by_reference)
            report = self._roll(partition, state, value, records, restored=restored)
        except Exception as error:
            progress_of(self._settings.run).failed(error)
            raise
        if state.done is not None:
            self._done[name] = state.done
        self._tell(partition, state, value, before)
        if report is None:
            left = encode_state(state)
            self._stored.end_with(name, left)
            files.write(left)
        else:
            self._stored.end_with(name, None)
            files.clear()
            yield beam.pvalue.TaggedOutput(PARTITIONS, report)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        try:
            wait(self._writing)
            results(list(chain.from_iterable(self._spooling.values())))
            written = results(self._writing)
        except Exception as error:
            progress_of(self._settings.run).failed(error)
            raise
        finally:
            progress_of(self._settings.run).tried_again(self._metrics.tried_again(self._store.retries))
        for file, seconds in written:
            self._metrics.wrote(file, seconds)
            if file.created:  # else other bytes may stand there
                facts = FileFacts(file.key, file.bytes, file.crc64, file.first_time, file.last_time)
                self._told[TopicPartition.parse(file.partition)].files.append(facts)
            yield WindowedValue(file, Timestamp(micros=file.window * 1000), (GlobalWindow(),))
        for done in self._done.items():
            yield beam.pvalue.TaggedOutput(POSITIONS, WindowedValue(done, MIN_TIMESTAMP, (GlobalWindow(),)))
        for partition, came in self._told.items():
            if came.sealed or came.windows or came.files:
                told = partition.topic, encode_told(came)
                yield beam.pvalue.TaggedOutput(TOLD, WindowedValue(told, MIN_TIMESTAMP, (GlobalWindow(),)))

    def _tell(self, partition: TopicPartition, state: PartitionFiles, value: Element, before: set[int]) -> None:
        """Note how far the partition is; windows of which files were open ``before`` may have none any more."""
        came = self._told.setdefault(partition, Came(partition.index))
        came.last, came.messages = state.last, state.messages
        if isinstance(value, Records):
            before.add(value.window)
        elif isinstance(value, SealMark) and _is_true(value):
            came.sealed = max(came.sealed, value.before)
        came.windows |= before.difference(window for window, _ in state.files)

    def _roll(
        self,
        partition: TopicPartition,
        state: PartitionFiles,
        value: Element,
        waiting: WaitingRecords,
        *,
        restored: bool,
    ) -> PartitionReport | None:
        """Take the element in. Gives the report once the partition has been read to its end."""
        before = state.stored, state.quarantined
        roller = Roller(
            state,
            self._settings.limits,
            partial(self._stored.runs, partition),
            waiting.read,
        )
        if restored:
            roller.restore()
            self._spool.delete(roller.abandoned)
        if isinstance(value, Records):
            roller.add(value)
        elif isinstance(value, SealMark):
            roller.seal(value.before, self._window_size)
            if _is_true(value):
                roller.seal_ahead(now_ms())
            state.settled = value.position
        self._metrics.took(stored=state.stored - before[0], quarantined=state.quarantined - before[1])
        self._pack(partition, state, roller)
        for finished in roller.finished:
            self._write(partition, finished)
        kept = roller.kept
        if kept is not None:
            waiting.clear()
        for piece in roller.added if kept is None else kept:
            waiting.add(piece)
        if not isinstance(value, SealMark) or value.before < FOREVER:
            return None
        return PartitionReport(
            partition.name,
            state.first,
            state.last,
            state.messages,
            state.bytes,
            state.stored,
            state.quarantined,
            value.position,
        )

    def _pack(self, partition: TopicPartition, state: PartitionFiles, roller: Roller) -> None:
        """Have what waits leave memory, where that has become too much."""
        settings = self._settings
        crowded = sum(file.waiting for file in state.files.values()) > settings.waiting_bytes
        for key, file in state.files.items():
            if file.waiting < (MIN_PART_BYTES if crowded else settings.part_bytes):
                continue
            part, rest = pack(file, roller.pieces(key), settings.file_format, self._uploads.map)
            roller.replace(key, rest)
            if part is not None:
                name = self._spool.part_of(partition, file)
                if name not in file.parts:
                    file.parts += (name,)
                keeping = self._uploads.submit(len(part.content), partial(self._spool.keep, name, part))
                self._spooling.setdefault(name, []).append(keeping)
                self._metrics.spooled()

    def _write(self, partition: TopicPartition, finished: FinishedFile) -> None:
        file = finished.file
        ahead: list[Future[Any]] = [each for part in file.parts for each in self._spooling.get(part, [])]
        area = (partition.name, file.window)
        if file.lane != QUARANTINE_LANE and area in self._quarantining:
            ahead.append(self._quarantining[area])
        # The records, and the blocks compressed of them, which are seldom more.
        size = 2 * sum(len(piece.data) for piece in finished.pieces) + len(file.packed)
        future = self._uploads.submit(size, partial(self._upload, partition, finished), after=ahead)
        self._writing.append(future)
        if file.lane == QUARANTINE_LANE:
            self._quarantining[area] = future

    def _upload(self, partition: TopicPartition, finished: FinishedFile) -> _Timed:
        began = time.monotonic()
        settings, file = self._settings, finished.file
        body = assemble(finished, settings.file_format)
        finished.pieces.clear()
        key = settings.layout.file(partition, file.lane, file.window, file.run, settings.file_format.extension)
        metadata = metadata_of(file, body.records_crc)
        created = self._spool.join(key, body, metadata) if body.parts else self._store.put(key, body.tail, metadata)
        progress_of(settings.run).written(body.size)
        written = WrittenFile(
            key,
            partition.name,
            file.window,
            file.lane,
            file.first,
            file.last,
            file.count,
            body.size,
            file.size,
            body.crc,
            file.first_time,
            file.last_time,
            created,
        )
        seconds = time.monotonic() - began
        _log.info("%s", written.sentence(seconds), extra={"fields": written.fields(seconds)})
        return written, seconds


def _is_true(seal: SealMark) -> bool:
    """Whether the partition has come that far.

    A seal in the future says only that there were too many open windows, of which it closes the oldest.
    """
    return seal.before == FOREVER or NO_WINDOW < seal.before <= now_ms()
