"""What the read-ahead of a partition hands over at once."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace

from transforms.memory import MESSAGE_BYTES
from transforms.pulsar.client import batch_size, start_of
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import ClientMessage
from transforms.pulsar.positions import Position


@dataclass(slots=True)
class Portion:
    """Consecutive messages of a partition. Empty with ``caught_up``: the broker holds no further one."""

    messages: list[ClientMessage] = field(default_factory=list)
    ids: list[tuple[int, int, int]] = field(default_factory=list)
    publish_times: list[int] = field(default_factory=list)
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
        return self.bytes + MESSAGE_BYTES * len(self.ids)

    def position(self, index: int) -> Position:
        """Position of the message at this place."""
        ledger, entry, batch = self.ids[index]
        return Position(ledger, entry, max(batch, 0))

    def behind(self, index: int) -> Position:
        """The first position behind the message at this place; behind its entry, if that ends with it."""
        position, batch = self.position(index), self.ids[index][2]
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
        place = bisect_left(range(len(self.ids)), stop, key=self.position)
        share = self.bytes * place // len(self.ids)
        # A message that begins behind the stop is no matter of what lies before it; one that begins before and ends
        # behind it is, for its first chunk must be kept.
        begun = [self.resume] if self.resume is not None else []
        begun += [first for first in map(start_of, self.messages[place:]) if first < stop]
        resume = min([*begun, stop]) if begun else None
        gaps = [replace(gap, stop=min(gap.stop, stop)) for gap in self.gaps if gap.start < stop]
        return Portion(
            self.messages[:place], self.ids[:place], self.publish_times[:place], share, resume=resume, gaps=gaps
        )
