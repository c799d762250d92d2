"""From records to the bytes of a file.

Blocks are counted from the start of the file: a block is closed by the record that brings it to ``BLOCK_BYTES`` of
uncompressed records. So the bytes of a file do not depend on when its blocks are compressed, nor on how it is
cut into parts for the upload.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate, chain

from transforms.files.format import FileFormat
from transforms.files.pieces import Piece, Pieces
from transforms.files.records import Records
from transforms.files.roll import FinishedFile, OpenFile

BLOCK_BYTES = 256 * 1024
#: Of COS: a part of a multipart upload has at least 1 MiB, the last one excepted.
MIN_PART_BYTES = 1024 * 1024
#: Parts are multiples of it: a file that grows on a disk is written past the system's cache from such places only.
PART_MULTIPLE = 4096

#: Records that make up a block, and how many they are.
Block = tuple[Pieces, int]
#: Applies a function to each item, perhaps in parallel; results in order.
Map = Callable[[Callable[[Block], Pieces], Iterable[Block]], Iterable[Pieces]]


@dataclass(frozen=True, slots=True)
class Part:
    """What can leave memory of a file that is not cut yet."""

    offset: int
    """Bytes of the file before it: all in parts, too."""
    content: Pieces


@dataclass(frozen=True, slots=True)
class Body:
    """A file that is ready to be written: spooled parts, and the bytes behind them."""

    parts: tuple[str, ...]
    tail: Pieces
    size: int
    """Bytes of the whole object."""
    crc: int
    """CRC-64/XZ of the whole object."""
    records_crc: int
    """CRC-64/XZ of its uncompressed records."""


def assemble(finished: FinishedFile, file_format: FileFormat) -> Body:
    """Compress what waits and put it behind what is packed. Pure; does not change ``finished``."""
    file = finished.file
    complete, rest = split_blocks(finished.pieces)
    if rest is not None:
        complete.append((rest.data, len(rest)))
    fresh, crc, records_crc = _behind(file, complete, (file_format.block(*block) for block in complete))
    return Body(
        parts=file.parts,
        tail=Pieces.joined((Pieces(file.packed), fresh)),
        size=file.packed_size + len(fresh),
        crc=crc,
        records_crc=records_crc,
    )


def pack(
    file: OpenFile, pieces: list[Records], file_format: FileFormat, parallel: Map
) -> tuple[Part | None, list[Records]]:
    """Compress the complete blocks of what waits, and count them as packed.

    Returns the part that is to be spooled now (None as long as it would be too small), and the records that go on
    waiting. What is packed and in no part stays in ``file.packed``.
    """
    complete, rest = split_blocks(pieces)
    blocks = parallel(lambda block: file_format.block(*block), complete)
    fresh, file.packed_crc, file.records_crc = _behind(file, complete, blocks)
    file.packed_size += len(fresh)
    packed = Pieces.joined((Pieces(file.packed), fresh))
    size = len(packed) - len(packed) % PART_MULTIPLE if len(packed) >= MIN_PART_BYTES else 0
    file.packed = bytes(packed.cut(size, len(packed)))
    part = Part(file.packed_size - len(packed), packed.cut(0, size)) if size else None
    return part, [] if rest is None else [rest]


def split_blocks(pieces: list[Records]) -> tuple[list[Block], Records | None]:
    """Complete blocks, which are views of the pieces, and a copy of the records behind the last of them."""
    complete: list[Block] = []
    begun: list[Piece] = []
    count = size = 0
    left: list[tuple[Records, int]] = []
    for piece in pieces:
        ends, data = piece.ends, piece.data
        begin = low = 0
        while (last := bisect_left(ends, low + BLOCK_BYTES - size, begin)) < len(ends):
            complete.append((Pieces(*begun, *data.cut(low, ends[last])), count + last + 1 - begin))
            begin, low, count, size = last + 1, ends[last], 0, 0
            begun.clear()
            left.clear()
        if begin < len(ends):
            begun += data.cut(low, len(data))
            left.append((piece, begin))
            count += len(ends) - begin
            size += len(data) - low
    return complete, join([piece.slice(begin, len(piece)) for piece, begin in left]) if left else None


def join(pieces: list[Records]) -> Records:
    """Pieces of one (window, lane) as one."""
    if len(pieces) == 1:
        return pieces[0]
    first = pieces[0]
    ledgers, entries, batches, times, lengths = (
        first.ledgers[:],
        first.entries[:],
        first.batches[:],
        first.times[:],
        first.lengths[:],
    )
    for piece in pieces[1:]:
        ledgers += piece.ledgers
        entries += piece.entries
        batches += piece.batches
        times += piece.times
        lengths += piece.lengths
    data = Pieces(b"".join(chain.from_iterable(piece.data for piece in pieces)))
    return Records(
        first.window,
        first.lane,
        first.header,
        ledgers,
        entries,
        batches,
        times,
        lengths,
        data,
        list(accumulate(lengths)),
    )


def _behind(file: OpenFile, complete: Iterable[Block], blocks: Iterable[Pieces]) -> tuple[Pieces, int, int]:
    """What comes behind what is packed: blocks, ahead of the first of them the header; and both CRCs with it."""
    fresh = [Pieces() if file.packed_size else Pieces(file.header)]
    crc, records_crc = fresh[0].crc64(file.packed_crc), file.records_crc
    for (records, _), block in zip(complete, blocks, strict=True):
        same = block is records and crc == records_crc
        # One behind the other, for without compression most are the same bytes, which are in the caches then.
        records_crc = records.crc64(records_crc)
        crc = records_crc if same else block.crc64(crc)
        fresh.append(block)
    return Pieces.joined(fresh), crc, records_crc
