"""What the COS test server stores: contents as files, names and metadata in SQLite beside them.

A name appears with one transaction, after its content is written, so a reader sees a whole object or none.
Nothing is flushed to the disk: after a crash of the machine (not of the server) the directory may be torn.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from io import BufferedIOBase, BufferedReader
from pathlib import Path

from fastcrc import crc64

from transforms.cos.direct_file import DirectFile, direct_file, read_directly
from transforms.testing.cos_answers import Refusal, invalid_argument, no_such_bucket, no_such_key, no_such_upload

MINIMUM_PART = 1 << 20
"""COS: every part but the last has at least 1 MB."""
MAXIMUM_PARTS = 10_000
CHUNK = 1 << 20

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  bucket TEXT, key BLOB, file TEXT, size INTEGER, etag TEXT, crc TEXT, headers TEXT, modified REAL,
  PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
  id TEXT PRIMARY KEY, bucket TEXT, key BLOB, headers TEXT, started REAL);
CREATE TABLE IF NOT EXISTS parts (
  upload TEXT, number INTEGER, file TEXT, size INTEGER, etag TEXT, crc TEXT,
  PRIMARY KEY (upload, number)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Content:
    """Bytes in a file of the server's directory."""

    file: str
    size: int
    etag: str
    crc: str


@dataclass(frozen=True)
class Stored:
    """An object."""

    key: str
    content: Content
    headers: Mapping[str, str]
    modified: float


@dataclass(frozen=True)
class Upload:
    """A multipart upload under way."""

    id: str
    key: str
    headers: Mapping[str, str]
    started: float


class Disk:
    """The buckets of a server in one directory. Thread-safe; for one process at a time."""

    def __init__(self, directory: Path, buckets: Iterable[str]) -> None:
        self._contents = directory / "contents"
        self._contents.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(directory / "names.sqlite", check_same_thread=False, isolation_level=None)
        self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _SCHEMA)
        self.buckets = frozenset(buckets)
        self.versioned: set[str] = set()
        """Buckets where versioning was ever on: COS ignores forbid-overwrite there."""

    def close(self) -> None:
        """Close the database. The directory can be opened again."""
        with self._lock:
            self._database.close()

    def check_bucket(self, bucket: str) -> None:
        """Raise Refusal for a bucket that is not here."""
        if bucket not in self.buckets:
            raise no_such_bucket()

    def receive(self, source: BufferedIOBase, size: int) -> Content:
        """Write a body of ``size`` bytes; raises ConnectionError where it ends early."""
        buffer = memoryview(bytearray(min(size, CHUNK)))
        with _new_content(self._contents) as writer:
            while size:
                count = source.readinto(buffer[: min(size, CHUNK)])
                if not count:
                    raise ConnectionError("the body ended early")
                writer.write(buffer[:count])
                size -= count
        return writer.content()

    def open(self, content: Content) -> BufferedReader:
        """Open a content for reading. It stays readable after the object is deleted or overwritten."""
        return (self._contents / content.file).open("rb")

    def remove(self, content: Content) -> None:
        """Remove a content that no name points to."""
        (self._contents / content.file).unlink(missing_ok=True)

    def put(self, bucket: str, key: str, content: Content, headers: Mapping[str, str], forbid_overwrite: bool) -> None:
        """Give a content a name; raises Refusal 409 where the name is taken and must not be overwritten."""
        with self._lock:
            self.refuse_overwrite(bucket, key, forbid_overwrite)
            old = self._find(bucket, key)
            row = (bucket, key.encode(), content.file, content.size, content.etag, content.crc)
            self._database.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, json.dumps(dict(headers)), time.time()),
            )
        if old is not None:
            self.remove(old.content)

    def refuse_overwrite(self, bucket: str, key: str, forbid_overwrite: bool) -> None:
        """Raise Refusal 409 where the name is taken and must not be overwritten."""
        if forbid_overwrite and bucket not in self.versioned and self._find(bucket, key) is not None:
            raise Refusal(HTTPStatus.CONFLICT, "FileAlreadyExists", "The object you specified already exists.")

    def get(self, bucket: str, key: str) -> Stored:
        """Find an object; raises Refusal 404."""
        found = self._find(bucket, key)
        if found is None:
            raise no_such_key()
        return found

    def open_object(self, bucket: str, key: str) -> tuple[Stored, BufferedReader]:
        """Find an object and open its content, both of one moment."""
        with self._lock:
            stored = self.get(bucket, key)
            return stored, self.open(stored.content)

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object. One that is not there is no error, as with COS."""
        with self._lock:
            old = self._find(bucket, key)
            self._database.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key.encode()))
        if old is not None:
            self.remove(old.content)

    def list(self, bucket: str, prefix: str, marker: str, limit: int) -> Sequence[Stored]:
        """List up to ``limit`` objects after ``marker``, in the order of the bytes of their keys."""
        start, after = prefix.encode(), marker.encode()
        with self._lock:
            rows = self._database.execute(
                "SELECT key, file, size, etag, crc, headers, modified FROM objects"
                " WHERE bucket = ? AND key > ? AND key >= ? AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?",
                (bucket, after, start, len(start), start, limit),
            ).fetchall()
        return [_stored(row) for row in rows]

    def start_upload(self, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        """Start a multipart upload and give its id."""
        upload = uuid.uuid4().hex
        with self._lock:
            self._database.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?, ?)",
                (upload, bucket, key.encode(), json.dumps(dict(headers)), time.time()),
            )
        return upload

    def uploads(self, bucket: str, prefix: str) -> Sequence[Upload]:
        """Find all uploads under way, by key."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id, key, headers, started FROM uploads WHERE bucket = ? ORDER BY key, id", (bucket,)
            ).fetchall()
        found = [Upload(id_, key.decode(), json.loads(headers), started) for id_, key, headers, started in rows]
        return [upload for upload in found if upload.key.startswith(prefix)]

    def upload(self, bucket: str, key: str, upload: str) -> Upload:
        """Find an upload; raises Refusal 404."""
        for found in self.uploads(bucket, key):
            if (found.id, found.key) == (upload, key):
                return found
        raise no_such_upload()

    def put_part(self, bucket: str, key: str, upload: str, number: int, content: Content) -> None:
        """Add a part, in place of an earlier one of the same number."""
        if not 1 <= number <= MAXIMUM_PARTS:
            raise invalid_argument("partNumber must be between 1 and 10000")
        with self._lock:
            self.upload(bucket, key, upload)
            old = self.parts(upload).get(number)
            row = (upload, number, content.file, content.size, content.etag, content.crc)
            self._database.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?)", row)
        if old is not None:
            self.remove(old)

    def parts(self, upload: str) -> Mapping[int, Content]:
        """Find the parts of an upload, by number."""
        with self._lock:
            rows = self._database.execute(
                "SELECT number, file, size, etag, crc FROM parts WHERE upload = ? ORDER BY number", (upload,)
            ).fetchall()
        return {number: Content(*rest) for number, *rest in rows}

    def complete(
        self, bucket: str, key: str, upload: str, listed: Sequence[tuple[int, str]], forbid_overwrite: bool
    ) -> Content:
        """Join the listed parts (number and ETag, in order) under the upload's key, and end the upload."""
        started = self.upload(bucket, key, upload)
        chosen = _choose(self.parts(upload), listed)
        self.refuse_overwrite(bucket, key, forbid_overwrite)
        with _new_content(self._contents) as writer:
            for part in chosen:
                for chunk in read_directly(self._contents / part.file):
                    writer.write(chunk)
        whole = writer.content(parts=len(chosen))
        try:
            with self._lock:
                self.upload(bucket, key, upload)
                self.put(bucket, key, whole, started.headers, forbid_overwrite)
                self.abort(bucket, key, upload)
        except Refusal:
            self.remove(whole)
            raise
        return whole

    def abort(self, bucket: str, key: str, upload: str) -> None:
        """End an upload and remove its parts; raises Refusal 404."""
        with self._lock:
            self.upload(bucket, key, upload)
            parts = self.parts(upload)
            self._database.execute("DELETE FROM parts WHERE upload = ?", (upload,))
            self._database.execute("DELETE FROM uploads WHERE id = ?", (upload,))
        for part in parts.values():
            self.remove(part)

    def _find(self, bucket: str, key: str) -> Stored | None:
        with self._lock:
            row = self._database.execute(
                "SELECT key, file, size, etag, crc, headers, modified FROM objects WHERE bucket = ? AND key = ?",
                (bucket, key.encode()),
            ).fetchone()
        return None if row is None else _stored(row)


