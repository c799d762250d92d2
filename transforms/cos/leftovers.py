"""What runs that were killed left at the destination: spooled parts, and multipart uploads that nobody completes.

No run uses what another has left: its parts belong to a file that was never cut. So they may go once the messages
of that file are stored, and not before, for a run that is still under way may be about to join them.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from transforms.cos.cos_store import CosStore
from transforms.cos.listing import StoredFiles
from transforms.cos.store import ObjectStore
from transforms.errors import AccessError, BackupError
from transforms.files.naming import QUARANTINE_LANE, FileName, Layout, PartName, parse_name, parse_part
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

_log = logging.getLogger(__name__)

_DEADLINE = 30.0
"""Seconds for each request: what is not cleared now is cleared by the next run."""

# As check_writable names it.
_PROBE = re.compile(r"probe-[0-9a-f]+")


@dataclass(frozen=True)
class StoredRange:
    """A stretch of a partition all of whose messages are stored: from ``start`` up to before ``stop``."""

    partition: TopicPartition
    start: Position
    stop: Position


def clear_leftovers(store: ObjectStore, layout: Layout, file_format: str, stored: Iterable[StoredRange]) -> None:
    """Remove what earlier runs of the same job left of files whose messages are stored by now.

    Of the same job: of these partitions, with this layout and format (``avro`` or ``jsonl``). What it removes and
    what it leaves is logged. Never raises BackupError: the backup is complete without it.
    """
    if isinstance(store, CosStore):
        store = store.with_deadline(_DEADLINE)
    owned = _Owned(store, layout, file_format, stored)
    try:
        for key in _left_parts(owned):
            store.delete_parts([key])
            _log.info("removed %s, which an earlier run left behind", key)
    except BackupError as error:
        _log.warning("Spooled parts that an earlier run left behind were not all removed: %s", error)
    try:
        for key, upload in _left_uploads(owned):
            store.abort_upload(key, upload)
            _log.info("ended the multipart upload %s to %s, which was left behind", upload, key)
    except AccessError as error:
        _log.info("Multipart uploads that were left behind stay until a lifecycle rule ends them: %s", error)
    except BackupError as error:
        _log.warning("Multipart uploads that were left behind were not all ended: %s", error)


class _Owned:
    """Tells which names belong to the job, and whether what they hold is stored."""

    def __init__(self, store: ObjectStore, layout: Layout, file_format: str, stored: Iterable[StoredRange]) -> None:
        self.store = store
        self.layout = layout
        self.format = file_format
        self._files = StoredFiles(store, layout, file_format)
        self._ranges: defaultdict[int, list[StoredRange]] = defaultdict(list)
        for each in stored:
            self._ranges[max(each.partition.index, 0)].append(each)

    def owner(self, index: int, is_its: Callable[[TopicPartition], bool]) -> StoredRange | None:
        """The partition of that index whose name this is."""
        return next((each for each in self._ranges[index] if is_its(each.partition)), None)

    def holds(self, owner: StoredRange, window: int, lane: str, first: Position) -> bool:
        """Whether the message ``first`` is stored: read by this run, or inside an object of an earlier one."""
        if owner.start <= first < owner.stop:
            return True
        runs = self._files.runs(owner.partition, window, lane)
        return any(run.first <= first <= run.last for run in runs)


def _left_parts(owned: _Owned) -> Iterator[str]:
    layout = owned.layout
    spool = f"{layout.prefix}_spool/"
    for key in owned.store.list_keys(spool):
        if _PROBE.fullmatch(key[len(spool) :]):
            yield key
            continue
        part = parse_part(key.rpartition("/")[2])
        if part is None or (part.granularity, part.format) != (layout.granularity, owned.format):
            continue

        def is_its(partition: TopicPartition, key: str = key, part: PartName = part) -> bool:
            return layout.part(partition, part.lane, part.window, part.first, part.number, part.format) == key

        owner = owned.owner(part.partition, is_its)
        if owner is None:
            continue
        if owned.holds(owner, part.window, part.lane, part.first):
            yield key
        else:
            _log.info("left %s of an earlier run: its messages are not all stored", key)


def _left_uploads(owned: _Owned) -> Iterator[tuple[str, str]]:
    layout = owned.layout
    for key, upload in owned.store.list_uploads(layout.prefix):
        folder, _, base = key.rpartition("/")
        name = parse_name(base)
        if name is None or (name.granularity, name.format) != (layout.granularity, owned.format):
            continue
        lane = QUARANTINE_LANE if key.startswith(f"{layout.prefix}_quarantine/") else name.version

        def is_its(partition: TopicPartition, folder: str = folder, name: FileName = name, lane: str = lane) -> bool:
            return layout.folder(partition, name.window, lane) == f"{folder}/"

        owner = owned.owner(name.partition, is_its)
        if owner is not None and owned.holds(owner, name.window, lane, name.run.first):
            yield key, upload
