"""What a worker process may hold in memory: how its budget is shared, and how freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import gc
import os
from dataclasses import dataclass

#: What the broker's client and Python keep of a message beside its payload. [measured with pulsar-client 3.13: 830
#: bytes in the client, 130 for its id and times]
MESSAGE_BYTES = 1_000
#: What a record has beside its payload, with its place in a batch of records.
RECORD_BYTES = 250
#: Payloads that are as large are not copied on their way from the client to the file: it costs more than to have many.
LARGE_PAYLOAD = 64 * 1024

#: A bundle holds what was read as messages, as records, and encoded on the runner's way to the next stage.
_COPIES_IN_A_BUNDLE = 5
#: Where records go to the next stage as they are: what was read as messages, and as records.
_COPIES_BY_REFERENCE = 2
#: Records of open files wait in the runner's state, and in its cache.
_COPIES_IN_STATE = 2

_MIB = 1024 * 1024
_LARGEST_MESSAGE = 5 * _MIB
_LARGEST_PART = 16 * _MIB
#: A part that is spooled should have 1 MiB when it is compressed.
_SMALLEST_PART = 2 * _MIB
_LEAST_READ_AHEAD = _MIB
_LEAST_SLICE = 64 * 1024

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAPPED_FROM = _MIB
#: What may be free at the end of a heap before it goes back. With as little as the system's 128 KiB the pages of each
#: batch go back and are asked for again.
_FREE_IN_HEAP = 16 * _MIB

#: Objects made more than deleted before Python looks for cycles, against 700: batches of messages are many objects, and
#: none of them is in a cycle.
_YOUNG_OBJECTS = 100_000


@dataclass(frozen=True)
class MemoryShares:
    """Bytes for each use; together the budget, as long as a message is small beside the share of a partition."""

    read_ahead: int
    """For each partition: messages read and not yet worked on, those in the broker's client included."""
    slice: int
    """For each partition: what one call of the source gives out."""
    bundle: int
    """For each subtask: what the source gives out in one bundle, of all its partitions."""
    part: int
    """Records of one open file that wait, before they are compressed and spooled."""
    waiting: int
    """For each partition: records of all its open files that wait."""
    uploads: int
    """For each subtask: what uploads under way hold."""


def share(budget: int, partitions: int, subtasks: int = 1, *, by_reference: bool = False) -> MemoryShares:
    """A quarter each for reading ahead, for the bundles in work, for open files, and for uploads.

    ``subtasks``: how many copies of a stage work in the process at once. ``by_reference``: records are not copied into
    the runner's state.
    """
    quarter, partitions = budget // 4, max(partitions, 1)
    bundle = quarter // (_COPIES_BY_REFERENCE if by_reference else _COPIES_IN_A_BUNDLE) // subtasks
    waiting = max(quarter // (1 if by_reference else _COPIES_IN_STATE) // partitions, _SMALLEST_PART)
    return MemoryShares(
        read_ahead=max(quarter // partitions, _LEAST_READ_AHEAD),
        slice=max(bundle * subtasks // max(partitions, subtasks), _LEAST_SLICE),
        bundle=bundle,
        part=min(waiting, _LARGEST_PART),
        waiting=waiting,
        uploads=quarter // subtasks,
    )


def least_budget(partitions: int) -> int:
    """The least budget of which every partition has its share; with less, memory grows with the partitions."""
    return 4 * partitions * max(_LEAST_READ_AHEAD, _COPIES_IN_STATE * _SMALLEST_PART)


def fitting_messages(most_bytes: int, seen: int, seen_bytes: int, most: int) -> int:
    """How many messages may be under way: at least one, and at most ``most``.

    As many as fit of the size of those that were seen, or of the largest that a broker takes unless it is told to.
    """
    size = MESSAGE_BYTES + seen_bytes // seen if seen else _LARGEST_MESSAGE
    return min(max(most_bytes // size, 1), most)


def return_freed_memory() -> None:
    """Have the C library give what was freed back to the system, as far as it can be told to.

    glibc maps large pieces on their own, which go back when they are freed, but stops doing so for the sizes that a
    process frees often: then a fifth of what a backup of large messages held was free, and kept.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        mallopt(_M_TRIM_THRESHOLD, _FREE_IN_HEAP)


def seldom_look_for_cycles() -> None:
    """Have Python look for objects in cycles seldom, and never among those that are there now, which stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])


class MemoryWatch:
    """Tells when a process holds clearly more than a budget on top of what it held when the watch began."""

    def __init__(self, budget: int) -> None:
        # A quarter more: modules that are loaded later count as well.
        self._most = resident_bytes() + budget + budget // 4

    def exceeded(self) -> bool:
        """Whether it does now. Never, where the system does not tell."""
        return resident_bytes() > self._most


def resident_bytes() -> int:
    """Resident size of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
