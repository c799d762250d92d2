"""A COS server for tests and demonstrations: real HTTP, real signatures, objects on disk.

It proves that our side keeps COS's rules, as far as they are documented; it does not prove COS. For tests::

    with CosServer(directory, buckets=["backup-1250000000"]) as server:
        server.faults.add("reset-after", operation="PutObject")
        ...  # a client with endpoint=server.endpoint
        assert server.requests["PutObject"] == 2

and by hand, with the secret key in the environment (COS_SECRET_ID, COS_SECRET_KEY)::

    python -m transforms.testing.cos_server --directory /tmp/cos --port 9000 --bucket backup-1250000000

Not offered: versions, access lists, lifecycle, regions other than the one given.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from transforms.testing.cos_disk import Disk
from transforms.testing.cos_faults import Faults
from transforms.testing.cos_operations import Handler
from transforms.testing.cos_signature import ServerKey

TEST_SECRET_ID = "AKIDtest"  # noqa: S105 - the name of a key, not the key
TEST_SECRET_KEY = "test-secret-key"  # noqa: S105 - opens nothing but this server
TEST_BUCKET = "test-1250000000"


class CosServer:
    """A COS server in this process, on threads of its own; a context manager.

    ``buckets`` are full names, such as ``backup-1250000000``. With ``region`` a bucket is found only under that
    region's host name. ``port`` 0 takes a free one. What was stored in ``directory`` before is served again.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        buckets: Iterable[str] = (TEST_BUCKET,),
        port: int = 0,
        address: str = "127.0.0.1",
        secret_id: str = TEST_SECRET_ID,
        secret_key: str = TEST_SECRET_KEY,
        region: str | None = None,
    ) -> None:
        self.disk = Disk(Path(directory), buckets)
        self.faults = Faults()
        self.keys: dict[str, ServerKey] = {secret_id: ServerKey(secret_key)}
        """The secret keys that are accepted, by their ids. May be changed while the server runs."""
        self.region = region
        self.latency = 0.0
        """Seconds before every answer."""
        self.awake = threading.Event()
        """Cleared, it takes requests and answers none until it is set again."""
        self.awake.set()
        self.clock_skew = 0.0
        """Seconds by which this server's clock is ahead."""
        self.requests: Counter[str] = Counter()
        """How often each method (``PUT``) and each operation by COS's name (``PutObject``) was asked for."""
        self.stopping = threading.Event()
        self._counting = threading.Lock()
        self._http = _HttpServer((address, port), self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True, name="cos-server")

    @property
    def endpoint(self) -> str:
        """The URL to give as ``--cos_endpoint``."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and cut all connections. What is stored stays."""
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._http.cut_connections()
        self.disk.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def count(self, *names: str) -> None:
        """Count a request under each of the names."""
        with self._counting:
            self.requests.update(names)

    def set_versioned(self, bucket: str) -> None:
        """Say that versioning was once on for the bucket: forbid-overwrite no longer has an effect there."""
        self.disk.versioned.add(bucket)

    def stored_keys(self, bucket: str, prefix: str = "") -> list[str]:
        """List all keys of a bucket, past signatures and faults."""
        return [stored.key for stored in self.disk.list(bucket, prefix, "", -1)]

    def stored_bytes(self, bucket: str, key: str) -> bytes:
        """Read an object, past signatures and faults; raises Refusal 404."""
        _, content = self.disk.open_object(bucket, key)
        with content:
            return content.read()


class _HttpServer(ThreadingHTTPServer):
    """Threads for connections, which can all be cut at once."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], cos: CosServer) -> None:
        self.cos = cos
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; anything else is a fault of ours and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError) and not self.cos.stopping.is_set():
            super().handle_error(request, client_address)

    def cut_connections(self) -> None:
        with self._guard:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m transforms.testing.cos_server", description=__doc__)
    parser.add_argument("--directory", required=True, help="where objects are kept")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--bucket", action="append", help=f"NAME-APPID, repeatable; {TEST_BUCKET} by default")
    parser.add_argument("--secret_id", default=os.environ.get("COS_SECRET_ID", TEST_SECRET_ID))
    options = parser.parse_args(arguments)
    server = CosServer(
        options.directory,
        buckets=options.bucket or [TEST_BUCKET],
        port=options.port,
        address=options.address,
        secret_id=options.secret_id,
        secret_key=os.environ.get("COS_SECRET_KEY", TEST_SECRET_KEY),
    )
    signal.signal(signal.SIGTERM, lambda *_: server.stopping.set())
    with server:
        print(server.endpoint, flush=True)
        try:
            server.stopping.wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
