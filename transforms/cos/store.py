"""Where objects go: one narrow protocol over a COS bucket and over a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from transforms.files.pieces import Body


class StoredSize(NamedTuple):
    """An object as a listing tells of it."""

    key: str
    size: int
    """Bytes."""


class ObjectHead(NamedTuple):
    """What a store tells of one object without its content."""

    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970."""
    crc64: int | None
    """The CRC-64/XZ that the store computed; None where it computes none."""
    metadata: Mapping[str, str]
    """User metadata, names in lower case; empty where the store keeps none."""


class ObjectStore(Protocol):
    """A bucket or a folder, opened on a worker and shared by its threads.

    Keys are relative to nothing: the whole key, without a leading ``/``. Contents are immutable: an object appears
    complete or not at all, and is never overwritten with other content. Every method raises DestinationError
    (AccessError where it is a matter of permission) once retries are used up.
    """

    @property
    def retries(self) -> int:
        """How many requests were tried again since the store was opened."""
        ...

    def list_keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with ``prefix``, in the order of their UTF-8 bytes."""
        ...

    def list_objects(self, prefix: str, after: str = "") -> Iterator[StoredSize]:
        """All objects whose keys begin with ``prefix`` and come behind ``after``, in the order of ``list_keys``."""
        ...

    def head(self, key: str) -> ObjectHead | None:
        """What is known of an object; None if there is none."""
        ...

    def put(self, key: str, body: Body, metadata: Mapping[str, str]) -> bool:
        """Write a whole object; True if it was created, False if an equal one stood there already.

        What an attempt of the same call may have created, whose answer was lost, counts as created.
        Equal is told by the metadata ``records-crc64``, ``records-bytes`` and ``messages`` where the store keeps
        metadata, else by the bytes. Raises ObjectConflictError where the name is taken by anything else.
        """
        ...

    def put_document(self, key: str, body: bytes) -> bool:
        """Write a small object that later runs read, as ``put`` does: at hand whatever the others' storage class is.

        Equal means equal bytes.
        """
        ...

    def put_part(self, key: str, body: Body) -> None:
        """Write a spooled part of a large object under a key of its own. Writing equal bytes again is no error."""
        ...

    def join(self, key: str, parts: Sequence[str], tail: Body, crc64: int, metadata: Mapping[str, str]) -> bool:
        """Make one object of spooled parts (each at least 1 MiB) and a tail (any size); same result as ``put``.

        ``crc64`` is the CRC-64/XZ of the whole object. The parts are left in place.
        """
        ...

    def delete_parts(self, keys: Sequence[str]) -> None:
        """Delete spooled parts. A part that is not there is no error."""
        ...

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read an object piece by piece, from byte ``start`` to before ``stop``, or to its end where that comes first.

        The whole of it is held against the CRC64 of the store, if that has one, once its last piece is read.
        """
        ...

    def list_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Multipart uploads under way to keys that begin with ``prefix``: key and id. A folder has none."""
        ...

    def abort_upload(self, key: str, upload: str) -> None:
        """End a multipart upload without an object. One that has ended already is no error."""
        ...
