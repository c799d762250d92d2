"""Records that are large travel in pieces: what becomes of them must not tell."""

from __future__ import annotations

import random

import pytest
from fastcrc import crc64

from transforms.files.assemble import BLOCK_BYTES, assemble, pack, split_blocks
from transforms.files.formats import make_format
from transforms.files.records import Records
from transforms.files.roll import FinishedFile, OpenFile

SIZES = [
    pytest.param([70_000] * 9, id="large"),
    pytest.param([300_000, 5, 200_000, 64 * 1024, 1_000_000], id="large on average"),
    pytest.param([2_000] * 400, id="small"),
    pytest.param([0, 100_000, 0, 0, 300_000, 0], id="with empty ones"),
]


def records(sizes: list[int]) -> tuple[list[bytes], Records]:
    made = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
    ids = [(1, number, -1) for number in range(len(sizes))]
    return made, Records.of(0, "", b"HEADER", ids, list(range(len(sizes))), made)


@pytest.mark.parametrize("sizes", SIZES)
def test_they_are_encoded_for_state_as_one_piece_would_be(sizes):
    made, found = records(sizes)
    again = Records.from_bytes(found.to_bytes())
    assert again == found
    assert bytes(again.data) == bytes(found.data) == b"".join(made)


@pytest.mark.parametrize("sizes", SIZES)
def test_a_slice_holds_its_records(sizes):
    made, found = records(sizes)
    for begin in range(len(made)):
        for end in {begin, begin + 1, len(made)}:
            part = found.slice(begin, end)
            assert bytes(part.data) == b"".join(made[begin:end])
            assert list(part.lengths) == sizes[begin:end]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_blocks_do_not_depend_on_pieces(sizes, pieces):
    made, found = records(sizes)
    step = -(-len(made) // pieces)
    parts = [found.slice(begin, min(begin + step, len(made))) for begin in range(0, len(made), step)]
    complete, rest = split_blocks(parts)
    wanted: list[list[bytes]] = [[]]
    for record in made:
        wanted[-1].append(record)
        if sum(map(len, wanted[-1])) >= BLOCK_BYTES:
            wanted.append([])
    left = wanted.pop()
    assert [(bytes(block), count) for block, count in complete] == [(b"".join(each), len(each)) for each in wanted]
    assert (b"" if rest is None else bytes(rest.data)) == b"".join(left)
    assert (0 if rest is None else len(rest)) == len(left)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("header", [b"", b"HEADER"])
@pytest.mark.parametrize("format_and_codec", [("jsonl", "none"), ("jsonl", "gzip"), ("avro", "null")])
def test_both_checksums_are_those_of_the_bytes(sizes, header, format_and_codec):
    """Also where both are of the same bytes, and one is taken for the other."""
    made, found = records(sizes)
    file_format, _ = make_format(*format_and_codec)
    half = len(made) // 2
    file = OpenFile(0, "", header, found.position(0), found.position(-1))
    part, rest = pack(file, [found.slice(0, half)], file_format, map)
    body = assemble(FinishedFile(file, [*rest, found.slice(half, len(made))]), file_format)
    content = (b"" if part is None else bytes(part.content)) + bytes(body.tail)
    assert body.crc == crc64.xz(content)
    assert body.records_crc == crc64.xz(b"".join(made))
