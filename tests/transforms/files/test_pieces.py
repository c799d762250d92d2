from __future__ import annotations

from fastcrc import crc64
from hypothesis import given
from hypothesis import strategies as st

from transforms.files.pieces import Pieces, pieces_of

_SOME = st.lists(st.binary(max_size=6000).map(lambda data: memoryview(data) if len(data) % 2 else data), max_size=8)


@given(st.lists(_SOME, max_size=4))
def test_pieces_are_the_bytes_of_all_of_them(parts):
    content = b"".join(bytes(piece) for part in parts for piece in part)
    pieces = Pieces.joined(Pieces(*part) for part in parts)
    assert (bytes(pieces), len(pieces)) == (content, len(content))
    assert b"".join(pieces) == pieces.whole() == content
    assert pieces.crc64() == crc64.xz(content)
    assert pieces.crc64(crc64.xz(b"before")) == crc64.xz(b"before" + content)


@given(_SOME, st.data())
def test_a_cut_is_the_bytes_between_two_places(parts, data):
    pieces = Pieces(*parts)
    begin = data.draw(st.integers(0, len(pieces)))
    end = data.draw(st.integers(begin, len(pieces)))
    cut = pieces.cut(begin, end)
    assert bytes(cut) == bytes(pieces)[begin:end]
    assert bytes(cut.copied()) == bytes(cut)
    assert not any(isinstance(piece, memoryview) for piece in cut.copied())


def test_pieces_that_lie_in_a_cut_as_a_whole_are_not_copied():
    first, second = bytes(10), bytes(20)
    found = list(Pieces(b"12", first, second, b"3").cut(1, 32).copied())
    assert found == [b"2", first, second]
    assert found[1] is first
    assert found[2] is second


def test_small_pieces_are_joined_and_large_ones_are_not_copied():
    large = bytes(10_000)
    found = list(Pieces.joined([Pieces(b"1", b"2"), Pieces(large, b"3"), Pieces(), Pieces(b"4", large)]))
    assert found == [b"12", large, b"34", large]
    assert found[1] is large


def test_a_body_of_bytes_is_one_piece_and_no_copy():
    body = b"x" * 10
    assert pieces_of(body).whole() is body
    pieces = Pieces(body)
    assert pieces_of(pieces) is pieces
