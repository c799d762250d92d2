"""The manifest of one window, derived from what stands at the destination.

What it names is a listing of the window's folder less what earlier manifests of the window name. So writing one is safe
to repeat, whatever state was lost between the files and the manifest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import NamedTuple

from fastcrc import crc64 as crc64_of

from transforms.cos.destination import Destination
from transforms.cos.object_metadata import publish_times
from transforms.cos.store import ObjectStore, StoredSize
from transforms.cos.stored_files import QUARANTINE
from transforms.cos.together import as_part
from transforms.errors import ArchivedError, DamagedError, ObjectConflictError
from transforms.files.decode import read_records
from transforms.files.manifest import (
    GapFound,
    Manifest,
    ManifestFile,
    ManifestName,
    PartitionRead,
    from_json,
    moment,
    parse_manifest_name,
    to_json,
)
from transforms.files.naming import QUARANTINE_LANE, FileName, Layout, name_prefix, parse_name
from transforms.files.windows_complete import FileFacts
from transforms.pulsar.messages import TopicPartition

_log = logging.getLogger(__name__)

#: Others may take the number that was free a moment ago; each time there is less that they could name.
_ROUNDS = 8
_REQUESTS_AT_ONCE = 4


@dataclass(frozen=True)
class ManifestSettings:
    """Where manifests go, and what they say of who wrote them; picklable."""

    destination: Destination
    layout: Layout
    format_name: str
    """``avro`` or ``jsonl``, whatever the compression."""
    run: str
    rule: str | None = None
    compacted: bool = False
    quarantines: bool = True
    """Whether the run may put messages into quarantine."""


@dataclass(frozen=True)
class WindowOfTopic:
    """What a manifest is asked for, and what of it does not stand at the destination."""

    topic: str
    window: int
    """Start, milliseconds."""
    unpartitioned: bool = False
    read: tuple[PartitionRead, ...] = ()
    gaps: tuple[GapFound, ...] = ()


class _Named(NamedTuple):
    """What the manifests of a window that stand there name."""

    files: frozenset[tuple[bool, str]]
    """Whether it is in quarantine, and its name."""
    next_number: int


class _Found(NamedTuple):
    quarantined: bool
    stored: StoredSize
    base: str
    name: FileName


class ManifestWriter:
    """Writes manifests into one store. Thread-safe.

    ``known`` gives what is known of an object by its key; what it does not know is asked of the store, which on COS is
    a request for each object, and in a folder means reading it.
    """

    def __init__(
        self, store: ObjectStore, settings: ManifestSettings, known: Callable[[str], FileFacts | None] = lambda _: None
    ) -> None:
        self._store = store
        self._settings = settings
        self._known = known
        self._lanes: tuple[str, ...] | None = None

    def write(self, wanted: WindowOfTopic) -> Manifest | None:
        """Write the manifest of what stands there and no manifest names; None, and nothing written, where all is named.

        A manifest that cannot be decoded counts as lost: what it named is named again. An object that cannot be decoded
        is named by none. Where one of them is archived, nothing is written, and what came late stays unnamed. All of
        that is logged. Raises DestinationError and AccessError as the store does.
        """
        try:
            return self._write(wanted)
        except ArchivedError as error:
            _log.warning("A window gets no further manifest, and what came late for it is named by none. %s", error)
            return None

    def _write(self, wanted: WindowOfTopic) -> Manifest | None:
        reason: ObjectConflictError | None = None
        for _ in range(_ROUNDS):
            named = self._named(wanted)
            found = [each for each in self._listed(wanted) if (each.quarantined, each.base) not in named.files]
            files = self._described(wanted, found)
            if not files:
                return None
            manifest = self._manifest(wanted, named.next_number, files)
            key = f"{self._folder(wanted)}{manifest.name}"
            try:
                self._store.put_document(key, to_json(manifest))
            except ObjectConflictError as error:
                reason = error
                continue
            _log.info("%s", _sentence(key, manifest), extra={"fields": _fields(key, manifest)})
            return manifest
        assert reason is not None  # noqa: S101 - there was at least one round
        raise reason

    def stored_windows(self, topic: str, since: int, before: int) -> set[int]:
        """Starts of the windows between two times that have files of ours; a listing for each folder of that time."""
        settings, partition = self._settings, TopicPartition(topic)
        granularity = settings.layout.granularity
        first = max(since - since % (granularity * 1000), 0)
        starts = range(first, before, granularity * 1000)
        found = set()
        for folder in dict.fromkeys(settings.layout.folder(partition, start) for start in starts):
            # A folder may hold much more than that time.
            for key, _ in self._store.list_objects(folder, after=f"{folder}{name_prefix(first, granularity, 0)}"):
                base = key[len(folder) :]
                name = parse_name(base)
                if base.startswith("_") or (name is not None and name.window >= before):
                    break
                if name is not None and (name.granularity, name.format) == (granularity, settings.format_name):
                    found.add(name.window)
        return found

    def _folder(self, wanted: WindowOfTopic, lane: str = "") -> str:
        return self._settings.layout.folder(TopicPartition(wanted.topic), wanted.window, lane)

    def _named(self, wanted: WindowOfTopic) -> _Named:
        settings, folder = self._settings, self._folder(wanted)
        ours = ManifestName(moment(wanted.window), settings.layout.granularity, settings.format_name, 0)
        named: set[tuple[bool, str]] = set()
        next_number = 0
        for key in list(self._store.list_keys(f"{folder}{str(ours).rpartition('-')[0]}-")):
            name = parse_manifest_name(key[len(folder) :])
            if name is None or name._replace(number=0) != ours:
                continue
            next_number = max(next_number, name.number + 1)
            try:
                manifest = from_json(Manifest, b"".join(self._store.read(key)), key)
            except DamagedError as error:
                _log.warning("%s What it named is named again.", error)
                continue
            named |= {(file.quarantined, file.name) for file in manifest.files}
        return _Named(frozenset(named), next_number)

    def _listed(self, wanted: WindowOfTopic) -> Iterator[_Found]:
        settings = self._settings
        for lane in self._looked_at():
            folder = self._folder(wanted, lane)
            # All partitions of the window, and nothing of others.
            prefix = name_prefix(wanted.window, settings.layout.granularity, 0).rpartition("p")[0]
            for stored in self._store.list_objects(folder + prefix):
                base = stored.key[len(folder) :]
                name = parse_name(base)
                if name is not None and str(name) == base and name.format == settings.format_name:
                    yield _Found(lane == QUARANTINE_LANE, stored, base, name)

    def _looked_at(self) -> tuple[str, ...]:
        """The lanes where files of a window may be: where there is no quarantine, a request less for each window."""
        if self._lanes is None:
            settings = self._settings
            quarantine = self._store.list_keys(f"{settings.layout.prefix}{QUARANTINE}")
            there = settings.quarantines or next(iter(quarantine), None) is not None
            self._lanes = ("", QUARANTINE_LANE) if there else ("",)
        return self._lanes

    def _described(self, wanted: WindowOfTopic, found: list[_Found]) -> tuple[ManifestFile, ...]:
        facts = [self._facts_known(each) for each in found]
        if None in facts:
            with ThreadPoolExecutor(_REQUESTS_AT_ONCE, thread_name_prefix="manifest") as pool:
                asked = pool.map(
                    as_part(self._facts_asked), [each for each, fact in zip(found, facts, strict=True) if fact is None]
                )
                facts = [next(asked) if fact is None else fact for fact in facts]
        return tuple(
            ManifestFile(
                name=each.base,
                partition=-1 if wanted.unpartitioned else each.name.partition,
                first=each.name.run.first,
                last=each.name.run.last,
                messages=each.name.run.messages,
                bytes=fact.bytes,
                crc64=str(fact.crc64),
                first_publish_time=fact.first_time,
                last_publish_time=fact.last_time,
                quarantined=each.quarantined,
            )
            for each, fact in zip(found, facts, strict=True)
            if fact is not None
        )

    def _facts_known(self, found: _Found) -> FileFacts | None:
        known = self._known(found.stored.key)
        return known if known is not None and known.bytes == found.stored.size else None

    def _facts_asked(self, found: _Found) -> FileFacts | None:
        key = found.stored.key
        head = self._store.head(key)
        if head is None:
            _log.warning("%s is gone; no manifest names it.", key)
            return None
        times = publish_times(head.metadata)
        if head.crc64 is not None and times is not None:
            return FileFacts(key, head.size, head.crc64, *times)
        try:
            return self._read(key, found.name.extension)
        except DamagedError as error:
            _log.warning("%s No manifest names it.", error)
            return None

    def _read(self, key: str, extension: str) -> FileFacts:
        content = _Summed(self._store.read(key))
        times = [record["publish_time"] for record in read_records(content, extension, key)]
        for _ in content:
            pass
        if not times:
            raise DamagedError(f"{key} is damaged: it holds no messages.")
        return FileFacts(key, content.bytes, content.crc, min(times), max(times))

    def _manifest(self, wanted: WindowOfTopic, number: int, files: tuple[ManifestFile, ...]) -> Manifest:
        settings = self._settings
        return Manifest(
            topic=wanted.topic,
            window=moment(wanted.window),
            granularity=settings.layout.granularity,
            format="avro" if settings.format_name == "avro" else "jsonl",
            number=number,
            run=settings.run,
            rule=settings.rule,
            written=datetime.now(timezone.utc),
            files=files,
            gaps=wanted.gaps,
            read=wanted.read,
            compacted=settings.compacted,
        )


class _Summed(Iterator[bytes]):
    """Pieces of an object, counted and summed as they go by."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.bytes = 0
        self.crc = crc64_of.xz(b"")

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.bytes += len(piece)
        self.crc = crc64_of.xz(piece, self.crc)
        return piece


def _sentence(key: str, manifest: Manifest) -> str:
    messages = sum(file.messages for file in manifest.files)
    late = " (of what came late, or was not named)" if manifest.number else ""
    return f"wrote {key}: {len(manifest.files)} files, {messages} messages{late}"


def _fields(key: str, manifest: Manifest) -> dict[str, str | int]:
    """What is logged of it for a program; the names are documented in the README, and a contract."""
    return {
        "manifest": key,
        "topic": manifest.topic,
        "window": manifest.window.isoformat().replace("+00:00", "Z"),
        "files": len(manifest.files),
        "messages": sum(file.messages for file in manifest.files),
    }
