"""The stage that writes manifests: one for each window of a topic, once it is complete over all partitions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.metrics import Metrics
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from transforms.cos.destination import open_store
from transforms.cos.uploads import Uploads, results
from transforms.cos.window_manifest import ManifestSettings, ManifestWriter, WindowOfTopic
from transforms.cos.write_metrics import NAMESPACE
from transforms.files.windows_complete import (
    Came,
    Exists,
    FileFacts,
    GapTold,
    TopicWindows,
    decode_told,
    encode_told,
    gaps_found,
)
from transforms.progress import progress_of
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.restriction import PartitionRange
from transforms.wall_clock import now_ms

#: Of one manifest that is being written, about; what is listed of a window is not known before.
_MANIFEST_BYTES = 1 << 16
_UPLOAD_BYTES = 16 << 20
_DAY_MS = 24 * 3600 * 1000
#: A stream that begins without the state of the one before it names what that one has left, of windows that it had
#: sealed in some partitions. (What a run with an end leaves is read again: it acknowledges nothing before its end.)
_LOOK_BACK = _DAY_MS
_MOST_LOOKED = 32 * _DAY_MS
#: Of a run with an end: a runner in one process does nothing else meanwhile, and many take little longer than one.
_AT_ONCE = 64
#: About 400 bytes each.
_FILES_KEPT = 20_000

#: Full name of a topic, and something that ``decode_told`` reads.
ToldOfTopic = tuple[str, bytes]


class WriteManifests(beam.PTransform):  # type: ignore[misc]
    """Write the manifest of each window of a topic when all of its partitions have come past the window's end.

    Takes collections of ``ToldOfTopic``: what ``WriteToCos`` tells, the partitions that exist, and gaps. All manifests
    of a bundle stand complete when the bundle ends. With ``bounded`` they are written many at once, and what comes late
    for a window that was complete before waits until all is read.

    A stream that begins without state looks for what the one before it has left: in the 24 hours before what is
    complete first, and in what follows.

    Not guaranteed: that a window has one manifest only; what comes late, or from a partition that was not known to
    exist, is in a further one.
    """

    def __init__(self, settings: ManifestSettings, *, bounded: bool = True) -> None:
        super().__init__()
        self._settings = settings
        self._bounded = bounded

    def expand(self, told: tuple[beam.PCollection, ...]) -> beam.PCollection:
        """Build the transform."""
        return (
            told
            | "Together" >> beam.Flatten()
            | "Write" >> beam.ParDo(_WriteManifests(self._settings, bounded=self._bounded))
        )


class OfTopics(beam.PTransform):  # type: ignore[misc]
    """Gap and PartitionRange elements, or what is told already, as ``ToldOfTopic``: all encoded alike."""

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        """Build the transform."""
        return elements | "Tell" >> beam.Map(_of_topic).with_output_types(ToldOfTopic)


def partitions_told(ranges: Iterable[PartitionRange]) -> list[ToldOfTopic]:
    """The partitions that exist, those of one topic in one element, so that none is taken for all there are."""
    topics: dict[str, list[PartitionRange]] = {}
    for each in ranges:
        topics.setdefault(each.partition.topic, []).append(each)
    return [
        (
            topic,
            encode_told(
                Exists(
                    tuple((each.partition.index, each.start) for each in of_topic),
                    frozenset(each.partition.index for each in of_topic if each.start >= each.stop),
                )
            ),
        )
        for topic, of_topic in topics.items()
    ]


def gap_told(gap: Gap) -> ToldOfTopic:
    """A gap."""
    return gap.partition.topic, encode_told(GapTold(gap.partition.index, gap.start, gap.stop, gap.certain))


def _of_topic(element: ToldOfTopic | Gap | PartitionRange) -> ToldOfTopic:
    if isinstance(element, Gap):
        return gap_told(element)
    if isinstance(element, PartitionRange):
        (told,) = partitions_told([element])
        return told
    return element


class TopicManifests:
    """Writes the manifests that become due as things are told of topics, many at once; for one thread.

    What is known of the windows of a topic is kept by the caller, from one ``take`` to the next. ``run`` of the
    settings names what is kept of files in this process.
    """

    def __init__(self, settings: ManifestSettings, *, bounded: bool) -> None:
        self._settings = settings
        self._bounded = bounded
        self._writer = ManifestWriter(open_store(settings.destination), settings, partial(_files.get, settings.run))
        self._uploads = Uploads(_UPLOAD_BYTES)
        self.begin()

    def begin(self) -> None:
        """Start afresh, whatever became of what was begun before."""
        self._uploads.begin()
        self._writing: list[Future[bool]] = []
        self._last: dict[tuple[str, int], Future[Any]] = {}

    def take(self, topic: str, windows: TopicWindows, encoded: bytes) -> None:
        """Note in ``windows`` what is told, and begin to write what is due. Raises as the store does."""
        told = decode_told(encoded)
        windows.take(told)
        if isinstance(told, Came):
            _files.put(self._settings.run, told.files)
        self._write(topic, windows)

    def finish(self) -> int:
        """Wait for all that was begun; gives how many manifests were written. Raises as the store does."""
        return sum(results(self._writing))

    def abandon(self, error: BaseException) -> None:
        """Begin nothing more, and try nothing again, because of this error elsewhere."""
        self._uploads.abandon(error)

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._uploads.close()

    def _write(self, topic: str, windows: TopicWindows) -> None:
        if windows.begins and not self._bounded:
            since = windows.complete - _LOOK_BACK
            windows.add(self._writer.stored_windows(topic, since, min(now_ms(), since + _MOST_LOOKED)))
        size = self._settings.layout.granularity * 1000
        at_least = _AT_ONCE if _files.has_room() else 1
        ready = windows.ready(size, late_at_end=self._bounded, at_least=at_least)
        read = windows.read(topic) if ready else ()
        for window in ready:
            wanted = WindowOfTopic(topic, window, windows.unpartitioned, read, gaps_found(topic, windows.gaps))
            # Of a window again behind the one that is being written: the store need not tell them apart.
            ahead = [self._last[topic, window]] if (topic, window) in self._last else []
            writing = self._uploads.submit(_MANIFEST_BYTES, partial(self._is_written, wanted), after=ahead)
            self._last[topic, window] = writing
            self._writing.append(writing)
            # Gaps are in one manifest, and which one is known when it is written: some windows need none.
            if wanted.gaps and writing.result():
                windows.gaps = ()

    def _is_written(self, wanted: WindowOfTopic) -> bool:
        return self._writer.write(wanted) is not None


class _WriteManifests(beam.DoFn):  # type: ignore[misc]
    """Keyed by topic, in the global window; see ``transforms.files.windows_complete`` for when a manifest is due."""

    WINDOWS = ReadModifyWriteStateSpec("windows", BytesCoder())

    def __init__(self, settings: ManifestSettings, *, bounded: bool) -> None:
        self._settings = settings
        self._bounded = bounded
        self._written = Metrics.counter(NAMESPACE, "manifests_written")

    def setup(self) -> None:
        self._manifests = TopicManifests(self._settings, bounded=self._bounded)

    def teardown(self) -> None:
        self._manifests.close()

    def start_bundle(self) -> None:
        self._manifests.begin()

    def process(self, element: ToldOfTopic, state: Any = beam.DoFn.StateParam(WINDOWS)) -> None:
        topic, encoded = element
        try:
            known = state.read()
            windows = TopicWindows.from_bytes(known) if known else TopicWindows()
            self._manifests.take(topic, windows, encoded)
            state.write(windows.to_bytes())
        except Exception as error:
            progress_of(self._settings.run).failed(error)
            raise

    def finish_bundle(self) -> None:
        try:
            written = self._manifests.finish()
        except Exception as error:
            progress_of(self._settings.run).failed(error)
            raise
        self._written.inc(written)


class _KnownFiles:
    """What passed by of files, the last of them: those of each run by their keys."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[str, str], FileFacts] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, run: str, files: Iterable[FileFacts]) -> None:
        with self._lock:
            for file in files:
                self._files[run, file.key] = file
            while len(self._files) > _FILES_KEPT:
                self._files.popitem(last=False)

    def has_room(self) -> bool:
        """Whether what is waited for now is still known later."""
        return len(self._files) < _FILES_KEPT // 2

    def get(self, run: str, key: str) -> FileFacts | None:
        with self._lock:
            return self._files.get((run, key))


#: Of this process: stages come and go with the bundles that they work on.
_files = _KnownFiles()
