"""``/healthz`` and ``/metrics`` of a service, by HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST

from pipelines.rules.metrics import Metrics
from transforms.errors import ConfigurationError


def listen_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` as a pair. Raises ConfigurationError."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.netloc != text:
        raise ConfigurationError(f"--listen={text}: write HOST:PORT, such as 127.0.0.1:9099, or none.")
    return host, port


@contextmanager
def listening(address: tuple[str, int], metrics: Metrics, unwell: Callable[[], str | None]) -> Iterator[int]:
    """Answer while the body runs; gives the port. Raises ConfigurationError where it cannot be listened there."""

    class _Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, metrics.page(), CONTENT_TYPE_LATEST)
            elif path == "/healthz":
                said = unwell()
                self._answer(200 if said is None else 503, f"{said or 'ok'}\n".encode(), "text/plain; charset=utf-8")
            else:
                self._answer(404, b"/healthz and /metrics are here.\n", "text/plain; charset=utf-8")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Probes come every few seconds."""

    try:
        server = _Server(address, _Answers)
    except OSError as error:
        host, port = address
        raise ConfigurationError(
            f"--listen={host}:{port}: cannot be listened on ({error.strerror}). Give another port, or none."
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], answers: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, answers)
