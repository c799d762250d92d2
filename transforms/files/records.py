"""Encoded records on their way from the encoder to the cutter, as one compact element.

The encoding below is a contract: elements wait in a runner's state while a job is upgraded.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from transforms.files.pieces import Body, Pieces, are_large, pieces_of
from transforms.pulsar.message_columns import MessageColumns
from transforms.pulsar.positions import Position

_HEAD = struct.Struct("<BqHIII")
_SEAL = struct.Struct("<Bqqqq")
_RECORDS_V1 = 1
_SEAL_V1 = 2

if sys.byteorder != "little":  # pragma: no cover
    msg = "the encodings of state and elements are little-endian; no machine of the other kind runs Beam today"
    raise ImportError(msg)


class Element:
    """What goes to the cutter: Records or a SealMark."""


@dataclass(frozen=True)
class SealMark(Element):
    """Behind the last message of every window that ends at or before ``before`` (milliseconds)."""

    before: int
    position: Position
    """The first position not yet read: everything before it went ahead."""


@dataclass(slots=True, eq=False)
class Records(Element):
    """Encoded records of consecutive messages of one (partition, window, lane), in order.

    The columns run in parallel; ``data`` holds the records, one behind the other: large ones in pieces of their own.
    """

    window: int
    lane: str
    header: bytes
    ledgers: array[int]
    entries: array[int]
    batches: array[int]
    times: array[int]
    """Publish times, milliseconds."""
    lengths: array[int]
    data: Pieces
    _ends: list[int] = field(default_factory=list, repr=False)

    @classmethod
    def of(
        cls,
        window: int,
        lane: str,
        header: bytes,
        ids: Sequence[tuple[int, int, int]],
        times: Sequence[int],
        records: Sequence[Body],
    ) -> Records:
        """Records from the columns of a batch; a batch index of -1 (no producer batch) becomes 0."""
        ledgers, entries, batches = zip(*ids, strict=True)
        return cls(
            window,
            lane,
            header,
            array("q", ledgers),
            array("q", entries),
            array("q", [index if index > 0 else 0 for index in batches]),
            array("q", times),
            array("q", map(len, records)),
            _pieces(records),
        )

    @classmethod
    def of_columns(
        cls, window: int, lane: str, header: bytes, columns: MessageColumns, records: Sequence[Body]
    ) -> Records:
        """Records of all messages of some columns."""
        ledgers, entries, times = array("q"), array("q"), array("q")
        for run in columns.entries:
            ledgers.extend(array("q", (run.ledger,)) * run.messages)
            entries.extend(array("q", (run.entry,)) * run.messages)
            times.extend(array("q", (run.publish_time,)) * run.messages)
        indexes = columns.indexes
        batches = array("q", indexes if min(indexes) >= 0 else [max(index, 0) for index in indexes])
        lengths = array("q", map(len, records))
        return cls(window, lane, header, ledgers, entries, batches, times, lengths, _pieces(records))

    def __len__(self) -> int:
        return len(self.lengths)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Records) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]

    def position(self, index: int) -> Position:
        """Position of the message at this place; negative places count from the end."""
        return Position(self.ledgers[index], self.entries[index], self.batches[index])

    @property
    def ends(self) -> list[int]:
        """Where each record ends within ``data``."""
        if not self._ends:
            self._ends = list(accumulate(self.lengths))
        return self._ends

    def slice(self, begin: int, end: int) -> Records:
        """The records from place ``begin`` up to ``end``."""
        if begin == 0 and end == len(self):
            return self
        ends = self.ends
        low = ends[begin - 1] if begin else 0
        return Records(
            self.window,
            self.lane,
            self.header,
            self.ledgers[begin:end],
            self.entries[begin:end],
            self.batches[begin:end],
            self.times[begin:end],
            self.lengths[begin:end],
            self.data.cut(low, ends[end - 1] if end > begin else low).copied(),
        )

    def place(self, position: Position, begin: int = 0) -> int:
        """The first place, from ``begin`` on, of a message at or behind ``position``."""
        low, high = begin, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.position(middle) < position:
                low = middle + 1
            else:
                high = middle
        return low

    def to_bytes(self) -> bytes:
        """The stable encoding."""
        lane = self.lane.encode()
        return b"".join(
            (
                _HEAD.pack(_RECORDS_V1, self.window, len(lane), len(self.header), len(self), len(self.data)),
                lane,
                self.header,
                *(column.tobytes() for column in self._columns()),
                *self.data,
            )
        )

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Records:
        """Decode what ``to_bytes`` gave. Raises ValueError for anything else."""
        if len(encoded) < _HEAD.size:
            raise ValueError("records that are cut off")
        encoding, window, lane_size, header_size, count, data_size = _HEAD.unpack_from(encoded)
        if encoding != _RECORDS_V1:
            raise ValueError(f"records in an encoding of number {encoding}; this build reads {_RECORDS_V1}")
        if len(encoded) != _HEAD.size + lane_size + header_size + 5 * 8 * count + data_size:
            raise ValueError("records that are not as long as they say")
        at = _HEAD.size
        lane = encoded[at : at + lane_size].decode()
        at += lane_size
        header = encoded[at : at + header_size]
        at += header_size
        columns = []
        for _ in range(5):
            column = array("q")
            column.frombytes(encoded[at : at + 8 * count])
            columns.append(column)
            at += 8 * count
        ledgers, entries, batches, times, lengths = columns
        if sum(lengths) != data_size or (count and min(lengths) < 0):
            raise ValueError("records whose lengths do not add up")
        data = Pieces(encoded[at : at + data_size])
        return cls(window, lane, header, ledgers, entries, batches, times, lengths, data)

    def _columns(self) -> tuple[array[Any], ...]:
        return self.ledgers, self.entries, self.batches, self.times, self.lengths


def _pieces(records: Sequence[Body]) -> Pieces:
    if not are_large(records):
        with suppress(TypeError):  # a large one that is in pieces, among small ones
            return Pieces(b"".join(records))  # type: ignore[arg-type]
    return Pieces.joined(map(pieces_of, records))


def encode_element(element: Element) -> bytes:
    """The stable encoding of an element."""
    if isinstance(element, Records):
        return element.to_bytes()
    assert isinstance(element, SealMark)  # noqa: S101 - there are two
    return _SEAL.pack(_SEAL_V1, element.before, *element.position)


def decode_element(encoded: bytes) -> Element:
    """Decode what ``encode_element`` gave. Raises ValueError for anything else."""
    if encoded[:1] == bytes([_SEAL_V1]):
        if len(encoded) != _SEAL.size:
            raise ValueError("a seal that is not as long as seals are")
        _, before, *position = _SEAL.unpack(encoded)
        return SealMark(before, Position(*position))
    return Records.from_bytes(encoded)
