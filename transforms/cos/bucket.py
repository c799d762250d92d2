"""A bucket for people's own files: any name may be written again, copied and deleted, as file systems have it.

Backups are written by ``CosStore``, which never overwrites; and here too, an object whose name is that of a backup's
file, manifest or run record is not replaced by other content.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple, TypeVar

from fastcrc import crc64 as crc64_of

from transforms.cos.client import CosClient
from transforms.cos.cos_store import read_head, require_crc
from transforms.cos.destination import Destination, new_client
from transforms.cos.retry import Failure, Place, RequestFailed, RetryPolicy, explain
from transforms.cos.store import ObjectHead
from transforms.errors import AccessError, BackupError, DestinationError, ObjectConflictError
from transforms.files.manifest import parse_manifest_name
from transforms.files.naming import parse_name

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

#: COS ignores it where versioning was ever on: see _may_overwrite.
_FORBID_OVERWRITE: Final = {"x-cos-forbid-overwrite": "true"}
_RUN_RECORD: Final = re.compile(r"(?:.*/)?_runs/[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\.json", re.DOTALL)


class Entry(NamedTuple):
    """An object as a listing tells of it."""

    key: str
    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970."""


class Bucket:
    """Requests to one bucket, tried again as its destination says. Thread-safe; made on the worker, not picklable.

    Every method raises DestinationError, or AccessError where it is a matter of permission. Where versioning is or was
    on, COS does not refuse to overwrite: there a name of a backup is looked at before it is written, which two writers
    at the same instant can pass.
    """

    def __init__(self, client: CosClient, place: Place, policy: RetryPolicy | None = None) -> None:
        self._client = client
        self._place = place
        self._policy = policy or RetryPolicy()
        self._versioned: bool | None = None

    def url(self, key: str) -> str:
        """What errors call an object."""
        return f"cos://{self._place.bucket}/{key}"

    def list(self, prefix: str) -> Iterator[Entry]:
        """All objects whose keys begin with ``prefix``, in the order of their UTF-8 bytes; 1,000 to a request."""
        marker: str | None = ""
        while marker is not None:
            page = self._call(partial(self._client.list, prefix, marker))
            for (key, size), modified in zip(page.objects, page.modified, strict=True):
                yield Entry(key, size, _moment(modified))
            marker = page.next_marker

    def head(self, key: str) -> ObjectHead | None:
        """What is known of an object; None if there is none."""
        head = self._call(lambda: self._client.head(key))
        return None if head is None else read_head(head)

    def require(self, key: str) -> ObjectHead:
        """What is known of an object. Raises DestinationError if there is none."""
        head = self.head(key)
        if head is None:
            raise DestinationError(f"There is no object {self.url(key)}, or no bucket {self._place.bucket} here.")
        return head

    def read(self, key: str, start: int, stop: int) -> bytes:
        """Bytes ``start`` to before ``stop``, of which the object must have at least one."""

        def attempt() -> bytes:
            headers, pieces = self._client.get(key, start, stop)
            body = b"".join(pieces)
            if len(body) != int(headers["content-length"]):
                raise RequestFailed(Failure("GetObject", key, None, "ShortBody", "the answer ended early"))
            return body

        return self._call(attempt)

    def put(self, key: str, body: bytes, content_type: str) -> None:
        """Write an object with one request, in place of what stands there."""
        crc = crc64_of.xz(body)
        headers = {"Content-Type": content_type, **_guard(key)}

        def attempt() -> None:
            require_crc("PutObject", key, crc, self._client.put(key, body, headers))

        self._settled(key, crc, attempt)

    def start_upload(self, key: str, content_type: str) -> str:
        """Begin a multipart upload; gives its id."""
        headers = {"Content-Type": content_type, **_guard(key)}
        try:
            return self._call(lambda: self._client.initiate(key, headers))
        except RequestFailed as failed:
            raise self._conflict(key, failed, self.head(key)) from None

    def upload_part(self, key: str, upload: str, number: int, body: bytes) -> str:
        """Upload a part, counted from 1; gives its ETag."""
        crc = crc64_of.xz(body)

        def attempt() -> str:
            answer = self._client.upload_part(key, upload, number, body)
            require_crc("UploadPart", key, crc, answer)
            return answer["etag"]

        try:
            return self._call(attempt)
        except RequestFailed as failed:
            raise explain(failed.failure, self._place) from None

    def complete(self, key: str, upload: str, etags: Sequence[str], crc: int) -> None:
        """Make the parts one object, whose CRC-64/XZ is ``crc``, in place of what stands there."""

        def attempt() -> None:
            require_crc("CompleteMultipartUpload", key, crc, self._client.complete(key, upload, etags, _guard(key)))

        if not self._settled(key, crc, attempt):
            # An equal object was there before, and what the parts hold would be stored for good.
            with contextlib.suppress(BackupError):
                self.abort(key, upload)

    def abort(self, key: str, upload: str) -> None:
        """End a multipart upload without an object. One that has ended already is no error."""

        def attempt() -> None:
            try:
                self._client.abort(key, upload)
            except RequestFailed as failed:
                if failed.failure.code != "NoSuchUpload":
                    raise

        self._call(attempt)

    def copy(self, key: str, source: Bucket, source_key: str) -> None:
        """Copy an object of a bucket in the same region, in place of what stands there; 5 GB at most."""
        head = source.require(source_key)
        bucket = source._place.bucket
        self._settled(key, head.crc64, lambda: self._client.copy(key, bucket, source_key, _guard(key)))

    def delete(self, key: str) -> None:
        """Delete an object. One that is not there is no error."""
        self._call(lambda: self._client.delete(key))

    def _settled(self, key: str, crc: int | None, attempt: Callable[[], object]) -> bool:
        """Make a request that creates an object; after a lost answer it has succeeded if that object stands there.

        False where an equal one is found instead.
        """
        if _guard(key) and self._may_overwrite():
            head = self.head(key)
            if head is not None:
                if _is_equal(head, crc):
                    return False
                raise self._taken(key)
        try:
            self._call(attempt)
        except RequestFailed as failed:
            head = self.head(key)
            if not _is_equal(head, crc):
                raise self._conflict(key, failed, head) from None
            return False
        return True

    def _may_overwrite(self) -> bool:
        """Tell whether COS ignores forbid-overwrite in this bucket; asked until known, assumed where we may not ask."""
        if self._versioned is None:
            try:
                self._versioned = self._call(self._client.was_versioned)
            except AccessError:
                _logger.info("May not ask whether %s is versioned: looking before writes to a backup", self._place)
                self._versioned = True
        return self._versioned

    def _taken(self, key: str) -> ObjectConflictError:
        return ObjectConflictError(
            f"{self.url(key)} has the name of a file of a backup, and an object stands there already. Those are never "
            "overwritten: use another name."
        )

    def _conflict(self, key: str, failed: RequestFailed, head: ObjectHead | None) -> DestinationError:
        if _guard(key) and head is not None:
            return self._taken(key)
        error = explain(failed.failure, self._place)
        return error if isinstance(error, DestinationError) else DestinationError(str(error))

    def _call(self, request: Callable[[], _Result]) -> _Result:
        return self._policy.call(request, place=self._place, refresh=self._client.refresh)


_buckets: dict[Destination, Bucket] = {}
_lock = threading.Lock()


def open_bucket(destination: Destination) -> Bucket:
    """Give the bucket of a destination: one for each process, shared by its threads. Asks nothing of the network."""
    with _lock:
        bucket = _buckets.get(destination)
        if bucket is None:
            place = Place(destination.bucket or "", destination.region, destination.endpoint, destination.credentials)
            policy = RetryPolicy(deadline=destination.retry_deadline)
            bucket = _buckets[destination] = Bucket(new_client(destination), place, policy)
        return bucket


def _guard(key: str) -> Mapping[str, str]:
    base = key.rpartition("/")[2]
    return _FORBID_OVERWRITE if parse_name(base) or parse_manifest_name(base) or _RUN_RECORD.fullmatch(key) else {}


def _is_equal(head: ObjectHead | None, crc: int | None) -> bool:
    return head is not None and crc is not None and head.crc64 == crc


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
