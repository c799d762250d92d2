"""Which partitions are read in a bundle."""

from __future__ import annotations

from transforms.pulsar.messages import TopicPartition


class Turns:
    """Which partitions give a slice in a bundle that holds a number of bytes: all in turn, as many as fit.

    Runners give a bundle the rest of every partition. If each brought a large message, memory would grow with them.
    """

    def __init__(self, bundle_bytes: int) -> None:
        self._bundle_bytes = self._left = bundle_bytes
        self._had_theirs: set[TopicPartition] = set()
        self._passed_over: set[TopicPartition] = set()

    def begin(self) -> None:
        """Begin a bundle."""
        if self._passed_over <= self._had_theirs:
            self._had_theirs.clear()
        self._passed_over.clear()
        self._left = self._bundle_bytes

    def take(self, partition: TopicPartition) -> bool:
        """Whether it is the partition's turn."""
        if self._left <= 0 or partition in self._had_theirs:
            self._passed_over.add(partition)
            return False
        self._had_theirs.add(partition)
        return True

    def spend(self, size: int) -> None:
        """Count a slice."""
        self._left -= size
