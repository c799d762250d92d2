"""What a run has done: for a person, and as JSON for a script."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.results import RunResults
from pipelines.sizes import human_size
from transforms.errors import ConfigurationError
from transforms.pulsar.positions import Position
from transforms.pulsar.request import Resolution


@dataclass(slots=True)
class PartitionSummary:
    """One partition. Positions are written ``ledger:entry:batch``."""

    partition: str
    start: str
    stop: str
    """The stretch that was asked for: from ``start`` up to before ``stop``."""
    first: str | None = None
    last: str | None = None
    """First and last message that were read."""
    messages: int = 0
    record_bytes: int = 0
    """Bytes of the uncompressed records."""
    already_stored: int = 0
    """Messages that the destination held before, and that were not written again."""
    quarantined: int = 0
    files: int = 0
    file_bytes: int = 0
    """Objects that this run wrote, and their sizes."""
    gaps: list[dict[str, str | bool]] = field(default_factory=list)
    """What the broker had deleted: from ``start`` up to before ``stop``; ``certain`` or only possible."""
    acknowledged_before: str | None = None
    """The subscription was moved to here; None: it was not."""


@dataclass(slots=True)
class Summary:
    """A whole run."""

    run: str
    destination: str
    started: str
    finished: str
    seconds: float
    messages: int
    record_bytes: int
    already_stored: int
    quarantined: int
    files: int
    file_bytes: int
    partitions: list[PartitionSummary]
    warnings: list[str]


def summarize(
    run: str,
    destination: str,
    started: datetime,
    finished: datetime,
    resolution: Resolution,
    results: RunResults,
) -> Summary:
    """Put together what is known of a run that has ended well."""
    partitions = []
    for part in resolution.ranges:
        name = part.partition.name
        summary = PartitionSummary(name, str(part.start), str(part.stop))
        report, written = results.partitions.get(name), results.written.get(name)
        if report is not None:
            summary.first, summary.last = _text(report.first), _text(report.last)
            summary.messages, summary.record_bytes = report.messages, report.record_bytes
            summary.already_stored, summary.quarantined = report.stored, report.quarantined
        if written is not None:
            summary.files, summary.file_bytes = written.files, written.bytes
        summary.gaps = [
            {"start": str(gap.start), "stop": str(gap.stop), "certain": gap.certain}
            for gap in sorted({*resolution.gaps, *results.gaps}, key=lambda gap: gap.start)
            if gap.partition == part.partition
        ]
        partitions.append(summary)

    def total(name: str) -> int:
        return sum(getattr(part, name) for part in partitions)

    return Summary(
        run=run,
        destination=destination,
        started=started.isoformat(timespec="milliseconds"),
        finished=finished.isoformat(timespec="milliseconds"),
        seconds=round((finished - started).total_seconds(), 3),
        messages=total("messages"),
        record_bytes=total("record_bytes"),
        already_stored=total("already_stored"),
        quarantined=total("quarantined"),
        files=total("files"),
        file_bytes=total("file_bytes"),
        partitions=partitions,
        warnings=list(resolution.warnings),
    )


def summary_json(summary: Summary, indent: int | None = None) -> str:
    """The summary as a JSON object; without ``indent`` on one line."""
    return json.dumps(asdict(summary), indent=indent, ensure_ascii=False)


def check_summary_file(path: str) -> None:
    """Raise ConfigurationError where a summary could not be written there; leaves nothing behind."""
    if not path.strip():
        return  # Told with other empty options.
    if Path(path).is_dir():
        raise ConfigurationError(f"--summary_file={path}: is a folder. Name a file in it.")
    with _written(path, ""):
        pass


def write_result(text: str, path: str) -> None:
    """Write ``--summary_file``, whole or not at all. Raises ConfigurationError where it cannot be written."""
    with _written(path, text + "\n") as unfinished:
        unfinished.replace(path)


@contextmanager
def _written(path: str, text: str) -> Iterator[Path]:
    """Give a file beside ``path``, which is gone in the end."""
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            unfinished.write_text(text, encoding="utf-8")
            yield unfinished
        finally:
            unfinished.unlink(missing_ok=True)
    except FileNotFoundError:
        raise ConfigurationError(
            f"--summary_file={path}: there is no folder {target.parent}. Create it, or name another one."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"--summary_file={path}: cannot be written ({error.strerror}). Name a file in a folder that this user may "
            "write to."
        ) from None


def print_summary(summary: Summary, console: Console) -> None:
    """A table, one row a partition, and the totals."""
    table = Table(title=f"Backup to {summary.destination}", title_justify="left")
    table.add_column("partition", overflow="fold")
    for column in ("messages", "already stored", "files", "size", "first", "last"):
        table.add_column(column, justify="right")
    for part in summary.partitions:
        table.add_row(
            part.partition.removeprefix("persistent://"),
            f"{part.messages:,}",
            f"{part.already_stored:,}",
            f"{part.files:,}",
            human_size(part.file_bytes),
            part.first or "–",
            part.last or "–",
        )
    if len(summary.partitions) > 1:
        table.add_section()
        table.add_row(
            "all",
            f"{summary.messages:,}",
            f"{summary.already_stored:,}",
            f"{summary.files:,}",
            human_size(summary.file_bytes),
        )
    console.print(table)
    rate = summary.messages / summary.seconds if summary.seconds else 0.0
    console.print(f"{summary.messages:,} messages in {summary.seconds:.1f} s ({rate:,.0f}/s).")
    if summary.quarantined:
        console.print(f"{summary.quarantined:,} messages do not fit their schema; they stand under _quarantine/.")
    for part in summary.partitions:
        for gap in part.gaps:
            word = "GAP" if gap["certain"] else "POSSIBLE GAP"
            console.print(f"{word}: {part.partition} from {gap['start']} up to before {gap['stop']}.")


def _text(position: Position | Sequence[int] | None) -> str | None:
    return None if position is None else str(Position(*position))
