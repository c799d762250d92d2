"""When a window of a topic is complete: all its partitions have come past its end.

What is known of a topic's partitions is told piece by piece, in any order and perhaps more than once; from it follows
which windows may get their manifest. Pure, and light: positions and starts of windows, never messages. The encodings
below are a contract, as those of elements are: they wait in a runner's state while a job is upgraded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from transforms.files.manifest import GapFound, PartitionRead
from transforms.pulsar.messages import FOREVER, NO_WINDOW
from transforms.pulsar.positions import Position

_VERSION = 1


class FileFacts(NamedTuple):
    """What the name of a file does not say of it."""

    key: str
    bytes: int
    crc64: int
    first_time: int
    last_time: int
    """Smallest and largest publish time of its messages."""


@dataclass(frozen=True, slots=True)
class Exists:
    """Partitions of a topic: their indexes (-1 for a topic without), and from where they are read."""

    starts: tuple[tuple[int, Position], ...]
    empty: frozenset[int] = frozenset()
    """Those of which nothing will be read."""


@dataclass(slots=True)
class Came:
    """How far a partition has come, told when all files that were cut on the way stand complete."""

    index: int
    sealed: int = NO_WINDOW
    """No file of a window that ends at or before this (milliseconds) is open."""
    last: Position | None = None
    messages: int = 0
    """The last message that came, and how many have come since the run began."""
    windows: set[int] = field(default_factory=set)
    """Starts of windows whose messages came and stand in files now, written by this run or there before."""
    files: list[FileFacts] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GapTold:
    """The broker had deleted messages."""

    index: int
    start: Position
    stop: Position
    certain: bool


Told = Exists | Came | GapTold


@dataclass(slots=True)
class _Partition:
    start: Position | None = None
    """None: nobody has told yet that it exists."""
    sealed: int = NO_WINDOW
    last: Position | None = None
    messages: int = 0


class TopicWindows:
    """What is known of a topic; ``take`` what is told, then ask what is ``ready``."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._waiting: set[int] = set()
        self._complete = NO_WINDOW
        self.gaps: tuple[GapTold, ...] = ()
        """Those that stand in no manifest yet; whoever has written them down empties it."""

    @property
    def complete(self) -> int:
        """Windows that end at or before this are complete over all partitions that are known to exist."""
        known = [each.sealed for each in self._partitions.values() if each.start is not None]
        # Before anybody has told which partitions there are, one that has come far says nothing of the others.
        return min(known, default=NO_WINDOW)

    @property
    def waiting(self) -> Collection[int]:
        """Starts of windows that may have files which no manifest names."""
        return self._waiting

    @property
    def begins(self) -> bool:
        """Whether the first windows are about to be given.

        Others may wait for a manifest then as well, if a job ended a while ago and left no state.
        """
        return self._complete == NO_WINDOW < self.complete

    def add(self, windows: Iterable[int]) -> None:
        """More windows that may have files which no manifest names."""
        self._waiting.update(windows)

    def take(self, told: Told) -> None:
        """Take in what is told; what was told before changes nothing."""
        match told:
            case Exists():
                for index, start in told.starts:
                    partition = self._partitions.setdefault(index, _Partition())
                    partition.start = start if partition.start is None else partition.start
                    partition.sealed = FOREVER if index in told.empty else partition.sealed
            case Came():
                partition = self._partitions.setdefault(told.index, _Partition())
                partition.sealed = max(partition.sealed, told.sealed)
                if told.messages >= partition.messages:
                    partition.last, partition.messages = told.last, told.messages
                self._waiting |= told.windows
            case GapTold():
                if told not in self.gaps:
                    self.gaps += (told,)

    def ready(self, size: int, *, late_at_end: bool, at_least: int = 1) -> list[int]:
        """Starts of the windows, ``size`` milliseconds long, whose manifest may be written now; each is given once.

        Only when a further window is complete over all partitions, so that what comes late waits for company. With
        ``late_at_end`` windows that were given before, or could have been, wait until all is read; and less than
        ``at_least`` wait until then, or for more.
        """
        before, complete = self._complete, self.complete
        if complete <= before:
            return []
        wait = late_at_end and complete < FOREVER
        late = before if wait else NO_WINDOW
        found = sorted(window for window in self._waiting if late < window + size <= complete)
        if wait and len(found) < at_least:
            return []
        self._complete = complete
        self._waiting.difference_update(found)
        return found

    def read(self, topic: str) -> tuple[PartitionRead, ...]:
        """Up to where each partition has been read, behind the last message that came."""
        return tuple(
            PartitionRead(
                topic=topic,
                partition=index,
                start=each.start,
                stop=each.start if each.last is None else each.last.next_message(),
                messages=each.messages,
            )
            for index, each in sorted(self._partitions.items())
            if each.start is not None
        )

    @property
    def unpartitioned(self) -> bool:
        """Whether it is a topic without partitions."""
        return -1 in self._partitions

    def to_bytes(self) -> bytes:
        """The stable encoding, as JSON."""
        partitions = [
            [index, each.start, each.sealed, each.last, each.messages]
            for index, each in sorted(self._partitions.items())
        ]
        gaps = [[gap.index, gap.start, gap.stop, gap.certain] for gap in self.gaps]
        return orjson.dumps([_VERSION, partitions, sorted(self._waiting), self._complete, gaps], default=list)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> TopicWindows:
        """Decode what ``to_bytes`` gave. Raises ValueError for anything else."""
        try:
            version, *values = orjson.loads(encoded)
            _require_version(version)
            partitions, waiting, complete, gaps = values
            made = cls()
            made._partitions = {
                index: _Partition(_position(start), sealed, _position(last), messages)
                for index, start, sealed, last, messages in partitions
            }
            made._waiting = set(waiting)
            made._complete = complete
            made.gaps = tuple(GapTold(index, Position(*a), Position(*b), certain) for index, a, b, certain in gaps)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"state that was not written by this job: {error!r}") from error
        return made


