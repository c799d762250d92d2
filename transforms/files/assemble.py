"""From records to the bytes of a file.

Blocks are counted from the start of the file: a block is closed by the record that brings it to ``BLOCK_BYTES`` of
uncompressed records. So the bytes of a file do not depend on when its blocks are compressed, nor on how it is
cut into parts for the upload.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate

from fastcrc.crc64 import xz as crc64

from transforms.files.format import FileFormat
from transforms.files.records import Records
from transforms.files.roll import FinishedFile, OpenFile

BLOCK_BYTES = 256 * 1024
#: Of COS: a part of a multipart upload has at least 1 MiB, the last one excepted.
MIN_PART_BYTES = 1024 * 1024

#: Applies a function to each item, perhaps in parallel; results in order.
Map = Callable[[Callable[[tuple[bytes, int]], bytes], Iterable[tuple[bytes, int]]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Body:
    """A file that is ready to be written: spooled parts, and the bytes behind them."""

    parts: tuple[str, ...]
    tail: bytes
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
    tail = b"".join((*_start(file), *(file_format.block(data, count) for data, count in complete)))
    fresh = tail[len(file.packed) :] if file.packed else tail
    return Body(
        parts=file.parts,
        tail=tail,
        size=file.packed_size + len(fresh),
        crc=crc64(fresh, file.packed_crc),
        records_crc=_records_crc(file, complete),
    )


def pack(
    file: OpenFile, pieces: list[Records], file_format: FileFormat, parallel: Map
) -> tuple[bytes | None, list[Records]]:
    """Compress the complete blocks of what waits, and count them as packed.

    Returns the bytes of a part that is to be spooled now (None as long as they are too few for one, in which case they
    stay in ``file.packed``), and the records that go on waiting.
    """
    complete, rest = split_blocks(pieces)
    fresh = b"".join((*(() if file.packed_size else (file.header,)), *parallel(_block_of(file_format), complete)))
    file.packed_crc = crc64(fresh, file.packed_crc)
    file.records_crc = _records_crc(file, complete)
    file.packed_size += len(fresh)
    file.packed += fresh
    part = None
    if len(file.packed) >= MIN_PART_BYTES:
        part, file.packed = file.packed, b""
    return part, [] if rest is None else [rest]


def split_blocks(pieces: list[Records]) -> tuple[list[tuple[bytes, int]], Records | None]:
    """Complete blocks, as (records, count), and the records behind the last of them."""
    complete: list[tuple[bytes, int]] = []
    begun: list[Records] = []
    size = 0
    for piece in pieces:
        ends, data = piece.ends, memoryview(piece.data)
        begin = low = 0
        while (last := bisect_left(ends, low + BLOCK_BYTES - size, begin)) < len(ends):
            alone = not begun and ends[last] - low == len(data)
            records = piece.data if alone else b"".join((*(each.data for each in begun), data[low : ends[last]]))
            complete.append((records, sum(map(len, begun)) + last + 1 - begin))
            begin, low, size = last + 1, ends[last], 0
            begun.clear()
        if begin < len(ends):
            begun.append(piece.slice(begin, len(ends)))
            size += len(begun[-1].data)
    return complete, join(begun) if begun else None


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
    data = b"".join([piece.data for piece in pieces])
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


def _start(file: OpenFile) -> tuple[bytes, ...]:
    return (file.packed,) if file.packed_size else (file.header,)


def _records_crc(file: OpenFile, blocks: list[tuple[bytes, int]]) -> int:
    crc = file.records_crc
    for data, _ in blocks:
        crc = crc64(data, crc)
    return crc


def _block_of(file_format: FileFormat) -> Callable[[tuple[bytes, int]], bytes]:
    return lambda block: file_format.block(*block)
