"""Records that are large travel in pieces: what becomes of them must not tell."""

from __future__ import annotations

import random

import pytest

from transforms.files.assemble import BLOCK_BYTES, split_blocks
from transforms.files.records import Records

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
