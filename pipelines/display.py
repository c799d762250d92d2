"""Progress while a local run works: live lines on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines import signals
from pipelines.meanwhile import meanwhile
from pipelines.sizes import human_size
from pipelines.terminal import console
from transforms.progress import PartitionProgress, Progress
from transforms.pulsar.restriction import PartitionRange

_LINE_SECONDS = 10.0
_REFRESH_SECONDS = 0.25
#: That a sentence names, at most.
_MOST_PARTITIONS = 8

#: A table that goes into a file or a pipe does not fold the names of topics.
_PIPED_WIDTH = 160

_log = logging.getLogger(__name__)


def result_console() -> Console:
    """Stdout, for the result."""
    return console(piped_width=_PIPED_WIDTH)


def progress_console() -> Console:
    """Stderr, for the progress."""
    return console(stderr=True)


@contextmanager
def shown(
    progress: Progress, ranges: list[PartitionRange], place: Console, *, live: bool = True, files: bool = True
) -> Iterator[None]:
    """Show progress as long as the body runs: a table on a terminal, or log lines where it is none or not ``live``.

    ``files``: whether any are written.
    """
    view = _View(progress, ranges, files)
    if live and place.is_terminal and not place.is_dumb_terminal:
        display = Live(
            get_renderable=view.picture, console=place, refresh_per_second=1 / _REFRESH_SECONDS, transient=True
        )
        with display, signals.ended_by(lambda _sentence, _code: display.stop()):
            yield
        return

    with meanwhile(lambda: _log.info("%s", view.line(), extra={"fields": view.fields()}), _LINE_SECONDS):
        yield


class _View:
    def __init__(self, progress: Progress, ranges: list[PartitionRange], files: bool = True) -> None:
        self._progress = progress
        self._files = files
        self._ranges = ranges
        self._started = time.monotonic()

    def line(self) -> str:
        messages, size = self._totals()
        done = sum(1 for each in self._ranges if self._at(each).done)
        rate = messages / max(time.monotonic() - self._started, 0.001)
        files = f"{self._progress.files:,} files written, " if self._files else ""
        return (
            f"{messages:,} messages, {human_size(size)} read ({rate:,.0f}/s), {files}"
            f"{done} of {len(self._ranges)} partitions done"
        )

    def fields(self) -> dict[str, int]:
        """The same for a program."""
        messages, size = self._totals()
        done = sum(1 for each in self._ranges if self._at(each).done)
        return {"messages": messages, "bytes": size, "files": self._progress.files, "partitions_done": done}

    def picture(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for column in ("partition", "messages", "at", "published", "left"):
            table.add_column(column, justify="left" if column == "partition" else "right")
        for each in self._ranges[:20]:
            at = self._at(each)
            table.add_row(
                each.partition.name.removeprefix("persistent://"),
                f"{at.messages:,}",
                str(at.position or each.start),
                _clock(at.publish_time),
                left(each, at),
            )
        return Group(table, Text(self.line()))

    def _at(self, each: PartitionRange) -> PartitionProgress:
        return self._progress.partitions.get(each.partition) or PartitionProgress()

    def _totals(self) -> tuple[int, int]:
        parts = [self._at(each) for each in self._ranges]
        return sum(part.messages for part in parts), sum(part.bytes for part in parts)


def left(each: PartitionRange, at: PartitionProgress) -> str:
    """How much of a partition is left: entries, if it ends in the ledger that is read; else the ledger it ends in."""
    position = at.position or each.start
    if at.done or position >= each.stop:
        return "done"
    if position.ledger == each.stop.ledger:
        return f"{each.stop.entry - position.entry:,} entries"
    return f"up to ledger {each.stop.ledger}"


def stopped_reading(progress: Progress, ranges: Sequence[PartitionRange]) -> str:
    """Where a run stands that is ended while it reads, behind "interrupted"."""
    open_ranges = []
    complete = 0
    for each in ranges:
        at = progress.partitions.get(each.partition) or PartitionProgress()
        if at.done:
            complete += 1
        else:
            name = each.partition.name.removeprefix("persistent://")
            open_ranges.append(f"{name} read up to {at.position or each.start}, of {each.stop}")
    shown_here = open_ranges[:_MOST_PARTITIONS]
    if len(open_ranges) > len(shown_here):
        shown_here.append(f"{len(open_ranges) - len(shown_here)} more partitions not read to their end")
    if complete:
        shown_here.append(f"{complete} of {len(ranges)} partitions read to the end")
    return (
        f"while reading, with {_objects(progress.files)} written: {'; '.join(shown_here)}; nothing was acknowledged. "
        "Run it again to complete it."
    )


def stopped_acknowledging(files: int, partitions: int, done: Sequence[object]) -> str:
    """Where a run stands that is ended behind its reading, behind "interrupted"."""
    subscription = f"; the subscription was moved in {len(done)} of {partitions} partitions" if partitions else ""
    return (
        f"when all was stored, with {_objects(files)} written{subscription}. Run it again for its result; nothing is "
        "written twice."
    )


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"


def _clock(time_ms: int | None) -> str:
    if time_ms is None:
        return "–"
    return datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
