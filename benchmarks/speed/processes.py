"""What processes that go on have used so far, as the kernel counts it. Hundredths of a second are its finest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """CPU seconds."""

    own: float
    ended_children: float
    """Of its children that have ended, and of theirs."""


def used(pid: int) -> Used:
    """What a process has used; nothing if it has ended."""
    try:
        fields = _fields(Path(f"/proc/{pid}/stat"))
    except OSError:
        return Used(0.0, 0.0)
    return Used((fields[11] + fields[12]) / _TICKS, (fields[13] + fields[14]) / _TICKS)


def of_threads(pid: int) -> dict[int, float]:
    """CPU seconds of each thread there is, by thread id; that of the main thread is the process id."""
    found = {}
    for task in _entries(Path(f"/proc/{pid}/task")):
        try:
            fields = _fields(task / "stat")
        except OSError:
            continue  # it has ended meanwhile
        found[int(task.name)] = (fields[11] + fields[12]) / _TICKS
    return found


def thread_name(pid: int, thread: int) -> str:
    """As the kernel knows it, 15 characters at most."""
    try:
        return Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
    except OSError:
        return "ended"


def peak_bytes(pid: int) -> int:
    """Largest resident size so far; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def idle_seconds() -> float:
    """Seconds for which cores of this machine had nothing to do, added up since it started."""
    words = Path("/proc/stat").read_text().split(None, 6)
    return (int(words[4]) + int(words[5])) / _TICKS


def busiest(before: Mapping[int, float], after: Mapping[int, float]) -> tuple[int, float]:
    """The thread that used most in between, and how much; (0, 0.0) where there is none."""
    spent = {thread: seconds - before.get(thread, 0.0) for thread, seconds in after.items()}
    return max(spent.items(), key=lambda each: each[1], default=(0, 0.0))


def _fields(path: Path) -> list[int]:
    """Numbers behind the name, which may hold blanks and brackets; the state in front of them is 0."""
    words = path.read_text().rpartition(")")[2].split()
    return [0, *(int(word) for word in words[1:])]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
