"""How many messages the client may hold ready of a partition: as many as fit into a share of memory."""

from __future__ import annotations

from transforms.memory import MemoryWatch, fitting_messages
from transforms.pulsar.client import MessageReader

#: The client counts messages only, so a reader begins with what fits of the largest that a broker takes, and is opened
#: anew when their size shows that more fit into memory, or fewer.
_LARGEST_QUEUE = 2_000
_MORE_FIT = 4
_FEWER_FIT = 2
_ENOUGH_MESSAGES = 100


class ClientQueue:
    """The queue of a partition's reader, within ``most_bytes``.

    Where messages suddenly become larger, it holds more until ``watch`` tells; then it can be dropped.
    """

    def __init__(self, most_bytes: int, enough_bytes: int, watch: MemoryWatch | None) -> None:
        self.size = self._first = fitting_messages(most_bytes, 0, 0, _LARGEST_QUEUE)
        """Messages that the next reader may hold ready."""
        self.reader: MessageReader | None = None
        """The reader that there is now."""
        self._most_bytes = most_bytes
        self._enough_bytes = enough_bytes
        self._watch = watch
        self._seen_messages = self._seen_bytes = 0
        self._dropped = False

    def resized(self, messages: int, size: int) -> bool:
        """Whether another reader has to be opened, now that so many messages of so many bytes were seen."""
        self._seen_messages += messages
        self._seen_bytes += size
        if self._dropped:
            self._dropped = False
            return True
        if self._seen_messages < _ENOUGH_MESSAGES and self._seen_bytes < self._enough_bytes:
            return False
        fitting = fitting_messages(self._most_bytes, self._seen_messages, self._seen_bytes, _LARGEST_QUEUE)
        self._seen_messages = self._seen_bytes = 0
        if self.size > fitting * _FEWER_FIT or self.size * _MORE_FIT <= fitting:
            self.size = fitting
            return True
        return False

    def drop_if_too_much(self) -> None:
        """Close the reader, with what it holds ready, where the process holds too much; ``resized`` tells it then."""
        if self.size > self._first and self.reader is not None and self._watch and self._watch.exceeded():
            self.size, self._dropped = self._first, True
            self.reader.close()
