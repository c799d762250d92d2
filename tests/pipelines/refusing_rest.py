"""Admin REST of which one call is refused; all others go to the broker's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def refusing_rest(admin_url: str, call: str, status: int) -> Iterator[str]:
    """Gives its URL. What ends with ``call`` is answered with ``status``, and all else is redirected."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            refused = self.path.endswith(f"/{call}")
            body = b'{"reason": "Out of order"}' if refused else b""
            self.send_response(status if refused else 307)
            self.send_header("Location", f"{admin_url}{self.path}")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
