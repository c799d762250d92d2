"""What the COS test server does for each operation."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from io import BufferedReader
from typing import TypeAlias
from urllib.parse import unquote
from xml.etree import ElementTree

from transforms.testing.cos_answers import Node, Refusal, error_xml, invalid_argument, iso_time, listed_key, xml
from transforms.testing.cos_disk import CHUNK, Content, Stored, Upload
from transforms.testing.cos_faults import REFUSALS
from transforms.testing.cos_wire import Wire

_KEPT_HEADERS = {"content-type", "cache-control", "content-disposition", "content-encoding", "expires"}
_KEPT_COS_HEADERS = re.compile(r"x-cos-(meta-.*|storage-class|server-side-encryption.*|acl|tagging|grant-.*)")
_PAGE = 1000
_LARGEST_COPY = 5 * 10**9


class Handler(Wire):
    """A connection whose requests act on the buckets of the server."""

    def act(self, operation: str) -> None:
        """Do one operation and answer it; raises Refusal."""
        action = _ACTIONS.get(operation)
        if action is None:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "NotImplemented", f"{operation} is not offered here.")
        action(self)

    # Objects

    def _put_object(self) -> None:
        content = self.receive()
        try:
            self.cos.disk.put(self.bucket, self.key, content, self._kept_headers(), self._forbid_overwrite())
        except Refusal:
            self.cos.disk.remove(content)
            raise
        self.answer(HTTPStatus.OK, headers=self.described(content))

    def _put_object_copy(self) -> None:
        """Copy an object with what was kept with it, or with what comes with the request."""
        directive = self.header.get("x-cos-metadata-directive", "Copy")
        if directive not in ("Copy", "Replaced"):
            raise invalid_argument("x-cos-metadata-directive must be Copy or Replaced")
        stored, source = self._open_copied()
        with source:
            if stored.content.size > _LARGEST_COPY:
                raise Refusal(HTTPStatus.BAD_REQUEST, "EntityTooLarge", "The source has more than 5 GB.")
            content = self.cos.disk.receive(source, stored.content.size)
        headers = {**stored.headers, **self._kept_headers()} if directive == "Copy" else self._kept_headers()
        try:
            self.cos.disk.put(self.bucket, self.key, content, headers, self._forbid_overwrite())
        except Refusal:
            self.cos.disk.remove(content)
            raise
        body: list[Node] = [
            ("ETag", content.etag),
            ("CRC64", content.crc),
            ("LastModified", iso_time(time.time())),
        ]
        self.answer(HTTPStatus.OK, xml("CopyObjectResult", body), headers=self.described(content))

    def _open_copied(self) -> tuple[Stored, BufferedReader]:
        """Open what ``x-cos-copy-source`` names."""
        host, _, quoted = self.header["x-cos-copy-source"].partition("/")
        bucket = host.split(".")[0]
        self.cos.disk.check_bucket(bucket)
        return self.cos.disk.open_object(bucket, unquote(quoted))

    def _head_object(self) -> None:
        stored = self.cos.disk.get(self.bucket, self.key)
        self.answer_head(HTTPStatus.OK, self._object_headers(stored), stored.content.size)

    def _get_object(self) -> None:
        stored, source = self.cos.disk.open_object(self.bucket, self.key)
        with source:
            size = stored.content.size
            first, last = _range(self.header.get("range"), size)
            headers = self._object_headers(stored)
            status = HTTPStatus.OK
            if "range" in self.header:
                status = HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            length = last - first + 1
            self.answer_head(status, headers, length)
            source.seek(first)
            left = length // 2 if self.fault == "short" else length
            while left and (chunk := source.read(min(left, CHUNK))):
                self.wfile.write(chunk)
                left -= len(chunk)
        self.close_connection = self.fault == "short"

    def _delete_object(self) -> None:
        self.cos.disk.delete(self.bucket, self.key)
        self.answer(HTTPStatus.NO_CONTENT)

    def _delete_multiple_objects(self) -> None:
        body = self.read_body()
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        if not hmac.compare_digest(digest, self.header.get("content-md5", "")):
            raise Refusal(HTTPStatus.BAD_REQUEST, "InvalidDigest", "Content-MD5 is missing or does not fit the body.")
        request = _parse(body)
        deleted: list[Node] = []
        for named in request.iter("Key"):
            self.cos.disk.delete(self.bucket, named.text or "")
            deleted.append(("Deleted", [("Key", named.text or "")]))
        quiet = (request.findtext("Quiet") or "").lower() == "true"
        self.answer(HTTPStatus.OK, xml("DeleteResult", [] if quiet else deleted))

    def _get_bucket(self) -> None:
        prefix, marker = self.parameters.get("prefix", ""), self.parameters.get("marker", "")
        delimiter = self.parameters.get("delimiter", "")
        limit = min(self._number("max-keys", _PAGE), _PAGE)
        percent = self._percent_keys()
        entries: list[tuple[str, Stored | None]] = []
        place = marker
        while len(entries) <= limit:
            page = self.cos.disk.list(self.bucket, prefix, place, limit + 1 if not delimiter else 1)
            for stored in page:
                place = stored.key
                head, found, _ = stored.key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
                if found:
                    common = prefix + head + delimiter
                    place = common + "\U0010ffff"
                    if common != marker:
                        entries.append((common, None))
                else:
                    entries.append((stored.key, stored))
            if not page or not delimiter:
                break
        truncated = len(entries) > limit
        del entries[limit:]
        body: list[Node] = [
            ("Name", self.bucket),
            ("Prefix", listed_key(prefix, percent)),
            ("Marker", listed_key(marker, percent)),
            ("MaxKeys", str(limit)),
            ("Delimiter", listed_key(delimiter, percent)),
            ("IsTruncated", str(truncated).lower()),
        ]
        if percent:
            body.append(("EncodingType", "url"))
        if truncated:
            body.append(("NextMarker", listed_key(entries[-1][0], percent)))
        for name, entry in entries:
            key = listed_key(name, percent)
            body.append(("CommonPrefixes", [("Prefix", key)]) if entry is None else _contents(key, entry))
        self.answer(HTTPStatus.OK, xml("ListBucketResult", body))

    def _head_bucket(self) -> None:
        self.answer(HTTPStatus.OK)

    def _get_bucket_versioning(self) -> None:
        status: list[Node] = [("Status", "Suspended")] if self.bucket in self.cos.disk.versioned else []
        self.answer(HTTPStatus.OK, xml("VersioningConfiguration", status))

    # Multipart uploads

    def _initiate_multipart_upload(self) -> None:
        self.cos.disk.refuse_overwrite(self.bucket, self.key, self._forbid_overwrite())
        upload = self.cos.disk.start_upload(self.bucket, self.key, self._kept_headers())
        body: list[Node] = [("Bucket", self.bucket), ("Key", self.key), ("UploadId", upload)]
        self.answer(HTTPStatus.OK, xml("InitiateMultipartUploadResult", body))

    def _upload_part(self) -> None:
        content = self.receive()
        self._put_part(content)
        self.answer(HTTPStatus.OK, headers=self.described(content))

    def _upload_part_copy(self) -> None:
        stored, source = self._open_copied()
        with source:
            first, last = _range(self.header.get("x-cos-copy-source-range"), stored.content.size)
            source.seek(first)
            content = self.cos.disk.receive(source, last - first + 1)
        self._put_part(content)
        body: list[Node] = [("ETag", content.etag), ("LastModified", iso_time(time.time()))]
        self.answer(HTTPStatus.OK, xml("CopyPartResult", body), headers=self.described(content))

    def _put_part(self, content: Content) -> None:
        number, upload = self._number("partNumber", 0), self.parameters["uploadId"]
        try:
            self.cos.disk.put_part(self.bucket, self.key, upload, number, content)
        except Refusal:
            self.cos.disk.remove(content)
            raise

    def _list_parts(self) -> None:
        upload = self.cos.disk.upload(self.bucket, self.key, self.parameters["uploadId"])
        after, limit = self._number("part-number-marker", 0), min(self._number("max-parts", _PAGE), _PAGE)
        rest = [(number, part) for number, part in self.cos.disk.parts(upload.id).items() if number > after]
        body: list[Node] = [
            ("Bucket", self.bucket),
            ("Key", listed_key(self.key, self._percent_keys())),
            ("UploadId", upload.id),
            ("PartNumberMarker", str(after)),
            ("MaxParts", str(limit)),
            ("IsTruncated", str(len(rest) > limit).lower()),
        ]
        if len(rest) > limit:
            body.append(("NextPartNumberMarker", str(rest[limit - 1][0])))
        for number, part in rest[:limit]:
            body.append(("Part", [("PartNumber", str(number)), ("ETag", part.etag), ("Size", str(part.size))]))
        self.answer(HTTPStatus.OK, xml("ListPartsResult", body))

    def _list_multipart_uploads(self) -> None:
        """Give uploads in the order of their keys and ids, page by page."""
        prefix, percent = self.parameters.get("prefix", ""), self._percent_keys()
        limit = min(self._number("max-uploads", _PAGE), _PAGE)
        behind = self.parameters.get("key-marker", ""), self.parameters.get("upload-id-marker", "")
        rest = [upload for upload in self.cos.disk.uploads(self.bucket, prefix) if _is_behind(upload, *behind)]
        body: list[Node] = [("Bucket", self.bucket), ("IsTruncated", str(len(rest) > limit).lower())]
        if len(rest) > limit:
            last = rest[limit - 1]
            body += [("NextKeyMarker", listed_key(last.key, percent)), ("NextUploadIdMarker", last.id)]
        for upload in rest[:limit]:
            key = listed_key(upload.key, percent)
            body.append(("Upload", [("Key", key), ("UploadId", upload.id), ("Initiated", iso_time(upload.started))]))
        self.answer(HTTPStatus.OK, xml("ListMultipartUploadsResult", body))

    def _complete_multipart_upload(self) -> None:
        request = _parse(self.read_body())
        if self.fault == "complete-error":
            self.answer(HTTPStatus.OK, error_xml(REFUSALS["500"], self.decoded_path, self.request_id))
            return
        listed = [(int(part.findtext("PartNumber") or 0), part.findtext("ETag") or "") for part in request.iter("Part")]
        whole = self.cos.disk.complete(
            self.bucket, self.key, self.parameters["uploadId"], listed, self._forbid_overwrite()
        )
        body: list[Node] = [
            ("Location", f"{self.header.get('host', '')}/{listed_key(self.key, True)}"),
            ("Bucket", self.bucket),
            ("Key", self.key),
            ("ETag", whole.etag),
        ]
        answer = xml("CompleteMultipartUploadResult", body)
        if self.fault == "complete-garbled":
            answer = answer[: len(answer) // 2]
        self.answer(HTTPStatus.OK, answer, headers=self.described(whole))

    def _abort_multipart_upload(self) -> None:
        self.cos.disk.abort(self.bucket, self.key, self.parameters["uploadId"])
        self.answer(HTTPStatus.NO_CONTENT)

    def _kept_headers(self) -> dict[str, str]:
        return {
            name: value
            for name, value in self.header.items()
            if name in _KEPT_HEADERS or _KEPT_COS_HEADERS.fullmatch(name)
        }

    def _forbid_overwrite(self) -> bool:
        return self.header.get("x-cos-forbid-overwrite", "").lower() == "true"

    def _percent_keys(self) -> bool:
        kind = self.parameters.get("encoding-type", "")
        if kind not in ("", "url"):
            raise invalid_argument("encoding-type must be url")
        return kind == "url"

    def _number(self, name: str, default: int) -> int:
        try:
            return int(self.parameters.get(name, default))
        except ValueError:
            raise invalid_argument(f"{name} must be a number") from None

    def _object_headers(self, stored: Stored) -> dict[str, str]:
        """Give what was kept with the object, and what COS adds."""
        added = {"Last-Modified": formatdate(stored.modified, usegmt=True), "Accept-Ranges": "bytes"}
        kept = {name if name.startswith("x-cos-") else name.title(): value for name, value in stored.headers.items()}
        return {**kept, **self.described(stored.content), **added}


Action: TypeAlias = Callable[[Handler], None]

_ACTIONS: Mapping[str, Action] = {
    "PutObject": Handler._put_object,
    "PutObjectCopy": Handler._put_object_copy,
    "HeadObject": Handler._head_object,
    "GetObject": Handler._get_object,
    "DeleteObject": Handler._delete_object,
    "DeleteMultipleObjects": Handler._delete_multiple_objects,
    "GetBucket": Handler._get_bucket,
    "GetBucketVersioning": Handler._get_bucket_versioning,
    "HeadBucket": Handler._head_bucket,
    "InitiateMultipartUpload": Handler._initiate_multipart_upload,
    "UploadPart": Handler._upload_part,
    "UploadPartCopy": Handler._upload_part_copy,
    "ListParts": Handler._list_parts,
    "ListMultipartUploads": Handler._list_multipart_uploads,
    "CompleteMultipartUpload": Handler._complete_multipart_upload,
    "AbortMultipartUpload": Handler._abort_multipart_upload,
}


def _parse(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)  # noqa: S314 - a test server, for clients of our own
    except ElementTree.ParseError:
        raise Refusal(HTTPStatus.BAD_REQUEST, "MalformedXML", "The body is not well-formed XML.") from None


def _contents(key: str, stored: Stored) -> Node:
    fields: list[Node] = [
        ("Key", key),
        ("LastModified", iso_time(stored.modified)),
        ("ETag", stored.content.etag),
        ("Size", str(stored.content.size)),
        ("StorageClass", stored.headers.get("x-cos-storage-class", "STANDARD")),
    ]
    return "Contents", fields


def _is_behind(upload: Upload, key: str, upload_id: str) -> bool:
    """Without an id, uploads of the key itself are left out, as COS documents it."""
    if upload.key == key:
        return bool(upload_id) and upload.id > upload_id
    return upload.key.encode() > key.encode()


def _range(asked: str | None, size: int) -> tuple[int, int]:
    """Give the first and the last byte that a Range header asks for; the whole without one."""
    if not asked:
        return 0, size - 1
    first, _, last = asked.removeprefix("bytes=").partition("-")
    try:
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) if first and last else size - 1
    except ValueError:
        raise invalid_argument("Range is malformed.") from None
    if not 0 <= start <= end:
        message = "The range lies outside of the object."
        raise Refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "InvalidRange", message)
    return start, end
