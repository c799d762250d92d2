"""One request to the COS test server: parse, check the signature, play a fault, act, answer."""

from __future__ import annotations

import io
import socket
import struct
import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from transforms.testing.cos_answers import Refusal, error_xml
from transforms.testing.cos_disk import CHUNK, Content
from transforms.testing.cos_faults import REFUSALS
from transforms.testing.cos_signature import verify

if TYPE_CHECKING:
    from transforms.testing.cos_server import CosServer

LONGEST_KEY = 850
_DRIP = 0.05
"""Seconds between the bytes of an answer that drips."""
_OPERATIONS: Mapping[tuple[str, bool, str], str] = {
    # (method, whether there is a key, the parameter that tells it apart)
    ("HEAD", False, ""): "HeadBucket",
    ("GET", False, ""): "GetBucket",
    ("GET", False, "uploads"): "ListMultipartUploads",
    ("GET", False, "versioning"): "GetBucketVersioning",
    ("POST", False, "delete"): "DeleteMultipleObjects",
    ("PUT", True, ""): "PutObject",
    ("HEAD", True, ""): "HeadObject",
    ("GET", True, ""): "GetObject",
    ("DELETE", True, ""): "DeleteObject",
    ("POST", True, "uploads"): "InitiateMultipartUpload",
    ("PUT", True, "uploadId"): "UploadPart",
    ("GET", True, "uploadId"): "ListParts",
    ("POST", True, "uploadId"): "CompleteMultipartUpload",
    ("DELETE", True, "uploadId"): "AbortMultipartUpload",
}


