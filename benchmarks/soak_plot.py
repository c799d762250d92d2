"""The plot of a soak: memory, checkpoint and messages over time, and the kills in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from benchmarks.soak_samples import IDLE_AFTER, IDLE_BEFORE, KINDS, Kill, Memory, Sample

_COLOURS = dict(zip(KINDS, ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b"), strict=True))
_MB = 1e6
_IDLE = "#eeeeee"


def plot(
    folder: Path, samples: Sequence[Sample], memory: Sequence[Memory], kills: Sequence[Kill], summary: dict[str, Any]
) -> None:
    """Write memory.png and memory.svg."""
    figure, (above, middle, below) = plt.subplots(
        3, 1, sharex=True, figsize=(12, 10), height_ratios=(3, 2, 2), layout="constrained"
    )
    killed = summary["killed"]
    figure.suptitle(
        f"A stream for {summary['minutes']:g} minutes: {summary['produced']:,} messages; killed: worker "
        f"{killed['worker']} times, task manager {killed['task manager']} times"
    )
    _memory(above, samples, memory)
    _checkpoints(middle, samples, summary["checkpoint"])
    _messages(below, samples)
    for axes in (above, middle, below):
        for kill in kills:
            axes.axvline(kill.seconds / 60, color=_COLOURS[kill.kind], linewidth=0.8, linestyle=":", zorder=0)
        for phase in (IDLE_BEFORE, IDLE_AFTER):
            times = [each.seconds / 60 for each in samples if each.phase == phase]
            if times:
                axes.axvspan(times[0], times[-1], color=_IDLE, zorder=-1)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", linewidth=0.3)
    below.set_xlabel("minutes")
    below.set_xlim(0, samples[-1].seconds / 60)
    for name in ("memory.png", "memory.svg"):
        figure.savefig(folder / name, dpi=110)
    plt.close(figure)


def _memory(axes: Any, samples: Sequence[Sample], memory: Sequence[Memory]) -> None:
    lives: dict[tuple[str, int], list[Memory]] = {}
    for each in memory:
        lives.setdefault((each.kind, each.pid), []).append(each)
    for (kind, _), life in lives.items():
        axes.plot(
            [each.seconds / 60 for each in life], [each.bytes / _MB for each in life], color=_COLOURS[kind], lw=1.3
        )
    heap = [(each.seconds / 60, each.heap_bytes / _MB if each.heap_bytes else float("nan")) for each in samples]
    axes.plot(*zip(*heap, strict=True), color=_COLOURS["task manager"], linewidth=0.5, alpha=0.7)
    axes.set_ylabel("resident memory, MB")
    seen = [kind for kind in KINDS if any(each.kind == kind for each in memory)]
    handles: list[Line2D | Patch] = [Line2D([], [], color=_COLOURS[kind], label=kind) for kind in seen]
    handles += [
        Line2D([], [], color=_COLOURS["task manager"], linewidth=0.5, label="heap of the task manager, with garbage"),
        Line2D([], [], color=_COLOURS["worker"], linewidth=0.8, linestyle=":", label="kill of a worker"),
        Line2D([], [], color=_COLOURS["task manager"], linewidth=0.8, linestyle=":", label="kill of the task manager"),
        Patch(color=_IDLE, label="no messages"),
    ]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=5, fontsize=8, frameon=False)


def _checkpoints(axes: Any, samples: Sequence[Sample], found: dict[str, Any]) -> None:
    known = [each for each in samples if each.checkpoint_bytes is not None]
    times = [each.seconds / 60 for each in known]
    axes.plot(times, [(each.checkpoint_bytes or 0) / _MB for each in known], color="#444444", lw=1, label="as it is")
    source = [(each.source_bytes or 0) / _MB for each in known]
    axes.fill_between(times, source, color="#ff7f0e", alpha=0.25, lw=0, label="of it the source's stage")
    each_takes = found["bytes_per_leaked_state"]
    if each_takes is not None:
        leak = [(each.seconds / 60, each_takes * each.leaked / _MB) for each in known if each.leaked is not None]
        label = f"what the test job server leaks: {each_takes:,.0f} B for each state left behind"
        axes.plot(*zip(*leak, strict=True), color="#d62728", lw=1, linestyle="--", label=label)
    # Room for the legend.
    axes.set_ylim(0, 1.4 * max([each.checkpoint_bytes or 0 for each in known], default=1) / _MB)
    axes.set_ylabel("checkpoint, MB")
    axes.legend(loc="upper left", fontsize=8, ncols=3)


def _messages(axes: Any, samples: Sequence[Sample]) -> None:
    times = [each.seconds / 60 for each in samples]
    axes.plot(times, [each.produced / 1e6 for each in samples], color="#999999", lw=1.3, label="produced")
    axes.plot(times, [each.stored / 1e6 for each in samples], color="#1f77b4", lw=1.3, label="stored")
    axes.set_ylabel("messages, millions")
    other = axes.twinx()
    waiting = [(each.produced - each.stored) / 1e3 for each in samples]
    other.fill_between(times, waiting, color="#ff7f0e", alpha=0.35, lw=0)
    other.set_ylim(0, max([*waiting, 1]) * 2.5)
    other.set_ylabel("not stored yet, thousands")
    handles, _ = axes.get_legend_handles_labels()
    handles.append(Patch(color="#ff7f0e", alpha=0.35, label="not stored yet (scale on the right)"))
    axes.legend(handles=handles, loc="upper left", fontsize=8)
