"""The service that gives a machine the temporary key of its role, on this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class MetadataService:
    """``answer`` is what it says (None: 404), ``paths`` what it was asked, ``url`` where."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answer: Any = None
        self.paths: list[str] = []


@contextmanager
def metadata_service() -> Iterator[MetadataService]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service.paths.append(self.path)
            body = service.answer if isinstance(service.answer, bytes) else json.dumps(service.answer).encode()
            self.send_response(404 if service.answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = MetadataService(f"http://127.0.0.1:{server.server_address[1]}/latest/meta-data/cam/security-credentials/")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def role_answer(number: int, lasts: float = 7200.0) -> dict[str, Any]:
    """What the service says of key ``number``."""
    return {
        "TmpSecretId": f"id{number}",
        "TmpSecretKey": f"key{number}",
        "Token": f"token{number}",
        "ExpiredTime": int(time.time() + lasts),
        "Code": "Success",
    }