class Wire(BaseHTTPRequestHandler):
    """A connection, which carries many requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server_version = "tencent-cos-test"

    def setup(self) -> None:
        """Remember the server before the first request."""
        super().setup()
        self.cos: CosServer = cast(Any, self.server).cos

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the overridden method
        """Say nothing: a test reads ``requests``."""

    def handle_request(self) -> None:
        """Answer one request."""
        url = urlsplit(self.path)
        self.decoded_path = unquote(url.path)
        self.key = self.decoded_path[1:]
        self.parameters = dict(parse_qsl(url.query, keep_blank_values=True))
        self.header = {name.lower(): value for name, value in self.headers.items()}
        self.bucket = self.header.get("host", "").split(".")[0]
        self._unread = int(self.header.get("content-length", "0"))
        self.request_id = uuid.uuid4().hex
        operation = self._name_operation()
        self.cos.count(self.command, operation)
        self.fault = self.cos.faults.next(self.command, operation, self.key)
        while not self.cos.awake.is_set() and not self.cos.stopping.is_set():
            self.cos.awake.wait(0.1)
        if self.cos.latency:
            self.cos.stopping.wait(self.cos.latency)
        try:
            self._answer_or_refuse(operation)
        except _CutError:
            self._reset()

    def _answer_or_refuse(self, operation: str) -> None:
        try:
            if self._play_instead():
                return
            verify(
                self.command,
                self.decoded_path,
                parameters=self.parameters,
                headers=self.header,
                keys=self.cos.keys,
                now=time.time() + self.cos.clock_skew,
            )
            self._check_place()
            self.act(operation)
        except Refusal as refusal:
            self._drain()
            body = error_xml(refusal, self.decoded_path, self.request_id)
            self.answer(refusal.status, body)

    def act(self, operation: str) -> None:
        """Do one operation and answer it; raises Refusal."""
        raise NotImplementedError

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request

    def _name_operation(self) -> str:
        apart = next((name for name in ("uploads", "uploadId", "delete", "versioning") if name in self.parameters), "")
        name = _OPERATIONS.get((self.command, bool(self.key), apart), f"{self.command}{apart.title()}")
        copied = "x-cos-copy-source" in self.header
        return f"{name}Copy" if copied else name

    def _check_place(self) -> None:
        self.cos.disk.check_bucket(self.bucket)
        host = self.header.get("host", "")
        if self.cos.region is not None and f".{self.cos.region}." not in host:
            raise Refusal(HTTPStatus.NOT_FOUND, "NoSuchBucket", "The specified bucket is not in this region.")
        if len(self.key.encode()) > LONGEST_KEY:
            raise Refusal(HTTPStatus.BAD_REQUEST, "KeyTooLong", "The key has more than 850 bytes.")

    def _play_instead(self) -> bool:
        """Play a fault that comes before the request takes effect; True if it has been answered by that."""
        if self.fault in REFUSALS:
            raise REFUSALS[self.fault]
        if self.fault == "reset-during":
            self.rfile.read(self._unread // 2)
        if self.fault == "hang":
            self.cos.stopping.wait()
        if self.fault in ("reset-before", "reset-during", "hang"):
            raise _CutError
        if self.fault == "drip":
            self._drain()
            self._drip()
        if self.fault == "page":
            self._drain()
            self.answer(HTTPStatus.OK, b"<html><head/><body>Please sign in</body></html>", kind="text/html")
        elif self.fault == "html":
            self._drain()
            self.answer(HTTPStatus.BAD_GATEWAY, b"<html><body><h1>Bad Gateway</h1></body></html>", kind="text/html")
        elif self.fault == "empty":
            self._drain()
            self.answer(HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            return False
        return True

    def _drip(self) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"." * 50_000:
                if self.cos.stopping.wait(_DRIP):
                    break
                self.connection.sendall(bytes([byte]))
        except OSError:
            pass  # the client has had enough
        raise _CutError

    # Reading

    def receive(self) -> Content:
        """Write the body of the request to the disk, without a name as yet."""
        if "content-length" not in self.header:
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "MissingContentLength", "Content-Length is required.")
        size, self._unread = self._unread, 0
        content = self.cos.disk.receive(cast(io.BufferedReader, self.rfile), size)
        if self.fault == "corrupt" and size:
            with self.cos.disk.open(content) as source:
                damaged = bytes([source.read(1)[0] ^ 1]) + source.read()
            self.cos.disk.remove(content)
            content = self.cos.disk.receive(io.BytesIO(damaged), size)
        return content

    def read_body(self) -> bytes:
        """Read a body that fits into memory."""
        size, self._unread = self._unread, 0
        return self.rfile.read(size)

    def _drain(self) -> None:
        """Read what is left of the body, so that the connection can carry the next request."""
        while self._unread and (chunk := self.rfile.read(min(self._unread, CHUNK))):
            self._unread -= len(chunk)

    # Answering

    def described(self, content: Content) -> dict[str, str]:
        """Give the headers that COS sends for a content."""
        crc = content.crc
        if self.fault == "no-crc":
            return {"ETag": content.etag}
        if self.fault == "wrong-crc":
            crc = str(int(crc) ^ 1)
        return {"ETag": content.etag, "x-cos-hash-crc64ecma": crc}

    def answer(
        self,
        status: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        kind: str = "application/xml",
    ) -> None:
        """Send a whole answer, or a bare 500 where the fault is one after the effect."""
        if self.fault == "500-after":
            status, body, headers = HTTPStatus.INTERNAL_SERVER_ERROR, b"", {}
        described = {"Content-Type": kind, **(headers or {})} if body else headers or {}
        if self.fault == "truncated" and not body:
            raise _CutError
        self.answer_head(status, described, len(body))
        if self.command != "HEAD":
            if self.fault == "truncated":
                self.wfile.write(body[: len(body) // 2])
                raise _CutError
            self.wfile.write(body)

    def answer_head(self, status: int, headers: Mapping[str, str], size: int) -> None:
        """Send the head of an answer whose body has ``size`` bytes, unless it is to get lost."""
        if self.fault == "reset-after":
            raise _CutError
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("x-cos-request-id", self.request_id)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(size))
        self.end_headers()

    def _reset(self) -> None:
        """End the connection so that the client sees a reset, not an orderly end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile.close()
        self.rfile.close()  # the socket closes with the last of its three users
        self.connection.close()
        self.wfile = io.BytesIO()  # what http.server flushes after the request goes nowhere


class _CutError(Exception):
    """The connection is to be reset."""
