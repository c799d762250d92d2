"""Records of a backup, object by object."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from transforms.cos.store import ObjectStore
from transforms.errors import ConfigurationError
from transforms.files.decode import Record, read_records
from transforms.looking.selection import Selection

EXTENSIONS: Final = ("avro", "jsonl", "jsonl.gz", "jsonl.zst")
#: Objects that are fetched while an earlier one is read, and up to which size.
_AHEAD: Final = 4
_LARGEST_AHEAD: Final = 8 << 20


class Stored(NamedTuple):
    """An object whose records are read."""

    store: ObjectStore
    key: str
    size: int
    name: str
    """What errors call it."""


class Hit(NamedTuple):
    """A record that was asked for."""

    object: Stored
    place: int
    """Its place in the object, from 0."""
    record: Record


class Reading:
    """Reads objects one after the other, and gives what is asked for. Memory: a few small objects, or one block."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self.read = 0
        """Objects that were read so far."""

    def hits(self, objects: Iterable[Stored]) -> Iterator[Hit]:
        """Give the records that are asked for, in the order of the objects and in their order there.

        Raises DamagedError where an object is damaged, what stands before the damage having been given.
        """
        for found, pieces in _fetched(objects):
            self.read += 1
            for place, record in enumerate(read_records(pieces, extension_of(found.key), found.name)):
                if self._selection.is_behind(record):
                    break
                if self._selection.holds(record):
                    yield Hit(found, place, record)


def extension_of(key: str) -> str:
    """The end of an object's name that says how it is read. Raises ConfigurationError for any other."""
    for extension in EXTENSIONS:
        if key.endswith(f".{extension}"):
            return extension
    raise ConfigurationError(f"{key}: is no file of messages, whose names end with .{', .'.join(EXTENSIONS)}.")


def _fetched(objects: Iterable[Stored]) -> Iterator[tuple[Stored, Iterable[bytes]]]:
    """Give objects with their contents; small ones are fetched before it is their turn."""
    waiting: deque[tuple[Stored, Future[list[bytes]] | None]] = deque()
    pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="fetch")
    try:
        for each in objects:
            small = each.size <= _LARGEST_AHEAD
            waiting.append((each, pool.submit(_content, each) if small else None))
            if len(waiting) > _AHEAD:
                yield _next(waiting)
        while waiting:
            yield _next(waiting)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _next(waiting: deque[tuple[Stored, Future[list[bytes]] | None]]) -> tuple[Stored, Iterable[bytes]]:
    found, content = waiting.popleft()
    return found, found.store.read(found.key) if content is None else content.result()


def _content(found: Stored) -> list[bytes]:
    return list(found.store.read(found.key))
