"""The words of the COS test server: refusals and XML bodies, in the shapes that COS documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from http import HTTPStatus
from urllib.parse import quote
from xml.sax.saxutils import escape

XML_START = '<?xml version="1.0" encoding="utf-8"?>\n'

Node = tuple[str, "str | Sequence[Node]"]
"""An XML element: its name, and its text or its children."""


class Refusal(Exception):
    """A request is answered with an error of COS."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = int(status)
        self.code = code
        self.message = message


def no_such_bucket() -> Refusal:
    """Refuse: the bucket is not served here."""
    return Refusal(HTTPStatus.NOT_FOUND, "NoSuchBucket", "The specified bucket does not exist.")


def no_such_key() -> Refusal:
    """Refuse: the bucket has no object of that key."""
    return Refusal(HTTPStatus.NOT_FOUND, "NoSuchKey", "The specified key does not exist.")


def no_such_upload() -> Refusal:
    """Refuse: the upload was never started, or it was completed or aborted."""
    return Refusal(HTTPStatus.NOT_FOUND, "NoSuchUpload", "The specified multipart upload does not exist.")


def invalid_argument(message: str) -> Refusal:
    """Refuse: a parameter, header or body is not of the form that COS takes."""
    return Refusal(HTTPStatus.BAD_REQUEST, "InvalidArgument", message)


def xml(name: str, children: Iterable[Node]) -> bytes:
    """Write a whole XML document."""
    return (XML_START + _element((name, list(children)))).encode()


def _element(node: Node) -> str:
    name, value = node
    inner = escape(value) if isinstance(value, str) else "".join(map(_element, value))
    return f"<{name}>{inner}</{name}>"


def error_xml(refusal: Refusal, resource: str, request_id: str) -> bytes:
    """Write the body of an error. Without all four fields the SDK reports the code "Unknown"."""
    fields: list[Node] = [
        ("Code", refusal.code),
        ("Message", refusal.message),
        ("Resource", resource),
        ("RequestId", request_id),
        ("TraceId", request_id),
    ]
    return xml("Error", fields)


def iso_time(seconds: float) -> str:
    """Write a time as COS does in XML."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def listed_key(key: str, percent: bool) -> str:
    """Write a key into a listing: percent-encoded with ``encoding-type=url``, else as it is."""
    return quote(key, safe="/-_.~") if percent else key
