"""Positions of messages in one partition, and ranges of them.

Pulsar names a message by ledger, entry and the index inside its producer batch. Positions here are
*half-open*, as Beam's restrictions are: a range has a first position that belongs to it and a stop
that does not. A message outside any producer batch has batch index -1 at Pulsar and 0 here, so that
positions of one partition form one order.
"""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """A place in the sequence of messages of one partition; the order of tuples is the order of messages."""

    ledger: int
    entry: int
    batch: int = 0

    def next_message(self) -> Position:
        """The first position behind this message."""
        return Position(self.ledger, self.entry, self.batch + 1)

    def next_entry(self) -> Position:
        """The first position behind the whole entry, that is, behind all of its producer batch."""
        return Position(self.ledger, self.entry + 1, 0)

    def __str__(self) -> str:
        """As a person writes it in ``--start`` and ``--end``."""
        return f"{self.ledger}:{self.entry}:{self.batch}"


#: Before every message of a partition.
EARLIEST = Position(-1, -1, 0)
#: Behind every message of a partition; ids are at most 63 bits wide.
LATEST = Position(2**63 - 1, 2**63 - 1, 0)
