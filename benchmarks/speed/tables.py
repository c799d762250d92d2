"""The figures as Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed.latency import GRANULARITY_SECONDS
from benchmarks.speed.measurements import LOOP, Measurement, Results
from benchmarks.speed.rows import Row, rows
from benchmarks.speed.ways import FLINK, LATENCY, NEWCOMER, PROFILE, SIZES

#: Of a core, from which on a thread counts as busy all the time; and from which on a process is told of.
_FULL, _WORTH_TELLING = 0.9, 0.05
#: From which on a figure needs no decimals.
_LARGE = 1_000


def tables(results: Results) -> str:
    """All of them, those of larger messages folded."""
    small, *larger = (_local(size, results.of(size)) for size in SIZES)
    folded = "\n".join(part for part in larger if part)
    if folded:
        folded = f"<details><summary>Messages of {' and of '.join([*SIZES][1:])}</summary>\n\n{folded}\n</details>\n"
    parts = [
        where(results.other.get(PROFILE, {})),
        small,
        _on_flink(results.of(FLINK)),
        latency(results.other.get(LATENCY, {})),
        folded,
    ]
    return "\n".join(part for part in parts if part)


def where(found: Mapping[str, Any]) -> str:
    """What is to be said of the drawing of the profile."""
    if not found:
        return ""
    shares = [each["not_attributed"] for each in found.values()]
    starts = [each["start_cpu"] for each in found.values()]
    return (
        "Where the time goes is from a profile of one process that writes into a folder: samples of each thread split "
        f"what the kernel says it used. {100 * min(shares):.1f} to {100 * max(shares):.1f} % are not attributed. Start "
        f"and end, {min(starts):.1f} to {max(starts):.1f} CPU seconds, are left out.\n"
    )


def _local(size: str, measured: Sequence[Measurement]) -> str:
    if not measured:
        return ""
    lines = [
        f"| {size} | CPU s per million | of the loop | start, CPU s | messages/s | without the start "
        "| peak RSS, MB | servers, CPU s per million | rounds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_line(row) for row in rows(measured)]
    return "\n".join(lines) + "\n" + _times_the_newcomer(measured)


def _line(row: Row) -> str:
    of_one = f" ({row.of_one_worker:.2f} of one worker)" if row.of_one_worker else ""
    peak = f"{row.peak_mb:,.0f}"
    if row.together_mb > row.peak_mb:
        peak += f" (together {row.together_mb:,.0f})"
    cells = [
        row.way,
        _number(row.cpu),
        f"{row.of_the_loop:.2f}{of_one}",
        f"{row.start_cpu:.1f}",
        f"{row.rate:,.0f}",
        f"{row.steady_rate:,.0f}",
        peak,
        _number(row.servers_cpu),
        str(row.rounds),
    ]
    return f"| {' | '.join(cells)} |"


def _times_the_newcomer(measured: Sequence[Measurement]) -> str:
    slow = {each.round: each.steady_rate for each in measured if each.way == NEWCOMER}
    ours: dict[str, list[float]] = {}
    for each in measured:
        if each.way not in (LOOP, NEWCOMER) and each.round in slow:
            ours.setdefault(each.way, []).append(each.steady_rate / slow[each.round])
    # Few messages may take no measurable time.
    medians = {way: found for way, ratios in ours.items() if math.isfinite(found := statistics.median(ratios))}
    if not medians:
        return ""
    least, most = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    return (
        f"\nWithout the start, our job is {medians[least]:.0f} ({least}) to {medians[most]:.0f} times ({most}) as fast "
        "as one element a message.\n"
    )


def _on_flink(measured: Sequence[Measurement]) -> str:
    if not measured:
        return ""
    lines = [
        "| on Flink, 200 B | worker, CPU s per million | of the loop | task manager, CPU s per million | messages/s "
        "without the start | peak RSS of a worker, MB | largest checkpoint, kB | rounds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows(measured):
        own = [each for each in measured if each.way == row.way]
        of_one = f" ({row.of_one_worker:.2f} of one worker)" if row.of_one_worker else ""
        jvm = _median(own, "task_manager_cpu")
        sizes = [each.more["largest_checkpoint_bytes"] for each in own if "largest_checkpoint_bytes" in each.more]
        cells = [
            row.way,
            _number(row.cpu),
            f"{row.of_the_loop:.2f}{of_one}",
            "–" if jvm is None else _number(jvm),
            f"{row.steady_rate:,.0f}",
            f"{row.peak_mb:,.0f}",
            f"{max(sizes) / 1e3:,.0f}" if sizes else "–",
            str(row.rounds),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    bottlenecks = [bottleneck(each) for each in measured if "shares_of_a_core" in each.more and each.round == 1]
    return "\n".join(lines) + "\n\n" + "\n".join(f"- {each}" for each in bottlenecks) + "\n"


def bottleneck(measured: Measurement) -> str:
    """Who was at its limit, in words."""
    more = measured.more
    shares = sorted(more["shares_of_a_core"].items(), key=lambda each: -each[1])
    threads: Mapping[str, tuple[str, float]] = more["busiest_threads"]
    told = ", ".join(
        f"{kind} {share:.2f} (its busiest thread, {threads[kind][0]}: {threads[kind][1]:.2f})"
        for kind, share in shares
        if share >= _WORTH_TELLING
    )
    full = [kind for kind, (_, share) in threads.items() if share >= _FULL]
    if more["idle_cores"] < 1 - _FULL:
        limit = "all cores of the machine were busy"
    elif full:
        limit = f"a thread of the {' and of the '.join(full)} was busy all the time"
    else:
        limit = f"no thread was busy all the time, and {more['idle_cores']:.2f} cores were idle"
    return f"{measured.way}: {limit}. Cores used: {told}."


def latency(found: Mapping[str, Any]) -> str:
    """From publish to upload, in words and figures."""
    if not found:
        return ""
    lines = [
        "| from publish to upload, seconds | p50 | p99 | longest |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {each['p50']:.1f} | {each['p99']:.1f} | {each['max']:.1f} |"
            for name, each in found["seconds"].items()
        ),
    ]
    most, disorder = 2 * found["wanted_rate"], found["allowed_disorder"]
    said = (
        f"Streaming on Flink with one worker, {found['rate']:,.0f} messages/s of 200 B for {found['lasted']:.0f} s; it "
        f"reads {most:,.0f} at most. Windows of {GRANULARITY_SECONDS} s, and --allowed_disorder={disorder},"
        " which is waited for behind each. The producer runs on the same cores."
    )
    return "\n".join(lines) + f"\n\n{said}\n"


def _median(measured: Sequence[Measurement], name: str) -> float | None:
    known = [each.more[name] for each in measured if name in each.more]
    return statistics.median(known) if known else None


def _number(value: float) -> str:
    return f"{value:,.1f}" if abs(value) < _LARGE else f"{value:,.0f}"
