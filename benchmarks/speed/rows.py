"""Lines of the tables: medians over the rounds, of costs and of ratios within a round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.speed.measurements import LOOP, Measurement
from benchmarks.speed.ways import one_worker


@dataclass(frozen=True)
class Row:
    """Medians of one way to read, over its rounds."""

    way: str
    rounds: int
    messages: int
    cpu: float
    """CPU seconds for each million messages."""
    of_the_loop: float
    """Median of the ratios, each to the loop of the same round."""
    of_one_worker: float | None
    """The same to one worker process, where this is two."""
    start_cpu: float
    rate: float
    steady_rate: float
    peak_mb: float
    """The largest of all rounds, as is the next."""
    together_mb: float
    servers_cpu: float


def rows(measured: Sequence[Measurement]) -> list[Row]:
    """A line for each way to read of a part, in the order in which they were measured."""
    ways: dict[str, list[Measurement]] = {}
    for each in measured:
        ways.setdefault(each.way, []).append(each)
    found = []
    for way, rounds in ways.items():
        one = one_worker(way)
        of_the_loop = ratio(rounds, ways.get(LOOP, []))
        of_one = ratio(rounds, ways.get(one, [])) if one else None
        found.append(_row(way, rounds, float("nan") if of_the_loop is None else of_the_loop, of_one))
    return found


def ratio(above: Sequence[Measurement], below: Sequence[Measurement]) -> float | None:
    """Median of the ratios of CPU, round by round; None where no round has both."""
    known = {each.round: each.cpu for each in below}
    ratios = [each.cpu / known[each.round] for each in above if known.get(each.round)]
    return statistics.median(ratios) if ratios else None


def _row(way: str, rounds: Sequence[Measurement], of_the_loop: float, of_one: float | None) -> Row:
    def median(name: str) -> float:
        return float(statistics.median(getattr(each, name) for each in rounds))

    return Row(
        way,
        len(rounds),
        rounds[0].messages,
        median("cpu"),
        of_the_loop,
        of_one,
        median("start_cpu"),
        median("rate"),
        median("steady_rate"),
        max(each.peak_mb for each in rounds),
        max(each.together_mb for each in rounds),
        median("servers_cpu"),
    )
