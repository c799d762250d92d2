"""An object of a bucket as a file of Python's: read from any place, or written from its start."""

from __future__ import annotations

import contextlib
import io
import os
from types import TracebackType
from typing import Any, Final

from fastcrc import crc64 as crc64_of

from transforms.cos.bucket import Bucket
from transforms.errors import BackupError, DestinationError

READ_AT_ONCE: Final = 4 << 20
"""Bytes of one request while a file is read."""
PART: Final = 16 << 20
"""Bytes of a part; with COS's 10,000 parts a file has 160 GB at most."""


class ObjectReader(io.RawIOBase):
    """Reads an object with ranged requests; wrap it in a BufferedReader. Not thread-safe.

    Raises DestinationError where there is no such object; and, when it was read in one go, where its content is not
    that of the CRC64 which COS computed.
    """

    mode = "rb"

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._head = bucket.require(key)
        self._place = 0
        self._checked = 0
        self._crc = crc64_of.xz(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, from 0 to the end of the object."""
        self._check_open()
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._head.size}[whence]
        self._place = min(max(start + offset, 0), self._head.size)
        return self._place

    def tell(self) -> int:
        """The place."""
        self._check_open()
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read what fits; 0 at the end."""
        self._check_open()
        stop = min(self._place + len(buffer), self._head.size)
        if stop <= self._place:
            return 0
        piece = self._bucket.read(self._key, self._place, stop)
        if self._place == self._checked:
            self._check(piece)
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def _check(self, piece: bytes) -> None:
        self._crc = crc64_of.xz(piece, self._crc)
        self._checked += len(piece)
        if self._checked == self._head.size and self._head.crc64 not in (None, self._crc):
            raise DestinationError(
                f"{self._bucket.url(self._key)} was damaged on its way, or written anew while it was read: CRC64 "
                f"{self._crc} instead of {self._head.crc64}. Read it again."
            )

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")


class ObjectWriter(io.RawIOBase):
    """Writes an object, which appears whole under its name when the file is closed. Not thread-safe.

    Holds a part in memory; what is larger than that goes out as a multipart upload. Left with an exception, or never
    closed, it leaves no object.
    """

    mode = "wb"

    def __init__(self, bucket: Bucket, key: str, content_type: str) -> None:
        self._bucket = bucket
        self._key = key
        self._content_type = content_type
        self._held = bytearray()
        self._written = 0
        self._crc = crc64_of.xz(b"")
        self._upload: str | None = None
        self._etags: list[str] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """How much was written."""
        return self._written

    def write(self, data: Any) -> int:
        """Take all of it."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        size = len(data)
        self._held += data
        self._written += size
        while len(self._held) >= PART + 1:
            self._send(bytes(self._held[:PART]))
            del self._held[:PART]
        return size

    def close(self) -> None:
        """Make the object; nothing the second time."""
        if self.closed:
            return
        try:
            if self._upload is None:
                self._bucket.put(self._key, bytes(self._held), self._content_type)
            else:
                self._send(bytes(self._held))
                self._bucket.complete(self._key, self._upload, self._etags, self._crc)
        except BaseException:
            self.discard()
            raise
        super().close()

    def discard(self) -> None:
        """Close it, and leave no object."""
        if not self.closed:
            upload, self._upload = self._upload, None
            self._held.clear()
            super().close()
            if upload is not None:
                with contextlib.suppress(BackupError):
                    self._bucket.abort(self._key, upload)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Make the object, or none where there was an exception."""
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        """A file that nobody closed was not written to its end."""
        # Its attributes may never have been set.
        if "_etags" in self.__dict__:
            self.discard()

    def _send(self, part: bytes) -> None:
        if self._upload is None:
            self._upload = self._bucket.start_upload(self._key, self._content_type)
        self._crc = crc64_of.xz(part, self._crc)
        self._etags.append(self._bucket.upload_part(self._key, self._upload, len(self._etags) + 1, part))
