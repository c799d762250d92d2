"""Processes that others have started, as the system tells."""

from __future__ import annotations

from pathlib import Path


def children(pid: int) -> list[int]:
    """Processes that this one has started and that it has not buried; none where it is gone itself."""
    try:
        lines = [line.read_text() for line in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return sorted(int(word) for line in lines for word in line.split())


def running(pid: int) -> bool:
    """Whether the process is there, and not only its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
