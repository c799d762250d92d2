"""What of a backup is restored: decided by the names of its objects where they tell, by the records where not."""

from __future__ import annotations

from dataclasses import dataclass

from transforms.files.decode import Record, position_of
from transforms.files.naming import FileName
from transforms.pulsar.points import EARLIEST_POINT, NOW, Point


@dataclass(frozen=True, slots=True)
class Selection:
    """The messages that pass all of it. Picklable.

    ``start`` and ``end`` are publish times or message ids, as with a backup: from the start on, up to before a time, up
    to and with an id. Windows are chosen by where they start: from ``window_start`` up to before ``window_end``,
    milliseconds. ``partitions`` are indexes, 0 also for a topic without any; ``keys`` are those of messages.
    """

    start: Point = EARLIEST_POINT
    end: Point = NOW
    partitions: frozenset[int] | None = None
    keys: frozenset[str] | None = None
    window_start: int | None = None
    window_end: int | None = None

    def takes_file(self, name: FileName) -> bool:
        """Whether an object of this name may hold any of them."""
        if self.partitions is not None and name.partition not in self.partitions:
            return False
        if self.window_start is not None and name.window < self.window_start:
            return False
        if self.window_end is not None and name.window >= self.window_end:
            return False
        if self.start.message is not None and name.run.last < self.start.message:
            return False
        return self.end.behind is None or name.run.first < self.end.behind

    def takes(self, record: Record) -> bool:
        """Whether a record of such an object is one of them."""
        if self.start.message is not None and position_of(record) < self.start.message:
            return False
        if self.end.behind is not None and position_of(record) >= self.end.behind:
            return False
        if self.start.time is not None and record["publish_time"] < self.start.time:
            return False
        if self.end.time is not None and record["publish_time"] >= self.end.time:
            return False
        return self.keys is None or record["key"] in self.keys
