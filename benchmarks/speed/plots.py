"""The drawings: few, and each for a light and a dark page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from benchmarks.speed.attribution import CATEGORIES, NOT_ATTRIBUTED
from benchmarks.speed.local_jobs import FOLDER
from benchmarks.speed.measurements import LOOP, Results
from benchmarks.speed.rows import Row, rows
from benchmarks.speed.ways import FLINK, LATENCY, NEWCOMER, PROFILE

#: Text, lines of help, bars, the bar that is compared with, the line.
MODES = {
    "light": ("#1f2328", "#d1d9e0", "#4078c0", "#9aa7b4", "#c93c37"),
    "dark": ("#e6edf3", "#3d444d", "#6ca4f8", "#6e7781", "#ff7b72"),
}
#: Microseconds that are wide enough to be seen, and to be labelled.
_SEEN, _LABELLED = 0.05, 0.9
#: A colour for each category, in their order, on which dark figures can be read; and of those figures.
_STACK = (
    *("#6ca4f8", "#a5cdfa", "#5cb885", "#a8dcbb", "#dda75a", "#f2d79b"),
    *("#b197dc", "#e6a0bd", "#d3cc78", "#a9b4bf", "#d5dbe1"),
)
_ON_STACK = "#1f2328"


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Draw what there are figures for, as NAME-light.svg and NAME-dark.svg. Gives what each shows, by its name."""
    found = names(results)
    for name in found:
        for mode, (text, lines, *_) in MODES.items():
            style: Any = {
                "figure.facecolor": "none",
                "axes.facecolor": "none",
                "text.color": text,
                "axes.labelcolor": text,
                "axes.edgecolor": lines,
                "xtick.color": text,
                "ytick.color": text,
                "grid.color": lines,
                "svg.hashsalt": name,
                "font.size": 9,
            }
            with plt.rc_context(style):
                figure = _DRAWINGS[name](results, mode)
                figure.savefig(folder / f"{name}-{mode}.svg", transparent=True, metadata={"Date": None})
                plt.close(figure)
    return found


def names(results: Results) -> dict[str, str]:
    """The drawings there are figures for, and what each shows, in words."""
    found = {}
    if results.of("200 B"):
        found["cpu"] = "CPU seconds per million messages of 200 B, by way of writing"
        found["rate"] = "Messages per second, by way of reading"
    if results.other.get(LATENCY):
        found["latency"] = "Seconds from publish to upload"
    if results.other.get(PROFILE):
        found["where"] = "Where the time of a message goes"
    return found


def _cpu(results: Results, mode: str) -> Any:
    found = rows(results.of("200 B"))
    loop = next(row for row in found if row.way == LOOP)
    # Of codecs that run once, one place is enough to see what they cost.
    most = max(row.rounds for row in found)
    shown = [row for row in found if row.way not in (LOOP, NEWCOMER) and (row.rounds == most or FOLDER in row.way)]
    figure = _bars(shown, [row.cpu for row in shown], mode, "{:.1f}", "CPU seconds per million messages of 200 B")
    axes = figure.axes[0]
    axes.axvline(loop.cpu, color=MODES[mode][4], linewidth=1.2)
    axes.annotate(
        f"bare client loop: {loop.cpu:.1f}",
        (loop.cpu, 1),
        (4, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color=MODES[mode][4],
    )
    return figure


def _rate(results: Results, mode: str) -> Any:
    found = rows(results.of("200 B"))
    most = max(row.rounds for row in found)
    shown = [row for row in found if row.rounds == most]
    shown += [row for row in rows(results.of(FLINK)) if row.way != LOOP]
    shown = [row for row in shown if math.isfinite(row.steady_rate)]
    labels = [f"Flink: {row.way}" if "streaming" in row.way or "an end" in row.way else row.way for row in shown]
    rates = [row.steady_rate / 1000 for row in shown]
    return _bars(shown, rates, mode, "{:.0f}", "thousand messages of 200 B per second, without the start", labels)


def _bars(
    shown: Sequence[Row],
    values: Sequence[float],
    mode: str,
    form: str,
    title: str,
    labels: Sequence[str] | None = None,
) -> Any:
    figure, axes = plt.subplots(figsize=(7.6, 0.7 + 0.26 * len(shown)), layout="constrained")
    colours = [MODES[mode][3] if row.way in (LOOP, NEWCOMER) else MODES[mode][2] for row in shown]
    bars = axes.barh(labels or [row.way for row in shown], values, color=colours, height=0.66)
    axes.bar_label(bars, [form.format(value) for value in values], padding=4, color=MODES[mode][0])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(values))
    axes.set_xlabel(title)
    _calm(axes)
    return figure


def _latency(results: Results, mode: str) -> Any:
    found = results.other[LATENCY]["seconds"]
    figure, axes = plt.subplots(figsize=(7.6, 0.8 + 0.5 * len(found)), layout="constrained")
    for place, each in enumerate(found.values()):
        axes.plot([each["p50"], each["max"]], [place, place], color=MODES[mode][3], linewidth=2, zorder=1)
        for name, marker in (("p50", "o"), ("p99", "D"), ("max", "|")):
            axes.scatter(each[name], place, marker=marker, s=36, color=MODES[mode][2], zorder=2)
        label = f"half within {each['p50']:.1f}, 99 % within {each['p99']:.1f}, all within {each['max']:.1f}"
        axes.annotate(label, (each["p50"], place), (-4, 8), textcoords="offset points", fontsize=8)
    axes.set_xlim(0, 1.5 * max(each["max"] for each in found.values()))
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.7)
    axes.set_xlabel("seconds from publish to upload")
    _calm(axes)
    return figure


def _where(results: Results, _: str) -> Any:
    found = results.other[PROFILE]
    figure, axes = plt.subplots(figsize=(7.6, 1.5 + 0.55 * len(found)), layout="constrained")
    behind = dict.fromkeys(found, 0.0)
    for place, category in enumerate([*CATEGORIES, NOT_ATTRIBUTED]):
        widths = [each["microseconds"].get(category, 0.0) for each in found.values()]
        if max(widths) < _SEEN:
            continue
        bars = axes.barh(
            list(found), widths, left=list(behind.values()), color=_STACK[place], height=0.62, label=category
        )
        labels = [f"{width:.1f}" if width >= _LABELLED else "" for width in widths]
        axes.bar_label(bars, labels, label_type="center", fontsize=8, color=_ON_STACK)
        behind = {name: behind[name] + width for name, width in zip(found, widths, strict=True)}
    axes.invert_yaxis()
    axes.set_xlabel("CPU microseconds for each message of 200 B")
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    _calm(axes)
    return figure


def _calm(axes: Any) -> None:
    axes.grid(axis="x", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


_DRAWINGS: dict[str, Callable[[Results, str], Any]] = {
    "cpu": _cpu,
    "rate": _rate,
    "latency": _latency,
    "where": _where,
}
