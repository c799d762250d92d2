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
