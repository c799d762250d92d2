"""Proving a backup: reads what stands at a destination, and says what of it is proved and what is wrong.

Only reads. Two passes over the listing: the first looks at windows, manifests and objects and gathers what runs say
that they have read; the second counts files against that. Memory: the names of a folder or a window, and a few numbers
for each partition of each run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from transforms.cos.store import ObjectStore
from transforms.cos.stored_files import RUNS, OtherObject, StoredFile, stored_objects
from transforms.errors import DamagedError, DestinationError
from transforms.files.manifest import Manifest, RunRecord, from_json
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.positions import Position
from transforms.verify.against import Compared
from transforms.verify.ahead import ahead
from transforms.verify.contents import Task, check_content, check_head, is_damage, positions_in
from transforms.verify.counts import Counts, Judged, series_of
from transforms.verify.findings import Finding, Findings, Kind
from transforms.verify.layouts import Layouts
from transforms.verify.leftovers import check_leftovers
from transforms.verify.manifests import Document, check_manifests
from transforms.verify.names import check_names
from transforms.verify.reads import Reads
from transforms.verify.windows import ManifestObject, Window, files_of, windows_of

NOT_PROVED = 6
"""Exit code of a backup that could be read, and not be proved."""

_SUFFIX = ".json"


@dataclass(frozen=True)
class VerifyOptions:
    """What is looked at, and what is expected."""

    topics: tuple[str, ...] = ()
    """Full names; empty for all."""
    named: bool = True
    """Whether each of them is expected to be there. Those of a rule may be empty, and a run leaves nothing of such."""
    heads: bool = True
    """Ask the store for the CRC64 and the metadata of each object."""
    deep: bool = False
    """Read each object."""
    manifests: bool = True
    """Whether windows without a manifest are a finding."""
    accept_gaps: bool = False
    template: str | None = None
    timezone: str | None = None
    window_by: str | None = None
    workers: int = 16
    keep: int | None = 20
    """Of each kind of finding so many are kept; None: all."""
    against: PulsarConnection | None = None
    """The cluster whose topics are compared with what is stored."""


@dataclass
class Progress:
    """How far it has come; changed while it goes on, by one thread but for ``bytes``."""

    stage: str = "run records"
    objects: int = 0
    windows: int = 0
    bytes: int = 0
    """Read of contents."""
    counted: int = 0
    """Objects, in the second pass."""


@dataclass
class Verified:
    """What was found."""

    findings: Findings
    objects: int = 0
    """That hold messages."""
    bytes: int = 0
    messages: int = 0
    """By their names."""
    windows: int = 0
    manifests: int = 0
    records: int = 0
    summed: int = 0
    """Objects whose CRC64 the store knew."""
    across: int = 0
    """Objects that lie across the start or stop of a run, and whose messages were counted one by one."""
    stretches: list[Judged] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    """With what the broker holds; a partition each."""

    @property
    def proved(self) -> bool:
        """Whether nothing stands against the proof."""
        return not self.findings.against


def verify(store: ObjectStore, prefix: str, options: VerifyOptions, progress: Progress | None = None) -> Verified:
    """Look at the backup below ``prefix``. Raises ConfigurationError, AccessError and DestinationError.

    Damage is never raised: it is found. What is written while this goes on may be found incomplete.
    """
    with ThreadPoolExecutor(options.workers, thread_name_prefix="verify") as pool:
        try:
            return _Verification(store, prefix, options, progress or Progress(), pool).run()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Verification:
    def __init__(
        self, store: ObjectStore, prefix: str, options: VerifyOptions, progress: Progress, pool: ThreadPoolExecutor
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._options = options
        self._progress = progress
        self._pool = pool
        self._at_once = 4 * options.workers
        self._found = Findings(options.keep, accept_gaps=options.accept_gaps)
        self._result = Verified(self._found)
        self._reads = Reads(options.topics)
        self._topics: set[str] = set()

    def run(self) -> Verified:
        options, found, progress = self._options, self._found, self._progress
        self._layouts = Layouts(
            self._records(), template=options.template, timezone=options.timezone, window_by=options.window_by
        )
        prefixes = sorted({prefix for topic in options.topics for prefix in self._layouts.prefixes_of(topic)})
        self._below = [each for each in prefixes if not any(each != b and each.startswith(b) for b in prefixes)] or [""]
        progress.stage = "windows"
        for findings, summed in ahead(self._pool, self._look, self._tasks(), self._at_once):
            found.extend(findings)
            self._result.summed += summed
        progress.stage = "counts"
        counts = self._counted()
        found.extend(counts.findings())
        found.extend(self._reads.findings())
        self._result.stretches = list(counts.judged())
        if options.against is not None:
            progress.stage = "comparing"
            self._compare(options.against)
        progress.stage = "leftovers"
        found.extend(check_leftovers(self._store, self._prefix, self._is_wanted))
        if not self._result.objects:
            found.add(Kind.NOTHING, self._prefix or "/")
        else:
            there = self._topics.union(each.series.topic for each in self._result.stretches)
            for topic in sorted({*options.topics} - there):
                found.add(Kind.NOTHING if options.named else Kind.ABSENT, topic)
        return self._result

    def _records(self) -> Iterator[RunRecord]:
        objects = (each for each in stored_objects(self._store, self._prefix, RUNS) if isinstance(each, OtherObject))
        for each, record in ahead(self._pool, self._read_record, objects, self._at_once):
            if isinstance(record, Finding):
                self._found.extend([record])
            elif record is not None:
                self._result.records += 1
                if each.base != record.run + _SUFFIX:
                    self._found.add(Kind.CHANGED_RECORD, each.key, f"by its content it is of run {record.run}")
                self._reads.record(each.key, record)
                yield record

    def _read_record(self, found: OtherObject) -> tuple[OtherObject, RunRecord | Finding | None]:
        if not found.base.endswith(_SUFFIX):
            return found, Finding(Kind.STRANGER, found.key, f"{found.size} bytes")
        content = self._content(found.key, Kind.BAD_RECORD)
        if isinstance(content, Finding):
            return found, content
        try:
            return found, from_json(RunRecord, content, found.key)
        except DamagedError as error:
            return found, Finding(Kind.BAD_RECORD, found.key, str(error))

    def _tasks(self) -> Iterator[Task]:
        """Every object that holds messages, once its window has been looked at."""
        listed = windows_of(self._store, self._prefix, self._below)
        for each, documents in ahead(self._pool, self._read_manifests, listed, self._at_once):
            if isinstance(each, OtherObject):
                if self._is_wanted(each.folder):
                    self._found.add(Kind.STRANGER, each.key, f"{each.size} bytes")
            else:
                yield from self._window(each, documents)

    def _read_manifests(self, found: Window | OtherObject) -> tuple[Window | OtherObject, list[Document | Finding]]:
        if isinstance(found, OtherObject):
            return found, []
        return found, [self._read_manifest(each) for each in found.manifests]

    def _read_manifest(self, found: ManifestObject) -> Document | Finding:
        content = self._content(found.key, Kind.BAD_MANIFEST)
        if isinstance(content, Finding):
            return content
        try:
            return Document(found, from_json(Manifest, content, found.key))
        except DamagedError as error:
            return Finding(Kind.BAD_MANIFEST, found.key, str(error))

    def _content(self, key: str, kind: Kind) -> bytes | Finding:
        try:
            return b"".join(self._store.read(key))
        except DestinationError as error:
            if is_damage(error) or self._store.head(key) is None:
                return Finding(kind, key, str(error))
            raise

    def _window(self, window: Window, read: list[Document | Finding]) -> Iterator[Task]:
        documents = [each for each in read if isinstance(each, Document)]
        topic = self._layouts.topic_of(window.folder)
        if topic is None:
            topic = self._learned(window, documents)
        if self._options.topics and topic not in self._options.topics:
            return
        self._found.extend(each for each in read if isinstance(each, Finding))
        result, progress = self._result, self._progress
        if topic is not None:
            self._topics.add(topic)
        result.windows += 1
        result.manifests += len(documents)
        progress.windows += 1
        if topic is None:
            for file in window.files:
                self._found.add(Kind.UNKNOWN_TOPIC, file.key, "no run record, manifest or --path-template tells whose")
        found, claims = check_manifests(
            window, documents, self._prefix, topic, expected=self._options.manifests and topic is not None
        )
        self._found.extend(found)
        self._found.extend(check_names(window.files, topic, self._layouts))
        for document in documents:
            if topic in (None, document.manifest.topic):
                self._found.extend(self._reads.manifest(document.found.key, document.manifest))
        for file in window.files:
            result.objects += 1
            result.bytes += file.size
            result.messages += file.name.run.messages
            progress.objects += 1
            if not (self._options.heads or self._options.deep):
                continue
            times = self._layouts.times_of(topic or "", file.name.granularity, file.name.format)
            yield Task(file, topic, claims.get(file.key), times)

    def _learned(self, window: Window, documents: Iterable[Document]) -> str | None:
        """The topic of a folder whose path does not tell: what its manifests say, if its path may be that topic's."""
        for document in documents:
            topic = document.manifest.topic
            if self._layouts.is_folder_of(window.folder, topic):
                self._layouts.learn(topic)
                return topic
        return None

    def _look(self, task: Task) -> tuple[list[Finding], bool]:
        """What is found of an object, and whether the store knew its CRC64."""
        found, head = check_head(self._store, task)
        if head is None:
            return found, False
        summed = head.crc64 is not None
        if not self._options.deep:
            return found, summed
        try:
            return found + check_content(self._store, task, head, self._read_bytes), summed
        except DestinationError as error:
            if self._store.head(task.file.key) is not None:
                raise
            return [*found, Finding(Kind.MISSING, task.file.key, str(error))], summed

    def _read_bytes(self, size: int) -> None:
        self._progress.bytes += size

    def _counted(self) -> Counts:
        counts = Counts(self._reads.said())
        for file, topic, positions in ahead(self._pool, self._positions, self._across(counts), self._at_once // 4):
            if isinstance(positions, Finding):
                self._found.extend([positions])
            else:
                counts.count_messages(series_of(file, topic), file, positions)
        return counts

    def _across(self, counts: Counts) -> Iterator[tuple[StoredFile, str]]:
        """Count files by their names; gives those that lie across a boundary."""
        for topic, file in self._files():
            self._progress.counted += 1
            if not counts.count(series_of(file, topic), file):
                self._result.across += 1
                yield file, topic

    def _files(self) -> Iterator[tuple[str, StoredFile]]:
        """All files that are wanted and whose topic is known, listed anew."""
        for file in files_of(self._store, self._prefix, self._below):
            topic = self._layouts.topic_of(file.folder)
            if topic is not None and (not self._options.topics or topic in self._options.topics):
                yield topic, file

    def _positions(self, found: tuple[StoredFile, str]) -> tuple[StoredFile, str, list[Position] | Finding]:
        file, topic = found
        try:
            return file, topic, list(positions_in(self._store, file))
        except DestinationError as error:
            if is_damage(error) or self._store.head(file.key) is None:
                kind = Kind.UNREADABLE
                return file, topic, Finding(kind, file.key, f"it lies across the end of a run: {error}")
            raise

    def _compare(self, connection: PulsarConnection) -> None:
        from pipelines.verify_against import compare  # noqa: PLC0415 - only this needs the client

        topics = sorted(self._topics | set(self._options.topics))
        stretches = self._result.stretches
        self._result.compared = compare(self._store, connection, self._files(), topics, stretches, self._found)

    def _is_wanted(self, folder: str) -> bool:
        return not self._options.topics or self._layouts.topic_of(folder) in self._options.topics
