"""Objects in a COS bucket: created whole, verified by CRC64, never overwritten."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from fastcrc import crc64 as crc64_of

from transforms.cos.client import CosClient
from transforms.cos.object_metadata import CONTENT_CRC64, EQUAL_BY
from transforms.cos.retry import (
    CRC_MISMATCH,
    Failure,
    Place,
    RequestFailed,
    RetryPolicy,
    may_have_happened,
)
from transforms.cos.store import ObjectHead, StoredSize
from transforms.cos.together import AbandonedError, as_part, pause
from transforms.errors import AccessError, DestinationError, ObjectConflictError
from transforms.files.pieces import Body, pieces_of

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

META = "x-cos-meta-"
_CRC_HEADER = "x-cos-hash-crc64ecma"
# The SDK has no keyword for it. COS ignores it where versioning was ever on: see _may_overwrite.
_FORBID_OVERWRITE = {"x-cos-forbid-overwrite": "true"}
_SERVER_SIDE_ENCRYPTION = "x-cos-server-side-encryption"
_STORAGE_CLASS = "x-cos-storage-class"
_CONTENT_TYPES = {
    "avro": "application/avro",
    "jsonl": "application/x-ndjson",
    "json": "application/json",
    "gz": "application/gzip",
    "zst": "application/zstd",
}
_ROUNDS = 5
_FIRST_PAUSE = 0.2
"""Seconds before the second round, doubled before each other one."""
_ABORT_DEADLINE = 15.0
_REQUESTS_AT_ONCE = 4
_FRUITLESS_READS = 5


class CosStore:
    """An ObjectStore in one bucket. Thread-safe; made on the worker, not picklable.

    ``headers`` go with every object (storage class, encryption, ACL, tags, own metadata); of those, spooled parts
    get the encryption only. Where versioning is or was on, COS does not refuse to overwrite: there the store asks
    before it writes, which two writers of one name at the same instant can pass; COS then keeps both as versions
    (unless versioning is suspended).
    """

    def __init__(
        self,
        client: CosClient,
        place: Place,
        *,
        headers: Mapping[str, str] | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._client = client
        self._place = place
        self._headers = dict(headers or {})
        self._policy = policy or RetryPolicy()
        self._versioned: bool | None = None
        self._retries = 0
        self._lock = threading.Lock()

    @property
    def retries(self) -> int:
        """How many requests were tried again since the store was opened."""
        return self._retries

    def with_deadline(self, seconds: float) -> CosStore:
        """Give a store of the same bucket that gives up earlier, if this one would not, and awaits no newer key."""
        policy = replace(self._policy, deadline=min(seconds, self._policy.deadline), key_deadline=0.0)
        return CosStore(self._client, self._place, headers=self._headers, policy=policy)

    def list_keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with ``prefix``, in the order of their UTF-8 bytes; 1,000 to a request."""
        for found in self.list_objects(prefix):
            yield found.key

    def list_objects(self, prefix: str, after: str = "") -> Iterator[StoredSize]:
        """All objects whose keys begin with ``prefix`` and come behind ``after``; 1,000 to a request."""
        marker: str | None = after
        while marker is not None:
            page = self._call(partial(self._client.list, prefix, marker))
            yield from map(StoredSize._make, page.objects)
            marker = page.next_marker

    def head(self, key: str) -> ObjectHead | None:
        """What is known of an object; None if there is none."""
        head = self._call(lambda: self._client.head(key))
        return None if head is None else read_head(head)

    def put(self, key: str, body: Body, metadata: Mapping[str, str]) -> bool:
        """Write a whole object with one PUT; True if it was created, False if an equal one stood there already.

        True also where an attempt of this call lost its answer and an equal object is found then.
        """
        return self._put(key, body, metadata, self._headers)

    def put_document(self, key: str, body: bytes) -> bool:
        """Write a small object that is read again; in the bucket's own storage class, for archives must be thawed."""
        headers = {name: value for name, value in self._headers.items() if name != _STORAGE_CLASS}
        return self._put(key, body, {}, headers)

    def _put(self, key: str, body: Body, metadata: Mapping[str, str], given: Mapping[str, str]) -> bool:
        crc = pieces_of(body).crc64()
        headers = {**_object_headers(given, key, metadata, crc), **_FORBID_OVERWRITE}

        def attempt(doubts: list[Failure]) -> Mapping[str, str]:
            return self._call(lambda: _doubted(lambda: self._client.put(key, body, headers), doubts))

        return self._create(key, metadata, (crc, len(body)), attempt)

    def put_part(self, key: str, body: Body) -> None:
        """Write a spooled part; what stands there is overwritten."""
        crc = pieces_of(body).crc64()
        headers = {name: value for name, value in self._headers.items() if name.startswith(_SERVER_SIDE_ENCRYPTION)}

        def attempt() -> None:
            require_crc("PutObject", key, crc, self._client.put(key, body, headers))

        self._call(attempt)

    def join(self, key: str, parts: Sequence[str], tail: Body, crc64: int, metadata: Mapping[str, str]) -> bool:
        """Make one object of spooled parts and a tail with a multipart upload; the result is that of ``put``."""
        headers = _object_headers(self._headers, key, metadata, crc64)
        return self._create(key, metadata, (crc64, None), partial(self._upload, key, parts, tail, headers))

    def delete_parts(self, keys: Sequence[str]) -> None:
        """Delete spooled parts, one request each: deleting many at once is another permission."""
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE, thread_name_prefix="cos-delete") as pool:
            delete = as_part(self._call)
            for done in [pool.submit(delete, partial(self._client.delete, key)) for key in keys]:
                done.result()

    def list_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Multipart uploads under way to keys that begin with ``prefix``: key and id; 1,000 to a request."""
        markers: tuple[str, str] | None = ("", "")
        while markers is not None:
            page = self._call(partial(self._client.uploads, prefix, markers))
            yield from page.uploads
            markers = page.next_markers

    def abort_upload(self, key: str, upload: str) -> None:
        """End a multipart upload without an object. One that has ended already is no error."""

        def attempt() -> None:
            try:
                self._client.abort(key, upload)
            except RequestFailed as failed:
                if failed.failure.status != HTTPStatus.NOT_FOUND:
                    raise

        self._call(attempt)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read an object piece by piece, going on where a connection broke.

        Raises DestinationError after the last piece where all of it was read, and the CRC64 is not that of the object.
        """
        size, expected, crc, place, fruitless = None, None, crc64_of.xz(b""), start, 0
        while size is None or place < size:
            headers, pieces = self._call(partial(self._client.get, key, place, stop))
            if size is None:
                size = start + int(headers["content-length"])
                # Of the whole object, whatever part of it was asked for.
                expected = headers.get(_CRC_HEADER) if start == 0 and stop is None else None
            before = place
            try:
                for piece in pieces:
                    crc = crc64_of.xz(piece, crc)
                    place += len(piece)
                    yield piece
            except RequestFailed as failed:
                _logger.info("Reading %s broke off at byte %d: %s", key, place, failed)
            fruitless = fruitless + 1 if place == before else 0
            if fruitless == _FRUITLESS_READS:
                raise DestinationError(f"cos://{self._place.bucket}/{key} ends at byte {place} of {size}. Try again.")
        if expected is not None and expected != str(crc):
            raise DestinationError(f"cos://{self._place.bucket}/{key} was damaged on its way: CRC64 {crc}.")

    def _create(
        self,
        key: str,
        metadata: Mapping[str, str],
        content: tuple[int, int | None],
        attempt: Callable[[list[Failure]], Mapping[str, str]],
    ) -> bool:
        """Create an object, or find that it stands there.

        ``content`` is its CRC64 and, if known, its size. ``attempt`` adds to the list the failures behind which it may
        have created the object.
        """
        if self._may_overwrite() and self._stands(key, metadata, content):
            return False
        reason = ""
        doubts: list[Failure] = []
        for number in range(_ROUNDS):
            if number:
                pause(_FIRST_PAUSE * 2 ** (number - 1))
            try:
                answer = attempt(doubts)
            except RequestFailed as failed:
                # The name is taken, or the upload is gone: by an attempt of ours whose answer was lost, or by others.
                if self._stands(key, metadata, content):
                    return bool(doubts)
                reason = (
                    f"it was there and gone again, or its multipart upload was ended by others ({failed.failure}). "
                    "Check what else writes to the prefix, and that no lifecycle rule aborts young uploads."
                )
                continue
            if self._is_whole(key, content[0], answer):
                return True
            reason = (
                "COS stored other bytes than were sent, or nothing. Is there a proxy in between that changes them, or "
                "that answers in COS's place?"
            )
        raise DestinationError(f"cos://{self._place.bucket}/{key} could not be created in {_ROUNDS} rounds: {reason}")

    def _upload(
        self, key: str, parts: Sequence[str], tail: Body, headers: Mapping[str, str], doubts: list[Failure]
    ) -> Mapping[str, str]:
        upload = self._call(lambda: self._client.initiate(key, {**headers, **_FORBID_OVERWRITE}))

        def copy(number: int, part: str) -> str:
            return self._call(lambda: self._client.copy_part(key, upload, number, part))["etag"]

        try:
            with ThreadPoolExecutor(_REQUESTS_AT_ONCE, thread_name_prefix="cos-copy") as pool:
                etags = list(pool.map(as_part(copy), range(1, len(parts) + 1), parts))
            if tail:
                etags.append(self._upload_tail(key, upload, len(parts) + 1, tail))
            return self._call(
                lambda: _doubted(lambda: self._client.complete(key, upload, etags, _FORBID_OVERWRITE), doubts)
            )
        except BaseException:
            self._abort(key, upload)
            raise

    def _upload_tail(self, key: str, upload: str, number: int, tail: Body) -> str:
        crc = pieces_of(tail).crc64()

        def attempt() -> str:
            answer = self._client.upload_part(key, upload, number, tail)
            require_crc("UploadPart", key, crc, answer)
            return answer["etag"]

        return self._call(attempt)

    def _abort(self, key: str, upload: str) -> None:
        """End an upload that failed. One that cannot be ended is left to the next run, or to a lifecycle rule."""
        try:
            self.with_deadline(_ABORT_DEADLINE).abort_upload(key, upload)
        except (AccessError, DestinationError, AbandonedError) as error:
            _logger.warning("The multipart upload %s to %s was left behind. %s", upload, key, error)

    def _stands(self, key: str, metadata: Mapping[str, str], content: tuple[int, int | None]) -> bool:
        """Tell whether an equal object has the name; raises ObjectConflictError where another one has."""
        head = self._call(lambda: self._client.head(key))
        if head is not None and _damaged(head):
            # An answer may be wrong where the object is right.
            head = self._call(lambda: self._client.head(key))
        if head is None:
            return False
        target = f"cos://{self._place.bucket}/{key}"
        stored_crc, meant_crc = head.get(_CRC_HEADER), head.get(META + CONTENT_CRC64)
        if _damaged(head):
            raise DestinationError(
                f"{target} was damaged when it was uploaded: it has CRC64 {stored_crc} and should have {meant_crc}. "
                "Delete it and run again."
            )
        if all(name in metadata for name in EQUAL_BY):
            ours = {name: metadata[name] for name in EQUAL_BY}
            theirs = {name: head.get(META + name, "none") for name in EQUAL_BY}
        else:
            crc, size = content
            ours = {"crc64": str(crc), "bytes": str(size)}
            theirs = {"crc64": str(stored_crc), "bytes": head.get("content-length", "none")}
            if size is None:
                del ours["bytes"], theirs["bytes"]
        if ours == theirs:
            return True
        raise ObjectConflictError(
            f"{target} is taken by an object with other content, which is never overwritten: it has "
            f"{_listed(theirs)}, and {_listed(ours)} was to be written. Use another prefix, or move that object away."
        )

    def _is_whole(self, key: str, crc: int, answer: Mapping[str, str]) -> bool:
        """Compare what COS stored with what was sent.

        False where they differ and the object could be deleted again, or is not ours; raises DestinationError where it
        could not be deleted.
        """
        if answer.get(_CRC_HEADER) == str(crc):
            return True
        head = self._call(lambda: self._client.head(key)) or {}
        stored = head.get(_CRC_HEADER)
        if stored == str(crc):
            return True  # the answer was wrong, or had none; the object is right
        if head.get(META + CONTENT_CRC64) != str(crc):
            return False  # what we sent did not come through, and what stands there is somebody else's
        target = f"cos://{self._place.bucket}/{key}"
        try:
            self._call(lambda: self._client.delete(key))
        except (AccessError, DestinationError) as error:
            raise DestinationError(
                f"{target} was stored with CRC64 {stored} instead of {crc} and could not be deleted again. "
                f"Delete it and run again. ({error})"
            ) from None
        _logger.warning("%s was stored with CRC64 %s instead of %d: deleted again", target, stored, crc)
        return False

    def _may_overwrite(self) -> bool:
        """Tell whether COS ignores forbid-overwrite in this bucket; asked until known, assumed where we may not ask."""
        # Not under a lock: where nobody answers, each writer would wait out the deadline behind the one before it.
        if self._versioned is None:
            try:
                self._versioned = self._call(self._client.was_versioned)
            except AccessError:
                _logger.info("May not ask whether %s is versioned: looking before each write", self._place)
                self._versioned = True
        return self._versioned

    def _call(self, request: Callable[[], _Result]) -> _Result:
        return self._policy.call(
            request, place=self._place, refresh=self._client.refresh, tried_again=self._count_retry
        )

    def _count_retry(self) -> None:
        with self._lock:
            self._retries += 1