def gaps_found(topic: str, gaps: Iterable[GapTold]) -> tuple[GapFound, ...]:
    """As they stand in a manifest."""
    return tuple(
        GapFound(topic=topic, partition=gap.index, start=gap.start, stop=gap.stop, certain=gap.certain) for gap in gaps
    )


def encode_told(told: Told) -> bytes:
    """The stable encoding of what is told, as JSON."""
    values: list[Any]
    match told:
        case Exists():
            values = ["exists", told.starts, sorted(told.empty)]
        case Came():
            values = ["came", told.index, told.sealed, told.last, told.messages, sorted(told.windows), told.files]
        case GapTold():
            values = ["gap", told.index, told.start, told.stop, told.certain]
    return orjson.dumps([_VERSION, *values], default=list)


def decode_told(encoded: bytes) -> Told:
    """Decode what ``encode_told`` gave. Raises ValueError for anything else."""
    try:
        version, kind, *values = orjson.loads(encoded)
        _require_version(version)
        if kind == "exists":
            starts, empty = values
            return Exists(tuple((index, Position(*start)) for index, start in starts), frozenset(empty))
        if kind == "came":
            index, sealed, last, messages, windows, files = values
            return Came(index, sealed, _position(last), messages, set(windows), [FileFacts(*each) for each in files])
        if kind == "gap":
            index, start, stop, certain = values
            return GapTold(index, Position(*start), Position(*stop), certain)
    except TypeError as error:
        raise ValueError(f"an element that was not written by this job: {error!r}") from error
    raise ValueError(f"an element of the kind {kind!r}")


def _require_version(version: object) -> None:
    if version != _VERSION:
        raise ValueError(f"an encoding of number {version}; this build reads {_VERSION}")


def _position(value: list[int] | None) -> Position | None:
    return None if value is None else Position(*value)
