"""Bytes that lie in several places: the content of a file on its way to where it is written, without being copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby

from fastcrc.crc64 import xz

from transforms.memory import LARGE_PAYLOAD

Piece = bytes | memoryview

#: Pieces that are smaller are joined with their neighbours: each costs a call wherever they are written.
_SMALL = 4096


class Pieces:
    """Pieces that follow each other; as long as all of them, and sent or written one by one. Not changed once made.

    Pieces may be views of what is larger, which stays in memory as long as they do.
    """

    __slots__ = ("_pieces", "_size")

    def __init__(self, *pieces: Piece) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))

    @classmethod
    def joined(cls, parts: Iterable[Pieces]) -> Pieces:
        """One behind the other."""
        every = (piece for part in parts for piece in part)
        groups = (list(group) for _, group in groupby(every, lambda piece: len(piece) < _SMALL))
        return cls(*chain.from_iterable([b"".join(each)] if len(each[0]) < _SMALL else each for each in groups))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Piece]:
        return iter(self._pieces)

    def __bytes__(self) -> bytes:
        return b"".join(self._pieces)

    def cut(self, begin: int, end: int) -> Pieces:
        """The bytes from ``begin`` to before ``end``; views of pieces that lie in it in part."""
        if begin == 0 and end == self._size:
            return self
        found: list[Piece] = []
        at = 0
        for piece in self._pieces:
            low, high = max(begin - at, 0), min(end - at, len(piece))
            if low < high:
                found.append(piece if high - low == len(piece) else memoryview(piece)[low:high])
            at += len(piece)
            if at >= end:
                break
        return Pieces(*found)

    def copied(self) -> Pieces:
        """The same without views, which would keep in memory what they are of."""
        return Pieces(*(bytes(piece) if isinstance(piece, memoryview) else piece for piece in self._pieces))

    def crc64(self, before: int = 0) -> int:
        """CRC-64/XZ of what has the CRC ``before`` (0: nothing), with these behind it."""
        for piece in self._pieces:
            before = xz(piece, before)
        return before

    def whole(self) -> Piece:
        """All in one piece; a copy, unless they are one."""
        return self._pieces[0] if len(self._pieces) == 1 else bytes(self)


Body = bytes | Pieces


def pieces_of(body: Piece | Pieces) -> Pieces:
    """A body as pieces."""
    return body if isinstance(body, Pieces) else Pieces(body)


def are_large(bodies: Sequence[Body]) -> bool:
    """Whether they are so large, on average, that they are better not copied together."""
    return sum(map(len, bodies)) >= LARGE_PAYLOAD * len(bodies)
