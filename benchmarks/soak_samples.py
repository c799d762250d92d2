"""What a soak samples, and what the samples say: slopes of memory, and growth of the checkpoint."""

from __future__ import annotations

import csv
import random
import re
import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

#: Phases, in their order: until the first checkpoint; no messages yet; messages; the rest is stored; no messages more.
STARTING, IDLE_BEFORE, PRODUCTION = "starting", "idle before", "production"
DRAINING, IDLE_AFTER = "draining", "idle after"
KINDS = ("worker", "task manager", "job manager", "job server", "launcher")
_MB = 1e6
#: How the runner names the state in which the rest of a slice waits: number of the bundle, and place in it. The numbers
#: begin anew with each start of the job, and a state of that name is used again.
_LEAKED = re.compile(rb"sdf_checkpoint:[0-9]+:[0-9]+")
_CALM, _BETWEEN_KILLS, _OF_WORKERS = 180.0, (60.0, 90.0), 0.8


@dataclass(frozen=True)
class Sample:
    """One moment of the stream. What could not be learned then, while something restarts, is None."""

    seconds: float
    phase: str
    produced: int
    stored: int
    backlog: int | None
    """Entries that the subscription has not acknowledged, of all partitions."""
    checkpoint: int | None
    """Number of the last checkpoint that has completed."""
    checkpoint_bytes: int | None
    """Its state, as Flink tells."""
    source_bytes: int | None
    """What of it belongs to the source's stage, where the runner leaks."""
    checkpoint_disk_bytes: int | None
    """Its folder."""
    leaked: int | None
    """States of slices long gone that the checkpoint holds; see leaked_states."""
    slices: int
    """Self-checkpoints of the source, all restarts together."""
    heap_bytes: int | None
    """Used heap of the task manager, garbage included."""
    kills: int


@dataclass(frozen=True)
class Memory:
    """Resident size of one process at one moment."""

    seconds: float
    kind: str
    pid: int
    bytes: int


@dataclass(frozen=True)
class Kill:
    """A SIGKILL, planned or done."""

    seconds: float
    kind: str
    """``worker`` or ``task manager``."""


def planned(seconds: float, source: random.Random) -> list[Kill]:
    """When what is killed in so many seconds of production."""
    calm = min(_CALM, seconds / 5)
    kills, at = [], calm + source.uniform(0, 30)
    while at < seconds - calm:
        kills.append(Kill(at, "worker" if source.random() < _OF_WORKERS else "task manager"))
        at += source.uniform(*_BETWEEN_KILLS)
    return kills


class SliceCount:
    """Adds up slices over restarts of the job, each of which begins the counter anew."""

    def __init__(self) -> None:
        self._before = 0
        self._last = 0

    def take(self, counter: int | None) -> int:
        """What the counter shows, None while there is none; gives the sum."""
        if counter is not None:
            if counter < self._last:
                self._before += self._last
            self._last = counter
        return self._before + self._last


def leaked_states(content: bytes) -> set[bytes]:
    """The states that the runner has left behind in (a part of) a checkpoint, each made for one slice."""
    return set(_LEAKED.findall(content))


def slope(points: Iterable[tuple[Hashable, float, float]]) -> float | None:
    """By how much y grows for each x: least squares over points (group, x, y), each group with a level of its own.

    None where no group has two different x.
    """
    groups: defaultdict[Hashable, list[tuple[float, float]]] = defaultdict(list)
    for group, x, y in points:
        groups[group].append((x, y))
    above = below = 0.0
    for group_points in groups.values():
        mean_x = statistics.fmean(x for x, _ in group_points)
        mean_y = statistics.fmean(y for _, y in group_points)
        above += sum((x - mean_x) * (y - mean_y) for x, y in group_points)
        below += sum((x - mean_x) ** 2 for x, _ in group_points)
    return above / below if below else None


def growth_of_memory(
    memory: Sequence[Memory], production: tuple[float, float], *, warm_up: float
) -> dict[str, dict[str, Any]]:
    """MB per minute of each kind of process while messages are sent, the first seconds of each process left out.

    A process that is killed is one line, the one in its place another: what is added up is the growth within each.
    ``production`` is when it begins and ends. Of ``early`` and ``late`` the medians of the first and the last third.
    """
    born: dict[int, float] = {}
    for each in memory:
        born.setdefault(each.pid, each.seconds)
    begin, end = production
    third = (end - begin) / 3
    result = {}
    for kind in KINDS:
        of_kind = [each for each in memory if each.kind == kind and begin <= each.seconds <= end]
        warm = [each for each in of_kind if each.seconds >= max(born[each.pid], begin) + warm_up]
        if not of_kind:
            continue
        growth = slope((each.pid, each.seconds / 60, each.bytes / _MB) for each in warm)
        result[kind] = {
            "processes": len({each.pid for each in of_kind}),
            "mb_per_minute": _rounded(growth),
            "early_mb": _median(each.bytes / _MB for each in warm if each.seconds < begin + third),
            "late_mb": _median(each.bytes / _MB for each in warm if each.seconds > end - third),
            "peak_mb": round(max(each.bytes for each in of_kind) / _MB, 1),
        }
    return result


def growth_of_checkpoints(samples: Sequence[Sample], *, warm_up: float) -> dict[str, Any]:
    """What the checkpoint gained between the two phases without messages, and how much of it is the runner's leak.

    What a leaked state takes is measured within those phases, in which nothing else changes, in the source's stage.
    """
    idle: dict[str, list[Sample]] = {}
    for phase in (IDLE_BEFORE, IDLE_AFTER):
        of_phase = [each for each in samples if each.phase == phase]
        from_second = of_phase[0].seconds + warm_up if of_phase else 0.0
        idle[phase] = [each for each in of_phase if each.seconds >= from_second and each.leaked is not None]
    points = {
        phase: [(phase, each.leaked or 0, each.source_bytes or 0) for each in found] for phase, found in idle.items()
    }
    before, after = points.values()
    leak = slope([*before, *after])
    result: dict[str, Any] = {
        "bytes_per_leaked_state": _rounded(leak),
        "bytes_per_leaked_state_before": _rounded(slope(before)),
        "bytes_per_leaked_state_after": _rounded(slope(after)),
        "largest_bytes": max((each.checkpoint_bytes or 0 for each in samples), default=0),
    }
    if leak is None or not before or not after:
        return result
    begin, end = idle[IDLE_BEFORE][-1], idle[IDLE_AFTER][-1]
    leaked = leak * ((end.leaked or 0) - (begin.leaked or 0))
    return {
        **result,
        "slices": end.slices - begin.slices,
        "begin_leaked_states": begin.leaked,
        "end_leaked_states": end.leaked,
        "begin_bytes": begin.checkpoint_bytes,
        "end_bytes": end.checkpoint_bytes,
        "leak_bytes": round(leaked),
        "rest_bytes": round((end.checkpoint_bytes or 0) - (begin.checkpoint_bytes or 0) - leaked),
        "begin_bytes_of_other_stages": _of_other_stages(begin),
        "end_bytes_of_other_stages": _of_other_stages(end),
    }


def _of_other_stages(sample: Sample) -> int:
    return (sample.checkpoint_bytes or 0) - (sample.source_bytes or 0)


def write_csv(path: Path, rows: Sequence[Sample] | Sequence[Memory] | Sequence[Kill], kind: type[Any]) -> None:
    """One row each, with the names of the fields above them."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(kind)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(statistics.median(found), 1) if found else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
