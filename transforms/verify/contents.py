"""One object: what the store says of it, and what is in it, held against its name and its manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fastcrc import crc64 as crc64_of

from transforms.cos.store import ObjectHead, ObjectStore
from transforms.cos.stored_files import StoredFile
from transforms.errors import AccessError, DamagedError, DestinationError
from transforms.files.decode import Record, partition_of, position_of, read_records
from transforms.pulsar.positions import Position
from transforms.pulsar.windows import WindowRule
from transforms.verify.findings import Finding, Kind
from transforms.verify.layouts import EVENT_TIME
from transforms.verify.manifests import Claim

_UNSEEN_TIME: Final = -1


@dataclass(frozen=True, slots=True)
class Task:
    """An object that is to be looked at."""

    file: StoredFile
    topic: str | None
    """Whose folder it stands in, where that is known."""
    claim: Claim | None
    """What its manifest says of it."""
    times: frozenset[str]
    """By which times its window may go."""


def check_head(store: ObjectStore, task: Task) -> tuple[list[Finding], ObjectHead | None]:
    """Ask the store for an object's CRC64 and metadata. Raises as the store does."""
    file = task.file
    found: list[Finding] = []
    head = store.head(file.key)
    if head is None:
        return [Finding(Kind.MISSING, file.key, "it was listed, and has gone since")], None
    if task.claim is not None and head.crc64 is not None and str(head.crc64) != task.claim.file.crc64:
        found.append(
            Finding(Kind.CRC64, file.key, f"{head.crc64}, and {task.claim.file.crc64} by {task.claim.manifest}")
        )
    if head.crc64 is not None:  # a folder keeps neither
        found += _check_metadata(file, head)
    return found, head


def check_content(
    store: ObjectStore, task: Task, head: ObjectHead, progress: Callable[[int], object] = lambda _: None
) -> list[Finding]:
    """Read an object and hold it against all that is said of it. Raises as the store does, but for damage.

    ``progress`` is told of bytes. Memory: a block of it.
    """
    reading = _Reading(store, task.file, progress)
    seen = _Seen(task)
    found: list[Finding] = []
    try:
        for record in read_records(reading.pieces(), task.file.name.extension, "it", seen=seen.take_bytes):
            seen.take(record)
    except DamagedError as error:
        found.append(Finding(Kind.UNREADABLE, task.file.key, f"{str(error).removeprefix('it is damaged')[:300]}"))
    except DestinationError:
        if not reading.came_whole(head):
            raise
    if not found:
        found += seen.findings()
    reading.drain(head)
    return [*found, *_check_sums(task, head, reading, None if found else seen)]


class _Reading:
    """The pieces of an object on their way, summed up."""

    def __init__(self, store: ObjectStore, file: StoredFile, progress: Callable[[int], object]) -> None:
        self._progress = progress
        self._source = store.read(file.key)
        self.size = 0
        self.crc = crc64_of.xz(b"")

    def pieces(self) -> Iterator[bytes]:
        for piece in self._source:
            self.size += len(piece)
            self.crc = crc64_of.xz(piece, self.crc)
            self._progress(len(piece))
            yield piece

    def drain(self, head: ObjectHead) -> None:
        """Take what the decoder has left, so that the sum is that of all."""
        try:
            for _ in self.pieces():
                pass
        except DestinationError:
            if not self.came_whole(head):
                raise

    def came_whole(self, head: ObjectHead) -> bool:
        """Whether all of it came, and so what the store complains of is its CRC64."""
        return self.size == head.size and head.crc64 is not None and self.crc != head.crc64


