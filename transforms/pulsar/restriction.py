"""The restriction of the source: a stretch of one partition, and what its reader must remember.

One element is one partition and has exactly one restriction: runners key the stage by the element, and several
restrictions of one element could overwrite each other's remainder after a restore.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from apache_beam.coders import Coder
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker

from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.windows import WindowState


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """The element: a partition, and the stretch of it that is to be read, from ``start`` up to before ``stop``."""

    partition: TopicPartition
    start: Position
    stop: Position


@dataclass(frozen=True, slots=True)
class ReadRange:
    """The restriction: what is left to read of the partition."""

    start: Position
    stop: Position
    look_from: Position | None = None
    """Where the reader starts, if before ``start``: at the first chunk of a message that is not complete yet."""
    windows: WindowState = WindowState()
    """What is known of the windows at ``start``."""

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return self.start >= self.stop

    @property
    def settled(self) -> Position:
        """Nothing before this is needed any more, once all before ``start`` is done with."""
        return self.start if self.look_from is None else min(self.look_from, self.start)


@dataclass(frozen=True, slots=True)
class Claim:
    """All messages before ``upto`` are taken; with what has to be known to go on there."""

    upto: Position
    windows: WindowState
    look_from: Position | None = None


class ReadTracker(RestrictionTracker):  # type: ignore[misc]
    """Claims stretches of messages in order. Splits only right behind what is claimed, as a self-checkpoint does."""

    def __init__(self, restriction: ReadRange) -> None:
        self._restriction = restriction
        self._claimed: Claim | None = None
        self._done = restriction.empty

    def current_restriction(self) -> ReadRange:
        """As given, or up to where it was split."""
        return self._restriction

    def try_claim(self, claim: Claim) -> bool:
        """Claim all messages before ``claim.upto``; False, and nothing claimed, where that is beyond the stop."""
        if claim.upto > self._restriction.stop:
            return False
        if self._claimed is not None and claim.upto < self._claimed.upto:
            raise ValueError(f"claimed up to {claim.upto} after {self._claimed.upto}")
        self._claimed = claim
        self._done = claim.upto >= self._restriction.stop
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[ReadRange, ReadRange] | None:
        """Give away all that is not claimed. Other fractions are refused: the count of what remains is not known."""
        if fraction_of_remainder != 0 or self._done:
            return None
        whole, claimed = self._restriction, self._claimed
        if claimed is None:
            rest = whole
            self._restriction = replace(whole, stop=whole.start)
        else:
            rest = ReadRange(claimed.upto, whole.stop, claimed.look_from, claimed.windows)
            self._restriction = replace(whole, stop=claimed.upto)
        self._done = True
        return self._restriction, rest

    def check_done(self) -> None:
        """Raise ValueError if messages are left that nobody claimed: they would be lost."""
        if not self._done:
            reached = self._claimed.upto if self._claimed else self._restriction.start
            raise ValueError(f"read up to {reached} only, not to {self._restriction.stop}")

    def current_progress(self) -> RestrictionProgress:
        """Nothing or all: how many messages lie between two positions is not known."""
        return RestrictionProgress(fraction=1.0 if self._done else 0.0)

    def is_bounded(self) -> bool:
        """True: a restriction has a stop. The unbounded source has its own class."""
        return True


class PartitionRangeCoder(Coder):  # type: ignore[misc]
    """Stable between versions: runners keep state under the encoded element."""

    def encode(self, value: PartitionRange) -> bytes:
        """Encode as JSON."""
        return _dump([value.partition.topic, value.partition.index, value.start, value.stop])

    def decode(self, encoded: bytes) -> PartitionRange:
        """Decode what ``encode`` gave."""
        topic, index, start, stop = json.loads(encoded)
        return PartitionRange(TopicPartition(topic, index), Position(*start), Position(*stop))

    def is_deterministic(self) -> bool:
        """True: used as a key."""
        return True


class ReadRangeCoder(Coder):  # type: ignore[misc]
    """Stable between versions: restrictions wait in a runner's state. Unknown fields of newer versions are refused."""

    def encode(self, value: ReadRange) -> bytes:
        """Encode as JSON."""
        windows = value.windows
        return _dump([1, value.start, value.stop, value.look_from, windows.high, windows.sealed, windows.open])

    def decode(self, encoded: bytes) -> ReadRange:
        """Decode what ``encode`` gave."""
        version, start, stop, look_from, high, sealed, opened = json.loads(encoded)
        if version != 1:
            raise ValueError(f"a restriction in an encoding of number {version}; this build reads 1")
        return ReadRange(
            Position(*start),
            Position(*stop),
            Position(*look_from) if look_from else None,
            WindowState(high, sealed, tuple(opened)),
        )

    def is_deterministic(self) -> bool:
        """True."""
        return True


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
