"""What the destination holds of a window: read from the names of its objects."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar

from transforms.cos.store import ObjectStore
from transforms.files.naming import QUARANTINE_LANE, Layout, StoredRun, parse_name
from transforms.files.roll import merge_runs
from transforms.pulsar.messages import TopicPartition

_FOLDERS_KEPT = 64
_Key = tuple[int, int, str]  # window, partition, version


class StoredFiles:
    """One listing for each folder, kept. What is written through this job's own hands later need not be in it.

    Unless the runner goes back to an earlier state of a partition: then what was written since is told by new listings
    only. ``begin_with`` notices. Thread-safe.
    """

    def __init__(self, store: ObjectStore, layout: Layout, file_format: str) -> None:
        self._store = store
        self._layout = layout
        self._format = file_format
        self._folders: OrderedDict[str, dict[_Key, list[StoredRun]]] = OrderedDict()
        self._left: dict[str, int] = {}
        self._lock = threading.RLock()

    def begin_with(self, partition: str, state: bytes | None) -> bool:
        """A stage goes on with this state of the partition. Whether it is another one than the stage has left."""
        with self._lock:
            restored = self._left.get(partition) != (None if state is None else hash(state))
            if restored:
                self._folders.clear()
            return restored

    def end_with(self, partition: str, state: bytes | None) -> None:
        """The stage leaves this state of the partition."""
        with self._lock:
            if state is None:
                self._left.pop(partition, None)
            else:
                self._left[partition] = hash(state)

    def runs(self, partition: TopicPartition, window: int, lane: str) -> Sequence[StoredRun]:
        """The runs of messages that objects of this window, partition, lane and format hold; in order, none overlap.

        For the quarantine lane, the runs of the other lanes as well: a file is written only after what was put into
        quarantine between its messages.
        """
        with self._lock:
            return self._runs(partition, window, lane)

    def _runs(self, partition: TopicPartition, window: int, lane: str) -> Sequence[StoredRun]:
        index = max(partition.index, 0)
        found = self._folder(self._layout.folder(partition, window, lane))
        if lane != QUARANTINE_LANE:
            return found.get((window, index, lane), ())
        runs = list(found.get((window, index, ""), ()))
        for (at, of, _), around in self._folder(self._layout.folder(partition, window)).items():
            if (at, of) == (window, index):
                runs += around
        return merge_runs(runs)

    def _folder(self, folder: str) -> dict[_Key, list[StoredRun]]:
        known = self._folders.get(folder)
        if known is None:
            gathered: defaultdict[_Key, list[StoredRun]] = defaultdict(list)
            for key in self._store.list_keys(folder):
                name = parse_name(key[len(folder) :])
                if name and name.format == self._format and name.granularity == self._layout.granularity:
                    gathered[name.window, name.partition, name.version].append(name.run)
            known = self._folders[folder] = {key: merge_runs(runs) for key, runs in gathered.items()}
            if len(self._folders) > _FOLDERS_KEPT:
                self._folders.popitem(last=False)
        self._folders.move_to_end(folder)
        return known


class SharedFiles:
    """A StoredFiles that all stages of a run in this process share: runners give a partition's bundle to any of them.

    Kept as long as one of them holds it.
    """

    _made: ClassVar[dict[Hashable, tuple[StoredFiles, int]]] = {}
    _lock = threading.Lock()

    def __init__(self, run: Hashable) -> None:
        self._run = run

    def acquire(self, make: Callable[[], StoredFiles]) -> StoredFiles:
        """The one of the run, made if there is none."""
        with self._lock:
            files, holders = self._made.get(self._run) or (make(), 0)
            self._made[self._run] = files, holders + 1
            return files

    def release(self) -> None:
        """What ``acquire`` gave is not used any more."""
        with self._lock:
            files, holders = self._made.pop(self._run)
            if holders > 1:
                self._made[self._run] = files, holders - 1
