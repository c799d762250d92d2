"""A bound on the time of a whole HTTP request, which a timeout for each read and write is not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_thread = threading.local()


class TimeLimits:
    """Cuts the connection of a request that takes too long, which then fails as any broken connection does."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @contextmanager
    def apply(self) -> Iterator[None]:
        """Bound what this thread does until the body ends; only connections of a ``limited`` adapter are cut."""
        connections: list[HTTPConnection] = []
        _thread.connections = connections
        timer = threading.Timer(self._seconds, _cut, (connections,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            _thread.connections = None


def limited(adapter: HTTPAdapter) -> HTTPAdapter:
    """Make the connections of an adapter known to the limit of the thread that uses them; gives it back."""
    adapter.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return adapter


def _cut(connections: list[HTTPConnection]) -> None:
    for connection in connections[-1:]:
        try:
            # Of the plain socket, also under TLS: only this may be done from another thread.
            if connection.sock is not None:
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
        except OSError:
            continue  # it has ended by itself


class _Known:
    """A connection that puts itself on the list of its thread."""

    def putrequest(self, *arguments: Any, **keywords: Any) -> None:
        connections = getattr(_thread, "connections", None)
        if connections is not None:
            connections.append(self)
        super().putrequest(*arguments, **keywords)  # type: ignore[misc]


class _HttpConnection(_Known, HTTPConnection):
    pass


class _HttpsConnection(_Known, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
