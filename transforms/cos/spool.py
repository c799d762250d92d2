"""Where the parts of a large file wait until it is cut, and so has a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from transforms.cos.folder_store import FolderStore
from transforms.cos.store import ObjectStore
from transforms.files.assemble import Body, Part
from transforms.files.naming import Layout
from transforms.files.roll import OpenFile
from transforms.pulsar.messages import TopicPartition


class Spool(Protocol):
    """Keeps parts. What it calls a part, it finds again by that name as long as the state that has the name is used."""

    def part_of(self, partition: TopicPartition, file: OpenFile) -> str:
        """A name for the next part of a file."""
        ...

    def keep(self, name: str, part: Part) -> None:
        """Write a part. Several of a file may be written at once."""
        ...

    def join(self, key: str, body: Body, metadata: Mapping[str, str]) -> bool:
        """Make one object of all parts of a file and what comes behind them; same result as ``ObjectStore.put``.

        Nothing is left of the parts.
        """
        ...

    def delete(self, parts: Sequence[str]) -> None:
        """Delete parts of a file that is not wanted. One that is not there is no error."""
        ...


def spool_of(store: ObjectStore, layout: Layout, file_format: str, *, by_reference: bool) -> Spool:
    """The cheapest there is. ``file_format``: ``avro`` or ``jsonl``; ``by_reference`` as in the sink's settings."""
    if by_reference and isinstance(store, FolderStore):
        return GrowingFiles(store, layout, file_format)
    return SpooledObjects(store, layout, file_format)


class SpooledObjects:
    """Each part an object of its own below ``_spool/``: found by whoever gets the state, in a bucket as in a folder.

    In a bucket the parts cannot be those of the upload that joins them: that has its key from the beginning.
    """

    def __init__(self, store: ObjectStore, layout: Layout, file_format: str) -> None:
        self._store, self._layout, self._format = store, layout, file_format

    def part_of(self, partition: TopicPartition, file: OpenFile) -> str:
        """See ``Spool``."""
        return self._layout.part(partition, file.lane, file.window, file.first, len(file.parts), self._format)

    def keep(self, name: str, part: Part) -> None:
        """See ``Spool``."""
        self._store.put_part(name, part.content)

    def join(self, key: str, body: Body, metadata: Mapping[str, str]) -> bool:
        """See ``Spool``. Raises DestinationError where the parts are not those that were kept."""
        created = self._store.join(key, body.parts, body.tail, body.crc, metadata)
        self._store.delete_parts(body.parts)
        return created

    def delete(self, parts: Sequence[str]) -> None:
        """See ``Spool``."""
        self._store.delete_parts(parts)


class GrowingFiles:
    """All parts of a file in one hidden file below ``_spool/``, which becomes the object: nothing is written twice.

    Only for state that no other process ever reads: of a process that has ended the file is removed.
    """

    def __init__(self, store: FolderStore, layout: Layout, file_format: str) -> None:
        self._store, self._layout, self._format = store, layout, file_format

    def part_of(self, partition: TopicPartition, file: OpenFile) -> str:
        """See ``Spool``."""
        if file.parts:
            return file.parts[0]
        beside = self._layout.part(partition, file.lane, file.window, file.first, 0, self._format)
        return self._store.begin_growing(beside)

    def keep(self, name: str, part: Part) -> None:
        """See ``Spool``."""
        self._store.grow(name, part.offset, part.content)

    def join(self, key: str, body: Body, metadata: Mapping[str, str]) -> bool:
        """See ``Spool``."""
        return self._store.finish_growing(body.parts[0], key, body.size - len(body.tail), body.tail)

    def delete(self, parts: Sequence[str]) -> None:
        """See ``Spool``."""
        for part in parts:
            self._store.discard_growing(part)
