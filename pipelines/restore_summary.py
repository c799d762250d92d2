"""What a restore has done, or would do: for a person, and as JSON for a script."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from rich.console import Console
from rich.table import Table

from pipelines.restore_options import RestoreConfig
from pipelines.sizes import human_size
from transforms.restore.plan import RestorePlan
from transforms.restore.write import PartitionRestored

EXACTLY_ONCE = "exactly once: the broker deduplicates, and knows what it has of this restore"
BY_ORIGIN = (
    "exactly once, as far as the target tells by the origin of its messages; what is deleted from it while a restore "
    "is broken off would come again"
)
AT_LEAST_ONCE = (
    "at least once: without deduplication and without origin, a restore that is started again sends all again"
)


@dataclass(slots=True)
class RouteSummary:
    """What went from one partition of the backup to one of the target. Times are milliseconds since 1970."""

    source: str
    target: str
    messages: int
    """All of them, also those that were there before."""
    already_there: int
    bytes: int
    first_publish_time: int | None
    last_publish_time: int | None
    """The original ones, the earliest and the latest."""


@dataclass(slots=True)
class RestoreSummary:
    """A whole restore."""

    run: str
    restore: str
    """Its name, which producers and messages carry; equal when it is started again."""
    dry_run: bool
    backup: str
    topic: str
    target_topic: str
    format: str
    routing: str
    guarantee: str
    started: str
    finished: str
    seconds: float
    objects: int
    messages: int
    already_there: int
    bytes: int
    re_encoded: int
    """Messages whose payloads are equal as values, and perhaps not as bytes."""
    doubtful: int
    """Messages that may stand twice."""
    unrestorable: dict[str, int]
    """What was left out, by reason."""
    routes: list[RouteSummary]
    object_names: list[str]
    """Of a dry run: what it has read."""


def summarize(
    run: str,
    restore: str,
    config: RestoreConfig,
    plan: RestorePlan,
    routing: str,
    results: Sequence[PartitionRestored],
    started: datetime,
) -> RestoreSummary:
    """Put together what is known of a restore that has ended well."""
    finished = datetime.now(timezone.utc)
    routes = [
        RouteSummary(each.partition, to.partition, to.messages, to.already, to.bytes, to.first_time, to.last_time)
        for each in sorted(results, key=lambda each: each.partition)
        for to in each.targets
    ]
    reasons: Counter[str] = Counter()
    for each in results:
        reasons.update(dict(each.unrestorable))
    targets = [to for each in results for to in each.targets]
    return RestoreSummary(
        run=run,
        restore=restore,
        dry_run=config.dry_run,
        backup=config.backup.url,
        topic=plan.topic,
        target_topic=config.target_topic,
        format=plan.format,
        routing=routing,
        guarantee=guarantee(all(to.deduplicates for to in targets), config.origin),
        started=started.isoformat(timespec="milliseconds"),
        finished=finished.isoformat(timespec="milliseconds"),
        seconds=round((finished - started).total_seconds(), 3),
        objects=sum(each.objects for each in results),
        messages=sum(to.messages for to in targets),
        already_there=sum(to.already for to in targets),
        bytes=sum(to.bytes for to in targets),
        re_encoded=sum(each.re_encoded for each in results),
        doubtful=sum(to.doubtful for to in targets),
        unrestorable=dict(sorted(reasons.items())),
        routes=routes,
        object_names=[one.key for each in plan.partitions for one in each.objects] if config.dry_run else [],
    )


def guarantee(deduplicates: bool, origin: bool) -> str:
    """What holds for a restore that is broken off and started again, in a sentence."""
    return EXACTLY_ONCE if deduplicates else BY_ORIGIN if origin else AT_LEAST_ONCE


def summary_json(summary: RestoreSummary, indent: int | None = None) -> str:
    """The summary as a JSON object; without ``indent`` on one line."""
    return json.dumps(asdict(summary), indent=indent, ensure_ascii=False)


def print_summary(summary: RestoreSummary, console: Console) -> None:
    """A table, one row for each pair of partitions, and the totals."""
    would = "Would be restored" if summary.dry_run else "Restored"
    table = Table(title=f"{would} from {summary.backup}", title_justify="left")
    table.add_column("from", overflow="fold")
    table.add_column("to", overflow="fold")
    for column in ("messages", "already there", "size", "first published", "last published"):
        table.add_column(column, justify="right")
    for each in summary.routes:
        table.add_row(
            each.source.removeprefix("persistent://"),
            each.target.removeprefix("persistent://"),
            f"{each.messages:,}",
            f"{each.already_there:,}",
            human_size(each.bytes),
            _clock(each.first_publish_time),
            _clock(each.last_publish_time),
        )
    console.print(table)
    rate = summary.messages / summary.seconds if summary.seconds else 0.0
    done = "would be sent" if summary.dry_run else "restored"
    console.print(
        f"{summary.messages:,} messages of {summary.objects:,} objects {done} in {summary.seconds:.1f} s "
        f"({rate:,.0f}/s)."
    )
    for reason, count in summary.unrestorable.items():
        left = "cannot be restored as they were" if summary.dry_run else "were left out"
        console.print(f"{count:,} messages {left}: {reason}.")
    if summary.re_encoded:
        console.print(f"{summary.re_encoded:,} payloads are equal as values, and perhaps not byte for byte.")
    if summary.doubtful:
        console.print(f"{summary.doubtful:,} messages may stand twice: a connection broke off behind them.")
    if summary.dry_run:
        for name in summary.object_names:
            console.print(f"  {name}", soft_wrap=True)
        console.print("Nothing was created or sent.")
    else:
        console.print(f"If it had been broken off and started again: {summary.guarantee}.")


def _clock(time_ms: int | None) -> str:
    if time_ms is None:
        return "–"
    try:
        return datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return str(time_ms)
