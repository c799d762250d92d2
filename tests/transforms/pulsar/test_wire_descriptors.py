"""Waiting for a broker in a process that has many files open."""

from __future__ import annotations

import os
import resource
import socket

from transforms.pulsar.wire import Connection, Kind, encode

_HIGH = 1_500


def test_a_connection_above_the_descriptors_that_select_takes_waits_all_the_same():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * _HIGH) if hard < 0 else min(hard, max(soft, 4096)), hard))
    ours, theirs = socket.socketpair()
    try:
        os.dup2(ours.fileno(), _HIGH)
        with theirs, Connection(socket.socket(fileno=_HIGH), 5.0) as connection:
            assert connection.arriving(0.01) is None
            command = encode({1: int(Kind.SUCCESS), int(Kind.SUCCESS): encode({1: 7})})
            theirs.sendall((len(command) + 4).to_bytes(4, "big") + len(command).to_bytes(4, "big") + command)
            found = connection.arriving(5.0)
            assert found is not None
            assert (found[0], found[1].number(1)) == (Kind.SUCCESS, 7)
    finally:
        ours.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
