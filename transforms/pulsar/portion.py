"""What the read-ahead of a partition hands over at once."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace

from transforms.memory import MESSAGE_BYTES
from transforms.pulsar.client import batch_size, start_of
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.message_columns import MessageColumns
from transforms.pulsar.messages import ClientMessage
from transforms.pulsar.positions import Position


@dataclass(slots=True)
class Portion:
    """Consecutive messages of a partition. Empty with ``caught_up``: the broker holds no further one."""

    columns: MessageColumns = field(default_factory=MessageColumns)
    bytes: int = 0
    """Bytes of the payloads."""
    caught_up: int = 0
    """When the broker was asked and held no further one, in milliseconds; 0: it was not, or it did."""
    resume: Position | None = None
    """Where the first message begins that was not complete at that time, if there is one (see ``chunks``)."""
    gaps: list[Gap] = field(default_factory=list)
    """What the broker has deleted between these messages, or before them."""

    @property
    def held(self) -> int:
        """Bytes in memory."""
        # Payloads are there twice: in the client's messages, which share those of an entry, and as bytes.
        return 2 * self.bytes + MESSAGE_BYTES * len(self.messages)

    @property
    def messages(self) -> list[ClientMessage]:
        """The messages of the client."""
        return self.columns.messages

    def position(self, index: int) -> Position:
        """Position of the message at this place; negative places count from the end."""
        return self.columns.position(index)

    def behind(self, index: int) -> Position:
        """The first position behind the message at this place; behind its entry, if that ends with it."""
        position, batch = self.position(index), self.columns.indexes[index]
        if batch < 0 or batch + 1 == batch_size(self.messages[index].message_id()):
            return position.next_entry()
        return position.next_message()

    def look_from(self, place: Position) -> Position | None:
        """Where a reader has to start that goes on at ``place``, behind this portion; None: there.

        Entries that were looked at while the client was silent may begin a message further on, which is yet to be met.
        """
        return self.resume if self.resume is not None and self.resume < place else None

    def before(self, stop: Position) -> Portion:
        """What of the portion lies before ``stop``."""
        if self.position(-1) < stop:
            return self
        place = bisect_left(range(len(self.messages)), stop, key=self.position)
        # A message that begins behind the stop is no matter of what lies before it; one that begins before and ends
        # behind it is, for its first chunk must be kept.
        begun = [self.resume] if self.resume is not None else []
        begun += [first for first in map(start_of, self.messages[place:]) if first < stop]
        resume = min([*begun, stop]) if begun else None
        gaps = [replace(gap, stop=min(gap.stop, stop)) for gap in self.gaps if gap.start < stop]
        columns = self.columns.part(0, place)
        return Portion(columns, sum(map(len, columns.payloads)), resume=resume, gaps=gaps)
