"""How many workers a run on this machine has, and which partitions each of them reads."""

from __future__ import annotations

import heapq
import logging
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from transforms.at_once import at_once
from transforms.errors import BackupError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.amounts import amount
from transforms.pulsar.restriction import PartitionRange

_log = logging.getLogger(__name__)

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


def spread(ranges: Sequence[PartitionRange], into: int, admin: PulsarAdmin | None = None) -> list[list[PartitionRange]]:
    """The partitions of each worker, none without any; about as much for each, where it is known how much all hold.

    Else in turn. What does not lie in one ledger is known with ``admin`` only.
    """
    sizes = _sizes(ranges, admin)
    shares: list[list[int]] = [[] for _ in range(min(into, len(ranges)))]
    if sizes is None:
        for place in range(len(ranges)):
            shares[place % len(shares)].append(place)
    else:
        loads = [(0, number) for number in range(len(shares))]
        for place in sorted(range(len(ranges)), key=lambda place: -sizes[place]):
            load, number = heapq.heappop(loads)
            shares[number].append(place)
            heapq.heappush(loads, (load + max(sizes[place], 1), number))
    return [[ranges[place] for place in sorted(share)] for share in shares]


def _sizes(ranges: Sequence[PartitionRange], admin: PulsarAdmin | None) -> list[int] | None:
    """Bytes of each, or entries; None where not even these are known of all."""
    if admin is not None:
        try:
            return [found.bytes for found in at_once([partial(amount, admin, each) for each in ranges])]
        except BackupError as error:
            _log.debug("how much partitions hold is not known: %s", error)
    if all(each.start.ledger == each.stop.ledger for each in ranges):
        return [each.stop.entry - each.start.entry + 1 for each in ranges]
    return None
