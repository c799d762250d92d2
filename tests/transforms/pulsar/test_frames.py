"""Frames as they come: in any pieces, large and small, with pings between them, and cut off."""

from __future__ import annotations

import random
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.pulsar import wire
from transforms.pulsar.protobuf import ProtocolError, encode
from transforms.pulsar.wire import Connection, Kind

TAILS = st.lists(
    st.one_of(st.integers(0, 300), st.sampled_from([65_500, 65_536, 65_600, 200_000]), st.just(-1)), max_size=30
)
PIECES = st.lists(st.sampled_from([1, 7, 8, 9, 1_000, 65_536, 300_000]), min_size=1, max_size=20)


def frame(kind: Kind, fields: dict[int, int | str | bytes], tail: bytes = b"") -> bytes:
    command = encode({1: int(kind), int(kind): encode(fields)})
    return (4 + len(command) + len(tail)).to_bytes(4, "big") + len(command).to_bytes(4, "big") + command + tail


def message(number: int, tail: bytes) -> bytes:
    # From 128 bytes on, the size of the fields is no longer one byte.
    return frame(Kind.MESSAGE, {1: 1, 2: encode({1: number, 2: 5}), 9: b"x" * (number % 5 * 40)}, tail)


def send(peer: socket.socket, data: bytes, pieces: list[int]) -> threading.Thread:
    def run() -> None:
        at = turn = 0
        while at < len(data):
            size = pieces[turn % len(pieces)]
            peer.sendall(data[at : at + size])
            at, turn = at + size, turn + 1

    sending = threading.Thread(target=run)
    sending.start()
    return sending


@pytest.fixture(scope="module")
def contents() -> bytes:
    return random.Random(1).randbytes(300_000)


@settings(max_examples=60, deadline=None)
@given(TAILS, PIECES, st.booleans())
def test_frames_in_any_pieces(contents, tails, pieces, at_once):
    expected = [(number, contents[number : number + size]) for number, size in enumerate(tails) if size >= 0]
    data = b"".join(
        frame(Kind.PING, {}) if size < 0 else message(number, contents[number : number + size])
        for number, size in enumerate(tails)
    )
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours, 5.0) as connection:
        sending = send(theirs, data, pieces if len(data) < 100_000 else [50_000])
        got = []
        while len(got) < len(expected):
            found = connection.arriving(5.0)
            if found is None:
                continue  # a ping
            kind, fields, tail = found
            assert kind == Kind.MESSAGE
            got.append((fields.data, bytes(tail)))
            if at_once:
                got += connection.messages_here()
        sending.join()
    assert got == [
        (encode({1: 1, 2: encode({1: number, 2: 5}), 9: b"x" * (number % 5 * 40)}), tail) for number, tail in expected
    ]


@pytest.mark.parametrize("size", [100, 500_000])
def test_a_frame_that_is_cut_off_is_an_error(contents, size):
    whole = message(1, contents[:size])
    for length in (3, 10, len(whole) // 2, len(whole) - 1):
        ours, theirs = socket.socketpair()
        with Connection(ours, 5.0) as connection:
            sending = send(theirs, whole[:length], [100_000])
            threading.Thread(target=lambda peer=theirs, sent=sending: (sent.join(), peer.close())).start()
            with pytest.raises(ConnectionAbortedError):
                connection.arriving(5.0)


@pytest.mark.parametrize("size", [100, 500_000])
def test_a_frame_that_does_not_go_on_is_not_waited_for_for_ever(contents, monkeypatch, size):
    monkeypatch.setattr(wire, "_FRAME_TIMEOUT", 0.2)
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours, 0.2) as connection:
        sending = send(theirs, message(1, contents[:size])[:-1], [100_000])
        with pytest.raises(TimeoutError):
            connection.arriving(5.0)
        sending.join()


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1", b"\0\0\0\x03\0\0\0\x00", b"\0\0\0\x08\0\0\0\x05abcd"], ids=["HTTP", "too short", "command"]
)
def test_sizes_that_cannot_be_are_errors(data):
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours, 5.0) as connection:
        theirs.sendall(data)
        with pytest.raises(ProtocolError):
            connection.arriving(5.0)
