"""How far this process has come: what a local run shows while it works.

Counted per process, for display. What a run has done is told by its result, never by these numbers.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position


@dataclass(slots=True)
class PartitionProgress:
    """One partition."""

    messages: int = 0
    bytes: int = 0
    position: Position | None = None
    """Behind the last message read."""
    publish_time: int | None = None
    """Of the last message read."""
    done: bool = False


class Snapshot(NamedTuple):
    """How far a part of a run has come; picklable."""

    partitions: dict[TopicPartition, PartitionProgress]
    files: int = 0
    file_bytes: int = 0
    retries: int = 0


@dataclass(slots=True)
class Progress:
    """All of a run, as far as this process sees it or was told."""

    partitions: dict[TopicPartition, PartitionProgress] = field(default_factory=dict)
    files: int = 0
    file_bytes: int = 0
    retries: int = 0
    """Requests to the destination that were tried again."""
    failure: BaseException | None = None
    """What ended the run, as it was raised: runners pass on its text only."""
    _others: dict[int, Snapshot] = field(default_factory=dict, repr=False)
    """What other processes have told last, by their numbers."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def read(self, partition: TopicPartition, messages: int, size: int, position: Position, publish_time: int) -> None:
        """Count messages that were read."""
        with self._lock:
            at = self.partitions.setdefault(partition, PartitionProgress())
            at.messages += messages
            at.bytes += size
            at.position = position
            at.publish_time = publish_time

    def finished(self, partition: TopicPartition) -> None:
        """A partition has been read to its end."""
        with self._lock:
            self.partitions.setdefault(partition, PartitionProgress()).done = True

    def written(self, size: int) -> None:
        """Count a file."""
        with self._lock:
            self.files += 1
            self.file_bytes += size

    def tried_again(self, requests: int) -> None:
        """Count requests that were tried again."""
        with self._lock:
            self.retries += requests

    def snapshot(self) -> Snapshot:
        """How far it is now."""
        with self._lock:
            partitions = {partition: replace(at) for partition, at in self.partitions.items()}
            return Snapshot(partitions, self.files, self.file_bytes, self.retries)

    def told(self, process: int, now: Snapshot) -> None:
        """Take in how far another process is, which works on partitions of its own."""
        with self._lock:
            before = self._others.get(process, Snapshot({}))
            self._others[process] = now
            self.partitions.update(now.partitions)
            self.files += now.files - before.files
            self.file_bytes += now.file_bytes - before.file_bytes
            self.retries += now.retries - before.retries

    def failed(self, error: BaseException) -> None:
        """Remember the first failure."""
        with self._lock:
            self.failure = self.failure or error


_runs: dict[str, Progress] = {}
_lock = threading.Lock()


def forget(run: str) -> None:
    """Drop what is known of a run that has ended."""
    with _lock:
        _runs.pop(run, None)


def progress_of(run: str) -> Progress:
    """The progress of a run in this process."""
    with _lock:
        return _runs.setdefault(run, Progress())