class _ContentWriter:
    """Writes one content and hashes it on the way."""

    def __init__(self, name: str, file: DirectFile) -> None:
        self._name = name
        self._file = file
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc = crc64.xz(b"")
        self._size = 0

    def write(self, chunk: memoryview) -> None:
        self._file.write(chunk)
        self._md5.update(chunk)
        self._crc = crc64.xz(chunk, self._crc)
        self._size += len(chunk)

    def content(self, parts: int | None = None) -> Content:
        """What was written; joined of so many parts."""
        etag = self._md5.hexdigest() + ("" if parts is None else f"-{parts}")
        return Content(self._name, self._size, f'"{etag}"', str(self._crc))


@contextmanager
def _new_content(directory: Path) -> Iterator[_ContentWriter]:
    """Nothing is left of it where the body fails."""
    path = directory / uuid.uuid4().hex
    try:
        # Past the system's cache, which would cost several times what the client spends that is measured beside it.
        with direct_file(path, flush=False) as file:
            yield _ContentWriter(path.name, file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _stored(row: tuple[bytes, str, int, str, str, str, float]) -> Stored:
    key, file, size, etag, crc, headers, modified = row
    return Stored(key.decode(), Content(file, size, etag, crc), json.loads(headers), modified)


def _choose(parts: Mapping[int, Content], listed: Sequence[tuple[int, str]]) -> Sequence[Content]:
    """Check the list that completes an upload against the parts that came."""
    numbers = [number for number, _ in listed]
    if not numbers or numbers != sorted(set(numbers)):
        message = "The list of parts must not be empty and must be in ascending order."
        raise Refusal(HTTPStatus.BAD_REQUEST, "InvalidPartOrder", message)
    for number, etag in listed:
        if number not in parts or parts[number].etag.strip('"') != etag.strip('"'):
            raise Refusal(HTTPStatus.BAD_REQUEST, "InvalidPart", f"Part {number} was not found or has another ETag.")
    chosen = [parts[number] for number in numbers]
    if any(part.size < MINIMUM_PART for part in chosen[:-1]):
        message = "Each part but the last must have at least 1 MB."
        raise Refusal(HTTPStatus.BAD_REQUEST, "EntityTooSmall", message)
    return chosen
