"""What goes from one partition of a backup to one of the target: cut into entries, each sent once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final, Protocol

from transforms.pulsar.outgoing import OutgoingMessage
from transforms.pulsar.positions import Position
from transforms.pulsar.producing import Entry

#: Of an entry. Where it is cut depends on the messages alone: then an attempt cuts as the one before it did, and the
#: broker, which drops an entry whole or not at all, never drops a message that it does not have.
MAX_MESSAGES: Final = 100
MAX_BYTES: Final = 256 << 10


class EntrySender(Protocol):
    """A producer, as ``PartitionProducer`` is one."""

    stored: int
    doubtful: int

    def send(self, entry: Entry) -> None:
        """Send an entry behind those before."""
        ...

    def flush(self) -> None:
        """Wait until all is stored."""
        ...

    def deduplicates(self) -> bool:
        """Whether the broker deduplicates, as far as that shows."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


@dataclass
class Pace:
    """At most so many messages and bytes a second on the average; None: as many as can be."""

    messages: float | None
    size: float | None
    _due: float = 0.0

    def pause(self, messages: int, size: int) -> float:
        """How many seconds to wait before so much is sent, which then counts as sent."""
        now = time.monotonic()
        taken = max(messages / self.messages if self.messages else 0.0, size / self.size if self.size else 0.0)
        self._due = max(self._due, now) + taken
        return self._due - now


@dataclass
class TargetStream:
    """Numbers the messages from 1, in the order in which they are added, and leaves out those that were sent before.

    Those are the first ``sender.stored`` ones, and those up to ``reached``, the original place of the last one that the
    target holds of this restore. Numbers must therefore be the same in each attempt, and so a message that cannot be
    sent takes one too (``leave_out``): another attempt may know a schema that this one does not.
    """

    sender: EntrySender
    reached: Position | None = None
    pace: Pace | None = None
    sent: int = 0
    sent_bytes: int = 0
    already: int = 0
    """Messages that the target held before."""
    first_time: int | None = None
    last_time: int | None = None
    """The earliest and the latest of the original publish times, of all messages."""
    _number: int = 0
    _messages: list[OutgoingMessage] = field(default_factory=list)
    _places: list[Position] = field(default_factory=list)
    _bytes: int = 0

    @property
    def messages(self) -> int:
        """Messages in all, sent before or now."""
        return self.sent + self.already

    def add(self, message: OutgoingMessage, origin: Position, publish_time: int) -> None:
        """Take the next message."""
        if self._messages and (
            len(self._messages) >= MAX_MESSAGES
            or self._bytes + message.size > MAX_BYTES
            or message.alone
            or self._messages[0].alone
            or message.schema_version != self._messages[0].schema_version
        ):
            self._cut()
        self._messages.append(message)
        self._places.append(origin)
        self._bytes += message.size
        self.first_time = publish_time if self.first_time is None else min(self.first_time, publish_time)
        self.last_time = publish_time if self.last_time is None else max(self.last_time, publish_time)

    def leave_out(self, count: int = 1) -> None:
        """Take the numbers of the next messages, which are not sent."""
        self._cut()
        self._number += count

    def finish(self) -> None:
        """Send what is left; returns when all is stored."""
        self._cut()
        self.sender.flush()

    def _cut(self) -> None:
        messages, places = self._messages, self._places
        first = self._number + 1
        self._number += len(messages)
        self._messages, self._places, self._bytes = [], [], 0
        left = next((place for place in range(len(messages)) if not self._is_there(first + place, places[place])), None)
        self.already += len(messages) if left is None else left
        if left is None:
            return
        entry = Entry(first + left, messages[left:], places[-1], sum(each.size for each in messages[left:]))
        if self.pace is not None and (pause := self.pace.pause(len(entry.messages), entry.size)) > 0:
            # Whatever happens to the connection meanwhile, nothing is unknown.
            self.sender.flush()
            time.sleep(pause)
        self.sender.send(entry)
        self.sent += len(entry.messages)
        self.sent_bytes += entry.size

    def _is_there(self, number: int, place: Position) -> bool:
        return number <= self.sender.stored or (self.reached is not None and place <= self.reached)
