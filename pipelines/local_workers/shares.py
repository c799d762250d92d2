"""How many workers a run on this machine has, and which partitions each of them reads."""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Sequence
from pathlib import Path

from transforms.pulsar.restriction import PartitionRange

_CGROUPS = Path("/sys/fs/cgroup")


def workers(asked: int | None, partitions: int, cgroups: Path = _CGROUPS) -> int:
    """How many worker processes read so many partitions; ``asked`` is the option, None where it was not given."""
    return max(min(asked or cores(cgroups), partitions), 1)


def cores(cgroups: Path = _CGROUPS) -> int:
    """How many cores this process may use: by its affinity, and by the quota of its container."""
    # Only Linux has an affinity.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, math.ceil(_quota(cgroups)) or allowed)


def _quota(cgroups: Path) -> float:
    """Cores' worth of time that the container may use; 0 where there is no limit."""
    try:
        if (both := cgroups / "cpu.max").exists():
            quota, period = both.read_text().split()
        else:
            quota, period = ((cgroups / f"cpu/cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return max(int(quota) / int(period), 0.0) if quota != "max" else 0.0
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0


def spread(ranges: Sequence[PartitionRange], into: int) -> list[list[PartitionRange]]:
    """The partitions of each worker, none without any: even by entries where they are known of all, else in turn."""
    sizes = [_entries(each) for each in ranges]
    shares: list[list[int]] = [[] for _ in range(min(into, len(ranges)))]
    if None in sizes:
        for place in range(len(ranges)):
            shares[place % len(shares)].append(place)
    else:
        loads = [(0, number) for number in range(len(shares))]
        for size, place in sorted(((size or 0, place) for place, size in enumerate(sizes)), key=lambda at: -at[0]):
            load, number = heapq.heappop(loads)
            shares[number].append(place)
            heapq.heappush(loads, (load + max(size, 1), number))
    return [[ranges[place] for place in sorted(share)] for share in shares]


def _entries(each: PartitionRange) -> int | None:
    """How many entries are to be read; None where it ends in another ledger, whose numbers tell nothing of sizes."""
    return each.stop.entry - each.start.entry + 1 if each.start.ledger == each.stop.ledger else None
