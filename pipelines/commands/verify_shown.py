"""What ``verify`` shows: its progress, and its result for people and for programs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines import signals
from pipelines.logs import cleaned
from pipelines.meanwhile import meanwhile
from pipelines.sizes import human_size
from pipelines.verify import Progress, Verified, VerifyOptions
from transforms.verify.findings import Kind

_LINE_SECONDS = 10.0
_REFRESH_SECONDS = 0.25
#: Rows of a table for people, at most.
_MOST_ROWS = 200

_log = logging.getLogger("pipelines.verify")


@contextmanager
def shown(progress: Progress, place: Console) -> Iterator[None]:
    """Show progress as long as the body runs: a live line on a terminal, else a log line now and then."""
    began = time.monotonic()

    def line() -> str:
        rate = progress.bytes / max(time.monotonic() - began, 0.001)
        read = f", {human_size(progress.bytes)} read ({human_size(rate)}/s)" if progress.bytes else ""
        counted = f", {progress.counted:,} counted" if progress.counted else ""
        return f"{progress.stage}: {progress.objects:,} objects of {progress.windows:,} windows{read}{counted}"

    if place.is_terminal and not place.is_dumb_terminal:
        live = Live(
            get_renderable=lambda: Text(line()), console=place, refresh_per_second=1 / _REFRESH_SECONDS, transient=True
        )
        with live, signals.ended_by(lambda _sentence, _code: live.stop()):
            yield
        return
    with meanwhile(lambda: _log.info("%s", line()), _LINE_SECONDS):
        yield


def print_verified(found: Verified, url: str, options: VerifyOptions, place: Console) -> None:
    """For people: what there is, what is proved, and what was found with its cure."""
    place.print(
        f"{cleaned(url)}: {found.objects:,} objects, {human_size(found.bytes)}, {found.messages:,} messages in "
        f"{found.windows:,} windows; {found.manifests:,} manifests, {found.records:,} run records.",
        soft_wrap=True,
    )
    place.print(f"Looked at: {', '.join(_looked_at(found, options))}.", soft_wrap=True)
    if found.stretches:
        place.print(_stretches(found))
    if found.compared:
        place.print(_compared(found))
    for kind in (kind for notes in (False, True) for kind in Kind if found.findings.is_note(kind) == notes):
        _print_kind(kind, found, place)
    against = found.findings.against
    kinds = sum(1 for kind, count in found.findings.counts.items() if count and not found.findings.is_note(kind))
    if found.proved:
        place.print(f"PROVED: all {found.messages:,} messages are where they belong.")
    else:
        place.print(
            f"NOT PROVED: {against:,} {'finding' if against == 1 else 'findings'} of {kinds} "
            f"{'kind' if kinds == 1 else 'kinds'}."
        )


def _looked_at(found: Verified, options: VerifyOptions) -> Iterator[str]:
    yield "names, manifests, run records"
    if found.summed:
        yield f"CRC64 and metadata of {found.summed:,} objects, as the store has them"
    if options.deep:
        yield "contents"
    elif found.across:
        yield f"contents of {found.across:,} objects that lie across the end of a run"
    if options.against is not None:
        yield "what the broker holds"
    if not options.deep:
        yield "not contents (--deep)"


def _stretches(found: Verified) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("partition", overflow="fold")
    for column in ("from", "to before", "messages", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for each in found.stretches[:_MOST_ROWS]:
        name = str(each.series).removeprefix("persistent://")
        state = "proved" if each.proved else "NOT PROVED"
        table.add_row(name, str(each.start), str(each.stop), f"{each.messages:,}", state)
    if len(found.stretches) > _MOST_ROWS:
        table.add_row(f"… {len(found.stretches) - _MOST_ROWS:,} more (--json has all)", "", "", "", "")
    return table


def _compared(found: Verified) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("held by the broker", overflow="fold")
    for column in (
        "from",
        "to before",
        "both",
        "not stored",
        "not held",
        "not backed up yet",
        "older",
        "not held any more",
    ):
        table.add_column(column, justify="right")
    columns = (None, Kind.NOT_STORED, Kind.NOT_HELD, Kind.BEHIND, Kind.OLDER, Kind.TRIMMED)
    for each in found.compared[:_MOST_ROWS]:
        counts = [f"{each.counts[kind]:,}" for kind in columns]
        name = each.partition.removeprefix("persistent://")
        table.add_row(name, str(each.span.start), str(each.span.stop), *counts)
    return table


def _print_kind(kind: Kind, found: Verified, place: Console) -> None:
    count = found.findings.counts[kind]
    if not count:
        return
    word = "note" if found.findings.is_note(kind) else "FOUND"
    place.print(f"{word} {kind.label} ({count:,}): {kind.sentence}", soft_wrap=True)
    kept = found.findings.kept(kind)
    for each in kept:
        said = f"  {each.key}: {each.what}" if each.what else f"  {each.key}"
        # A file system takes names that are no text.
        place.print(cleaned(said.encode(errors="backslashreplace").decode()), soft_wrap=True)
    if count > len(kept):
        place.print(f"  … and {count - len(kept):,} more; --all shows them.")
    if kind.cure:
        place.print(f"  → {kind.cure}", soft_wrap=True)


def verified_json(found: Verified, url: str, options: VerifyOptions) -> str:
    """For programs; the names are documented in the README, and a contract."""
    document: dict[str, Any] = {
        "backup": url,
        "proved": found.proved,
        "looked_at": {
            "heads": found.summed,
            "contents": options.deep,
            "broker": options.against is not None,
        },
        "objects": found.objects,
        "bytes": found.bytes,
        "messages": found.messages,
        "windows": found.windows,
        "manifests": found.manifests,
        "run_records": found.records,
        "counted_one_by_one": found.across,
        "stretches": [
            {
                "topic": each.series.topic,
                "partition": each.series.partition,
                "granularity": each.series.granularity,
                "format": each.series.format,
                "payload_value": each.series.typed,
                "start": str(each.start),
                "stop": str(each.stop),
                "messages": each.messages,
                "proved": each.proved,
            }
            for each in found.stretches
        ],
        "compared": [
            {
                "partition": each.partition,
                "start": str(each.span.start),
                "stop": str(each.span.stop),
                "both": each.counts[None],
                **{
                    kind.label.replace("-", "_"): each.counts[kind]
                    for kind in (Kind.NOT_STORED, Kind.NOT_HELD, Kind.BEHIND, Kind.OLDER, Kind.TRIMMED)
                },
            }
            for each in found.compared
        ],
        "counts": {kind.label: count for kind, count in found.findings.counts.items()},
        "findings": [
            {"kind": kind.label, "note": found.findings.is_note(kind), "key": each.key, "what": each.what}
            for kind in Kind
            for each in found.findings.kept(kind)
        ],
    }
    return json.dumps(document, indent=1)