def read_head(head: Mapping[str, str]) -> ObjectHead:
    """What the headers of an object say."""
    crc = head.get(_CRC_HEADER)
    return ObjectHead(
        int(head["content-length"]),
        parsedate_to_datetime(head["last-modified"]).timestamp(),
        None if crc is None else int(crc),
        {name.removeprefix(META): value for name, value in head.items() if name.startswith(META)},
    )


def _object_headers(given: Mapping[str, str], key: str, metadata: Mapping[str, str], crc: int) -> dict[str, str]:
    content_type = _CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream")
    own = {META + name: value for name, value in metadata.items()}
    return {"Content-Type": content_type, **given, **own, META + CONTENT_CRC64: str(crc)}


def _damaged(head: Mapping[str, str]) -> bool:
    """Whether an object has another CRC64 than was meant."""
    meant = head.get(META + CONTENT_CRC64)
    return meant is not None and head.get(_CRC_HEADER) != meant


def _doubted(request: Callable[[], _Result], doubts: list[Failure]) -> _Result:
    """Make a request; a failure behind which it may have taken effect goes to ``doubts`` as well."""
    try:
        return request()
    except RequestFailed as failed:
        if may_have_happened(failed.failure):
            doubts.append(failed.failure)
        raise


def require_crc(operation: str, key: str, crc: int, answer: Mapping[str, str]) -> None:
    """Raise RequestFailed where COS has stored other bytes than were sent."""
    stored = answer.get(_CRC_HEADER)
    if stored != str(crc):
        message = f"sent CRC64 {crc}, stored {stored}"
        raise RequestFailed(Failure(operation, key, HTTPStatus.OK, CRC_MISMATCH, message))


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
