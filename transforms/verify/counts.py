"""How many messages runs have read, held against the counts in the names of objects.

A run says that it has read so many messages of a partition from one position to before another. The starts and stops of
all runs cut a partition into segments. A file that lies inside one counts with what its name says; one that lies across
a boundary is counted message by message. Memory: a few numbers for each partition of each run, none for files.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from transforms.cos.stored_files import StoredFile
from transforms.pulsar.positions import Position
from transforms.verify.findings import Finding, Kind
from transforms.verify.names import is_typed


class Series(NamedTuple):
    """Files of one partition that do not hold the same messages; another granularity or format is a second copy."""

    topic: str
    partition: int
    """0 also for a topic without partitions, as in names."""
    granularity: int
    format: str
    typed: bool
    """Written with ``--payload=value``."""

    def __str__(self) -> str:
        typed = ", --payload=value" if self.typed else ""
        return f"{self.topic}, partition {self.partition} ({self.granularity}s, {self.format}{typed})"


def series_of(file: StoredFile, topic: str) -> Series:
    """The series of a file of that topic."""
    return Series(topic, file.name.partition, file.name.granularity, file.name.format, is_typed(file))


class Stretch(NamedTuple):
    """What a run says that it has read: all from ``start`` to before ``stop``."""

    start: Position
    stop: Position
    messages: int
    source: str
    """Key of the run record or the manifest that says so."""
    compacted: bool = False
    """The run saw only the last message of each key; others may have been stored before."""

    def holds(self, found: int) -> bool:
        """Whether so many stored messages are as many as were read."""
        return found >= self.messages if self.compacted else found == self.messages


#: What one run says of a partition: one stretch if it has ended, else what it said from time to time, in that order.
#: A run that goes on has read messages that are not in files yet; then what it said earlier may be proved.
Said = Sequence[Stretch]


class Judged(NamedTuple):
    """A stretch without holes that runs have read, and what is stored of it."""

    series: Series
    start: Position
    stop: Position
    messages: int
    """As many are stored."""
    proved: bool
    """Whether that is as many as the runs have read."""


class Counts:
    """Counts the files of a backup into the stretches that its runs have read. Count all, then ask."""

    def __init__(self, said: Iterable[tuple[Series, Said]]) -> None:
        gathered: defaultdict[Series, list[Said]] = defaultdict(list)
        for series, of_run in said:
            gathered[series].append(of_run)
        self._series = {series: _Segments(of_runs) for series, of_runs in gathered.items()}

    def count(self, series: Series, file: StoredFile) -> bool:
        """Count a file by its name; False if it lies across a boundary, and its messages have to be counted."""
        return self._of(series).count_file(file)

    def count_messages(self, series: Series, file: StoredFile, positions: Iterable[Position]) -> None:
        """Count the messages of a file one by one."""
        segments = self._of(series)
        for position in positions:
            segments.add(position, 1, file.key)

    def findings(self) -> Iterator[Finding]:
        """What does not add up."""
        for series, segments in sorted(self._series.items(), key=lambda item: item[0]):
            yield from segments.findings(series)

    def judged(self) -> Iterator[Judged]:
        """All stretches, those that follow each other made one."""
        for series, segments in sorted(self._series.items(), key=lambda item: item[0]):
            yield from segments.judged(series)

    def _of(self, series: Series) -> _Segments:
        segments = self._series.get(series)
        if segments is None:
            segments = self._series[series] = _Segments([])
        return segments


class _Segments:
    """One partition, cut at the starts and stops of its stretches."""

    def __init__(self, said: list[Said]) -> None:
        self._said = said
        self._bounds = sorted({at for of_run in said for each in of_run for at in (each.start, each.stop)})
        # The segment behind boundary number n is number n + 1.
        self._counts = [0] * (len(self._bounds) + 1)
        self._files = [0] * (len(self._bounds) + 1)
        self._keys = [""] * (len(self._bounds) + 1)

    def count_file(self, file: StoredFile) -> bool:
        run = file.name.run
        if self._place(run.first) != self._place(run.last):
            return False
        self.add(run.first, run.messages, file.key)
        return True

    def add(self, position: Position, messages: int, key: str) -> None:
        at = self._place(position)
        self._counts[at] += messages
        self._files[at] += self._keys[at] != key
        self._keys[at] = key

    def findings(self, series: Series) -> Iterator[Finding]:
        sums = self._sums()
        for of_run in self._said:
            believed, found = self._believed(of_run, sums)
            if not believed.holds(found):
                kind = Kind.FEWER if found < believed.messages else Kind.MORE
                where = f"{series}: {found} messages from {believed.start} to before {believed.stop}"
                yield Finding(kind, believed.source, f"{where}, and {believed.messages} were read")
            elif believed != of_run[-1]:
                more = of_run[-1].messages - believed.messages
                what = f"{series}: {more} messages read behind {believed.stop}, not all of them stored yet"
                yield Finding(Kind.UNDER_WAY, of_run[-1].source, what)
        for at, held in enumerate(self._holders(sums)):
            if self._files[at] and not held:
                what = f"{series}: {self._files[at]} objects, {self._counts[at]} messages"
                yield Finding(Kind.UNPROVED, self._keys[at], f"{what}, this one the last of them")
        for before, after in pairwise(self._joined(sums)):
            yield Finding(Kind.BETWEEN, str(series), f"from {before.stop} to before {after.start}")

    def judged(self, series: Series) -> Iterator[Judged]:
        sums = self._sums()
        believed = [self._believed(of_run, sums) for of_run in self._said]
        wrong = sorted(each.start for each, found in believed if not each.holds(found) and each.start < each.stop)
        for whole in self._joined(sums):
            proved = bisect_left(wrong, whole.start) == bisect_left(wrong, whole.stop)
            yield Judged(series, whole.start, whole.stop, self._between(whole, sums), proved)

    def _place(self, position: Position) -> int:
        return bisect_right(self._bounds, position)

    def _sums(self) -> list[int]:
        return [0, *accumulate(self._counts)]

    def _between(self, stretch: Stretch, sums: list[int]) -> int:
        return sums[self._place(stretch.stop)] - sums[self._place(stretch.start)] if stretch.start < stretch.stop else 0

    def _believed(self, of_run: Said, sums: list[int]) -> tuple[Stretch, int]:
        """The longest that holds, or else the last; and how many messages are stored in it."""
        for each in reversed(of_run):
            found = self._between(each, sums)
            if each.holds(found):
                return each, found
        return of_run[-1], self._between(of_run[-1], sums)

    def _holders(self, sums: list[int]) -> list[int]:
        """How many stretches hold each segment."""
        steps = [0] * (len(self._bounds) + 2)
        for of_run in self._said:
            each, _ = self._believed(of_run, sums)
            if each.start < each.stop:
                steps[self._place(each.start)] += 1
                steps[self._place(each.stop)] -= 1
        return list(accumulate(steps))[: len(self._counts)]

    def _joined(self, sums: list[int]) -> list[Stretch]:
        """Stretches that overlap or follow each other made one."""
        joined: list[Stretch] = []
        for each in sorted(self._believed(of_run, sums)[0] for of_run in self._said):
            if each.start >= each.stop:
                continue
            if joined and each.start <= _behind(joined[-1].stop):
                joined[-1] = joined[-1]._replace(stop=max(joined[-1].stop, each.stop))
            else:
                joined.append(each)
        return joined


def _behind(stop: Position) -> Position:
    """Behind the whole entry: a run that ended behind a message of a batch has read the rest of it, if there is any."""
    return stop.next_entry() if stop.batch else stop
