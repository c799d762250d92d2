"""Where the files of a partition are cut.

A pure function of the sequence of messages, of the seals between them and of what the destination already holds:
the cut depends on the count of messages and the bytes of their uncompressed records, never on batches, bundles
or retries. So a replay cuts alike, and gives equal names and equal bytes.

Beam's own triggers cannot do this: ``AfterCount`` means "at least", there is no trigger by size, and what a pane
holds depends on how the runner bundles.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from transforms.files.naming import QUARANTINE_LANE, StoredRun
from transforms.files.records import Records
from transforms.pulsar.positions import Position

#: Tells what the destination holds of a (window, lane): runs that do not overlap, in order.
Stored = Callable[[int, str], Sequence[StoredRun]]


@dataclass(frozen=True)
class Limits:
    """How large a file may get, counted in messages and in bytes of uncompressed records."""

    messages: int = 5_000
    bytes: int = 500_000_000


@dataclass(slots=True)
class OpenFile:
    """A file that is being gathered. Its records wait elsewhere, in pieces; this is all else that is known of it."""

    window: int
    lane: str
    header: bytes
    first: Position
    last: Position
    count: int = 0
    size: int = 0
    """Bytes of its uncompressed records."""
    first_time: int = 0
    last_time: int = 0
    """Smallest and largest publish time."""
    waiting: int = 0
    """Bytes of its records that are not packed yet."""
    packed: bytes = b""
    """Blocks that are compressed and not yet in a part."""
    packed_size: int = 0
    """Bytes of the file so far: in parts and in ``packed``."""
    packed_crc: int = 0
    records_crc: int = 0
    """CRC-64/XZ of the file so far, and of the uncompressed records in it."""
    parts: tuple[str, ...] = ()
    """Keys of the spooled parts."""
    begin: Position | None = None
    """A reader that starts here gets all of its messages, the first chunks of chunked ones too; None: not known."""

    @property
    def run(self) -> StoredRun:
        """The run of messages that the file holds."""
        return StoredRun(self.first, self.last, self.count)

    def take(self, records: Records) -> None:
        """Count records in that follow those already counted."""
        size, early, late = len(records.data), min(records.times), max(records.times)
        self.first_time = early if not self.count else min(self.first_time, early)
        self.last_time = late if not self.count else max(self.last_time, late)
        self.count += len(records)
        self.size += size
        self.waiting += size
        self.last = records.position(-1)


@dataclass(slots=True)
class FinishedFile:
    """A file that is cut, with the records that are not packed yet."""

    file: OpenFile
    pieces: list[Records]


@dataclass(slots=True)
class PartitionFiles:
    """All that is known of one partition: its open files, and what went through so far."""

    files: dict[tuple[int, str], OpenFile] = field(default_factory=dict)
    messages: int = 0
    bytes: int = 0
    """Messages that came, and the bytes of their records."""
    stored: int = 0
    """Of these, how many the destination held already."""
    quarantined: int = 0
    first: Position | None = None
    last: Position | None = None
    settled: Position | None = None
    """No message that is still to come begins before this; None: not known."""

    @property
    def done(self) -> Position | None:
        """Everything before this is in files that are cut; None: not known."""
        begins = [file.begin for file in self.files.values()]
        if self.settled is None or None in begins:
            return None
        return min([self.settled, *(begin for begin in begins if begin is not None)])

    def count(self, records: Records) -> None:
        """Count records that came."""
        self.messages += len(records)
        self.bytes += len(records.data)
        self.quarantined += len(records) if records.lane == QUARANTINE_LANE else 0
        first, last = records.position(0), records.position(-1)
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)


class Roller:
    """Cuts the files of one partition while records and seals go through.

    Works on ``state``. The records of open files are asked for by ``load`` only when a file is cut; until then new
    ones gather in ``added``. ``finished`` collects what was cut, in the order in which it must be written.
    """

    def __init__(
        self, state: PartitionFiles, limits: Limits, stored: Stored, load: Callable[[], Iterable[Records]]
    ) -> None:
        self._state = state
        self._limits = limits
        self._stored = stored
        self._load = load
        self._waiting: dict[tuple[int, str], list[Records]] | None = None
        self.added: list[Records] = []
        self.finished: list[FinishedFile] = []
        self.abandoned: tuple[str, ...] = ()
        """Spooled parts of files that turned out to be stored."""

    @property
    def kept(self) -> list[Records] | None:
        """All records that wait now, if those that waited before were asked for; else None: ``added`` came on top."""
        if self._waiting is None:
            return None
        return [piece for pieces in self._waiting.values() for piece in pieces] + self.added

    def add(self, records: Records) -> None:
        """Take records in that follow, in their (window, lane), all that came before."""
        self._state.count(records)
        self._place(records, self._state.settled)

    def _place(self, records: Records, source: Position | None) -> None:
        """Put into files what is not stored. ``source``: see ``OpenFile.begin``."""
        key = records.window, records.lane
        runs = self._stored(*key)
        begin, count = 0, len(records)
        while begin < count:
            end = count
            if runs:
                at = records.position(begin)
                run = next_run(runs, at)
                if run is not None and run.first <= at:
                    self._cut(key)
                    behind = records.place(run.last.next_message(), begin)
                    self._state.stored += behind - begin
                    begin = behind
                    continue
                file = self._state.files.get(key)
                if file is not None and any(file.last < stored.first <= at for stored in runs):
                    self._cut(key)
                end = count if run is None else records.place(run.first, begin)
            begin = self._fill(key, records, begin, end, source)

    def restore(self) -> None:
        """The state comes from a checkpoint: leave out of its open files what has been stored since then.

        What was cut since then holds all that an open file held at the checkpoint. Where somebody else's run begins
        or ends inside of an open file, that is cut there, unless records of it are packed already: then it stays whole,
        and overlaps the other one.
        """
        for key, file in list(self._state.files.items()):
            runs = [run for run in self._stored(*key) if run.first <= file.last and file.first <= run.last]
            whole = any(run.first <= file.first and file.last <= run.last for run in runs)
            if not runs or not (whole or file.waiting == file.size):
                continue
            pieces = self.pieces(key)
            self._drop(key)
            if whole:
                self._state.stored += file.count
                self.abandoned += file.parts
            else:
                for piece in pieces:
                    self._place(piece, file.begin)

    def seal(self, before: int, window_size: int) -> None:
        """Cut every file whose window ends at or before ``before`` (all times in milliseconds)."""
        for key in sorted(self._state.files, key=_order_of_lanes):
            if key[0] + window_size <= before:
                self._cut(key)

    def seal_ahead(self, now: int) -> None:
        """Cut every file whose window has not begun at ``now``: nobody waits until it ends, which may be in 2099.

        Its messages come from a clock that is ahead, or have such event times. While its file is open, nothing behind
        its first message can be acknowledged.
        """
        for key in sorted(self._state.files, key=_order_of_lanes):
            if key[0] > now:
                self._cut(key)

    def replace(self, key: tuple[int, str], pieces: list[Records]) -> None:
        """Put other pieces in the place of the records of an open file, some of which have been packed."""
        waiting = self._loaded()
        self.added = [piece for piece in self.added if (piece.window, piece.lane) != key]
        waiting[key] = pieces
        self._state.files[key].waiting = sum(len(piece.data) for piece in pieces)

    def pieces(self, key: tuple[int, str]) -> list[Records]:
        """The records of an open file that wait."""
        return self._loaded().get(key, []) + [piece for piece in self.added if (piece.window, piece.lane) == key]

    def _fill(self, key: tuple[int, str], records: Records, begin: int, end: int, source: Position | None) -> int:
        """Put as many records into the open file as fit, and cut it if it is full. Returns the place behind them."""
        file = self._state.files.get(key)
        if file is None:
            first = records.position(begin)
            file = OpenFile(*key, records.header, first, first, begin=source)
            self._state.files[key] = file
        ends = records.ends
        base = ends[begin - 1] if begin else 0
        last = min(end, begin + self._limits.messages - file.count)
        fitting = bisect_right(ends, base + self._limits.bytes - file.size, begin, last)
        if fitting == begin and not file.count:
            fitting = begin + 1  # a single record above the limit is alone in its file
        if fitting > begin:
            piece = records.slice(begin, fitting)
            file.take(piece)
            self.added.append(piece)
        if fitting < end or file.count >= self._limits.messages:
            self._cut(key)
        return fitting

    def _cut(self, key: tuple[int, str]) -> None:
        if key not in self._state.files:
            return
        # Whether a message is stored is read from the name of the file around it. So a message in quarantine
        # has to be written before that file is.
        if key[1] != QUARANTINE_LANE:
            self._cut((key[0], QUARANTINE_LANE))
        self.finished.append(FinishedFile(self._state.files[key], self.pieces(key)))
        self._drop(key)

    def _drop(self, key: tuple[int, str]) -> None:
        self._loaded().pop(key, None)
        self.added = [piece for piece in self.added if (piece.window, piece.lane) != key]
        del self._state.files[key]

    def _loaded(self) -> dict[tuple[int, str], list[Records]]:
        if self._waiting is None:
            self._waiting = {}
            for piece in self._load():
                self._waiting.setdefault((piece.window, piece.lane), []).append(piece)
        return self._waiting


def next_run(runs: Sequence[StoredRun], position: Position) -> StoredRun | None:
    """The first of the runs that does not end before ``position``."""
    place = bisect_left(runs, position, key=lambda run: run.last)
    return runs[place] if place < len(runs) else None


def merge_runs(runs: Iterable[StoredRun]) -> list[StoredRun]:
    """Runs in order, those that overlap or hold one another made one."""
    merged: list[StoredRun] = []
    for run in sorted(runs):
        if merged and run.first <= merged[-1].last:
            before = merged[-1]
            merged[-1] = StoredRun(before.first, max(before.last, run.last), before.messages + run.messages)
        else:
            merged.append(run)
    return merged


def in_order_of_messages(lanes: list[Records], indexes: Sequence[Sequence[int]]) -> list[Records]:
    """Split the lanes of one batch so that their pieces follow each other as the messages did.

    Needed where one of them is the quarantine, whose files are cut together with the files around them; were
    it added as a whole, before or behind, its cut would depend on the batch.
    """
    sequence = sorted((index, lane, place) for lane, places in enumerate(indexes) for place, index in enumerate(places))
    pieces: list[Records] = []
    start = 0
    for at in range(1, len(sequence) + 1):
        if at == len(sequence) or sequence[at][1] != sequence[start][1]:
            _, lane, place = sequence[start]
            pieces.append(lanes[lane].slice(place, place + at - start))
            start = at
    return pieces


def _order_of_lanes(key: tuple[int, str]) -> tuple[int, bool, str]:
    return key[0], key[1] != QUARANTINE_LANE, key[1]
