"""The message ids that a broker holds of a partition, held against those that are stored.

Both come in the order of the partition, so that neither has to be held. Memory: the names of the objects that hold what
the broker still has, and a block of each that is open at a time.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from transforms.cos.store import ObjectStore
from transforms.cos.stored_files import StoredFile
from transforms.errors import DestinationError
from transforms.pulsar.positions import Position
from transforms.verify.contents import is_damage, positions_in
from transforms.verify.findings import Finding, Findings, Kind


class Span(NamedTuple):
    """From ``start`` to before ``stop``."""

    start: Position
    stop: Position


@dataclass
class Compared:
    """What came of comparing one partition."""

    partition: str
    """Full name."""
    span: Span
    """What the broker holds."""
    counts: Counter[Kind | None] = field(default_factory=Counter)
    """Messages; under None those that are both held and stored."""


class Comparison:
    """Compares one partition, and adds to ``findings`` each stretch of messages that only one side has."""

    def __init__(self, partition: str, span: Span, read: Iterable[Span], findings: Findings) -> None:
        """``read`` is what runs have read of the partition; what the broker holds of it should be stored."""
        self.result = Compared(partition, span)
        self._findings = findings
        self._read = _joined(read)
        self._starts = [each.start for each in self._read]
        self._kind: Kind | None = None
        self._first = self._last = span.start
        self._count = 0

    def run(self, held: Iterator[Position], stored: Iterator[Position]) -> Compared:
        """Go through both, which are in order and have each id once."""
        span = self.result.span
        here, there = next(held, None), next(stored, None)
        while here is not None or there is not None:
            if here is not None and here == there:
                self._note(None, here)
                here, there = next(held, None), next(stored, None)
            elif there is None or (here is not None and here < there):
                assert here is not None  # noqa: S101 - there is one of the two
                self._note(self._unstored(here), here)
                here = next(held, None)
            else:
                if there < span.start:
                    self._note(Kind.TRIMMED, there)
                elif there < span.stop:
                    self._note(Kind.NOT_HELD, there)
                there = next(stored, None)
        self._tell()
        return self.result

    def older(self, messages: int) -> None:
        """Count stored messages that come before all that the broker holds."""
        self.result.counts[Kind.TRIMMED] += messages

    def _unstored(self, position: Position) -> Kind:
        at = bisect_right(self._starts, position) - 1
        if at >= 0 and position < self._read[at].stop:
            return Kind.NOT_STORED
        return Kind.BEHIND if not self._read or position >= self._read[-1].stop else Kind.OLDER

    def _note(self, kind: Kind | None, position: Position) -> None:
        self.result.counts[kind] += 1
        if kind is not self._kind:
            self._tell()
            self._kind, self._first = kind, position
        self._last = position
        self._count += 1

    def _tell(self) -> None:
        if self._kind is not None and self._kind is not Kind.TRIMMED:
            what = f"{self._count} messages from {self._first} to {self._last}"
            self._findings.add(self._kind, self.result.partition, what)
        self._count = 0


def stored_positions(store: ObjectStore, files: Sequence[StoredFile], findings: Findings) -> Iterator[Position]:
    """All positions in objects of one partition, in order and each once. Objects that are damaged are found."""
    waiting = sorted(files, key=lambda file: file.name.run.first, reverse=True)
    open_files: list[tuple[Position, int, Iterator[Position]]] = []
    last: Position | None = None
    number = 0
    while waiting or open_files:
        while waiting and (not open_files or waiting[-1].name.run.first <= open_files[0][0]):
            positions = _undamaged(store, waiting.pop(), findings)
            first = next(positions, None)
            number += 1
            if first is not None:
                heapq.heappush(open_files, (first, number, positions))
        if not open_files:
            continue
        position, place, positions = open_files[0]
        if last is None or position > last:
            yield position
            last = position
        following = next(positions, None)
        if following is None:
            heapq.heappop(open_files)
        else:
            heapq.heapreplace(open_files, (following, place, positions))


def _undamaged(store: ObjectStore, file: StoredFile, findings: Findings) -> Iterator[Position]:
    try:
        yield from positions_in(store, file)
    except DestinationError as error:
        if not is_damage(error) and store.head(file.key) is not None:
            raise
        findings.extend([Finding(Kind.UNREADABLE, file.key, str(error))])


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for each in sorted(spans):
        if joined and each.start <= joined[-1].stop:
            joined[-1] = Span(joined[-1].start, max(joined[-1].stop, each.stop))
        else:
            joined.append(each)
    return joined
