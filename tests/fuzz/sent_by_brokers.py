"""Pulsar's binary protocol."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.inputs import damaged
from tests.fuzz.target import target
from tests.transforms.pulsar.protobuf_fields import assert_read_back
from transforms.pulsar import ends, entries, wire
from transforms.pulsar.message_fields import fields_of
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import Fields, ProtocolError, encode
from transforms.pulsar.stored_messages import NotPlainError, StoredEntryMessages

protobuf_fields = st.dictionaries(
    st.integers(1, 40), st.one_of(st.integers(0, 2**64 - 1), st.text(max_size=6), st.binary(max_size=12)), max_size=6
)
protobufs = st.recursive(
    protobuf_fields.map(encode),
    lambda inner: st.dictionaries(st.integers(1, 40), inner, max_size=3).map(encode),
    max_leaves=4,
)


@target(protobuf_fields)
def protobuf_written_and_read(fields: dict[int, Any]) -> None:
    assert_read_back(fields)


@target(st.one_of(damaged(protobufs), st.binary(max_size=40)))
def protobuf_from_anyone(content: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        fields = Fields(content)
        for number in range(1, 12):
            assert fields.number(number) >= 0
            assert isinstance(fields.text(number), str)
            ends.entry_of(fields, number)


frames = st.builds(
    lambda kind, fields, tail: (
        (command := encode({1: kind, kind: encode(fields)}))
        and (4 + len(command) + len(tail)).to_bytes(4, "big") + len(command).to_bytes(4, "big") + command + tail
    ),
    st.sampled_from([int(kind) for kind in wire.Kind]),
    protobuf_fields,
    st.binary(max_size=8),
)


@target(st.one_of(damaged(st.lists(frames, max_size=3).map(b"".join)), st.just(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
def frames_from_a_broker(content: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(content)
        theirs.shutdown(socket.SHUT_WR)
        connection = wire.Connection(ours, timeout=5)
        with contextlib.suppress(OSError, ProtocolError, wire.ServerRefusal):
            connection.request(wire.Kind.CONNECT, {1: "x"})
            connection.arriving(5)


#: Fields that it has, of whatever type.
metadata_of_entries = st.dictionaries(
    st.sampled_from([1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 16, 17, 18, 24, 25]),
    st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1), st.binary(max_size=6)),
    max_size=6,
).map(encode)


@target(st.builds(
    lambda before, checksum, metadata, payload: (
        before + checksum + len(metadata).to_bytes(4, "big") + metadata + payload
    ),
    st.sampled_from([b"", b"\x0e\x02\0\0\0\x02\x08\x01", b"\x0e\x02\xff\xff\xff\xff"]),
    st.sampled_from([b"", b"\x0e\x01abcd"]),
    st.one_of(damaged(protobufs), metadata_of_entries),
    st.binary(max_size=30),
).flatmap(lambda content: damaged(st.just(content))))  # fmt: skip
def entries_as_stored(content: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        entry = entries._entry(Position(1, 2), content)
        assert entry.messages >= 1
        assert entry.chunks >= 1
    with contextlib.suppress(ProtocolError, NotPlainError):
        whole = StoredEntryMessages(Position(1, 2), content)
        assert len(whole.messages) == len(whole.payloads) == max(whole.head.batch_size, 1)
        with contextlib.suppress(UnicodeDecodeError):
            fields_of(whole.messages)
