"""What the destination holds of a window: read from the names of its objects."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence

from transforms.cos.store import ObjectStore
from transforms.files.naming import QUARANTINE_LANE, Layout, StoredRun, parse_name
from transforms.files.roll import merge_runs
from transforms.pulsar.messages import TopicPartition

_FOLDERS_KEPT = 64
_Key = tuple[int, int, str]  # window, partition, version


class StoredFiles:
    """One listing for each folder, kept. What is written through this job's own hands later need not be in it."""

    def __init__(self, store: ObjectStore, layout: Layout, file_format: str) -> None:
        self._store = store
        self._layout = layout
        self._format = file_format
        self._folders: OrderedDict[str, dict[_Key, list[StoredRun]]] = OrderedDict()

    def runs(self, partition: TopicPartition, window: int, lane: str) -> Sequence[StoredRun]:
        """The runs of messages that objects of this window, partition, lane and format hold; in order, none overlap.

        For the quarantine lane, the runs of the other lanes as well: a file is written only after what was put into
        quarantine between its messages.
        """
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