class _Seen:
    """What is seen of an object's records."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._rule = WindowRule(max(task.file.name.granularity, 1) * 1000)
        self._event_rule = WindowRule(self._rule.size, by_event_time=True)
        self._wrong: dict[Kind, tuple[str, int]] = {}
        """The first message of which something is wrong, and how many there are."""
        self.first: Position | None = None
        self.last: Position | None = None
        self.count = 0
        self.first_time = self.last_time = _UNSEEN_TIME
        self.bytes = 0
        self.crc = crc64_of.xz(b"")

    def take_bytes(self, records: bytes) -> None:
        self.bytes += len(records)
        self.crc = crc64_of.xz(records, self.crc)

    def take(self, record: Record) -> None:
        name, position, time = self._task.file.name, position_of(record), record["publish_time"]
        partition = partition_of(record)
        if self.last is not None and position <= self.last:
            self._note(Kind.ORDER, f"{position} behind {self.last}")
        if max(partition.index, 0) != name.partition or self._task.topic not in (None, partition.topic):
            self._note(Kind.PARTITION, f"{position} of {partition.name}")
        if not self._is_inside(time, record["event_time"] or 0):
            self._note(Kind.WINDOW, f"{position} of {time}")
        version = record["schema_version"]
        if name.version and name.version != ("vnone" if version is None else f"v{version:06d}"):
            self._note(Kind.SCHEMA, f"{position} of {version}")
        self.first = position if self.first is None else self.first
        self.last = position
        self.first_time = time if not self.count else min(self.first_time, time)
        self.last_time = time if not self.count else max(self.last_time, time)
        self.count += 1

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the records, each kind once."""
        key, run = self._task.file.key, self._task.file.name.run
        for kind, (first, count) in self._wrong.items():
            yield Finding(kind, key, f"{count} messages, the first {first}")
        if self.count != run.messages:
            yield Finding(Kind.COUNT, key, f"{self.count}, and {run.messages} by its name")
        if self.count and (self.first, self.last) != (run.first, run.last):
            yield Finding(Kind.IDS, key, f"{self.first} to {self.last}, and {run.first} to {run.last} by its name")
        claim = self._task.claim
        if claim is not None and self.count:
            said = claim.file.first_publish_time, claim.file.last_publish_time
            if said != (self.first_time, self.last_time):
                there = f"{self.first_time} to {self.last_time}"
                yield Finding(Kind.TIMES, key, f"{there}, and {said[0]} to {said[1]} by {claim.manifest}")

    def _note(self, kind: Kind, what: str) -> None:
        first, count = self._wrong.get(kind, (what, 0))
        self._wrong[kind] = first, count + 1

    def _is_inside(self, publish_time: int, event_time: int) -> bool:
        rules = [self._event_rule if each == EVENT_TIME else self._rule for each in self._task.times]
        window = self._task.file.name.window
        return any(rule.window(rule.time(publish_time, event_time)) == window for rule in rules)


def _check_sums(task: Task, head: ObjectHead, reading: _Reading, seen: _Seen | None) -> Iterator[Finding]:
    key, claim = task.file.key, task.claim
    if reading.size != task.file.size:
        yield Finding(Kind.SIZE, key, f"{reading.size} bytes came, and {task.file.size} are listed")
    if head.crc64 is not None and reading.crc != head.crc64:
        yield Finding(Kind.CRC64, key, f"its content has {reading.crc}, and the store computed {head.crc64}")
    if claim is not None and str(reading.crc) != claim.file.crc64 and head.crc64 in (None, reading.crc):
        yield Finding(Kind.CRC64, key, f"its content has {reading.crc}, and {claim.file.crc64} by {claim.manifest}")
    if seen is None or "records-crc64" not in head.metadata:
        return
    said = head.metadata["records-bytes"], head.metadata["records-crc64"]
    if said != (str(seen.bytes), str(seen.crc)):
        yield Finding(Kind.METADATA, key, f"records of {seen.bytes} bytes and CRC64 {seen.crc}, and {said} there")


def _check_metadata(file: StoredFile, head: ObjectHead) -> Iterator[Finding]:
    run, metadata = file.name.run, head.metadata
    should_be = {
        "window": str(file.name.window),
        "first-message-id": str(run.first),
        "last-message-id": str(run.last),
        "messages": str(run.messages),
    }
    wrong = {name: metadata.get(name) for name, value in should_be.items() if metadata.get(name) != value}
    wrong |= {name: None for name in ("records-bytes", "records-crc64") if name not in metadata}
    if wrong:
        said = ", ".join(f"{name} {'is missing' if value is None else value}" for name, value in wrong.items())
        yield Finding(Kind.METADATA, file.key, said)
    meant = metadata.get("content-crc64")
    if meant is not None and meant != str(head.crc64):
        yield Finding(Kind.CRC64, file.key, f"{head.crc64}, and it was written with {meant}")


def positions_in(store: ObjectStore, file: StoredFile) -> Iterator[Position]:
    """Where the messages of an object stand. Raises DamagedError, and as the store does."""
    for record in read_records(store.read(file.key), file.name.extension, file.key):
        yield position_of(record)


def is_damage(error: DestinationError) -> bool:
    """Whether an error is a matter of one object's content, and not of reaching the store."""
    return not isinstance(error, AccessError) and (
        isinstance(error, DamagedError) or "was damaged on its way" in str(error)
    )
