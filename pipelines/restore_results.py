"""What a restore has done, as its stage tells it: in this process, or by way of the backup's place.

On a cluster the workers are other processes, so each result is one small object under ``_spool/``, which whoever
started the restore reads at its end and deletes.
"""

from __future__ import annotations

import json
import threading

import apache_beam as beam

from transforms.cos.destination import Destination, open_store
from transforms.restore.write import PartitionRestored, TargetRestored

_results: dict[str, dict[str, PartitionRestored]] = {}
_lock = threading.Lock()


class CollectHere(beam.DoFn):  # type: ignore[misc]
    """Keeps results in this process, from where ``collected`` takes them."""

    def __init__(self, run: str) -> None:
        self._run = run

    def process(self, element: PartitionRestored) -> None:
        """Keep one; of a partition that is told twice, the last word counts."""
        with _lock:
            _results.setdefault(self._run, {})[element.partition] = element


def collected(run: str) -> list[PartitionRestored]:
    """Take the results of a run whose stages were in this process."""
    with _lock:
        return list(_results.pop(run, {}).values())


class StoreAtBackup(beam.DoFn):  # type: ignore[misc]
    """Puts results to where the backup is, from where ``fetched`` takes them."""

    def __init__(self, run: str, backup: Destination) -> None:
        self._run = run
        self._backup = backup

    def process(self, element: PartitionRestored) -> None:
        """Store one; of a partition that is told twice, the last word counts."""
        key = f"{_folder(self._backup, self._run)}{element.partition.rpartition('/')[2].encode().hex()[-64:]}.json"
        open_store(self._backup).put_part(key, json.dumps(element).encode())


def fetched(run: str, backup: Destination) -> list[PartitionRestored]:
    """Take the results of a run on a cluster; none is left there."""
    store = open_store(backup)
    keys = list(store.list_keys(_folder(backup, run)))
    found = []
    for key in keys:
        partition, objects, targets, re_encoded, unrestorable = json.loads(b"".join(store.read(key)))
        reasons = tuple((reason, count) for reason, count in unrestorable)
        restored = tuple(TargetRestored(*each) for each in targets)
        found.append(PartitionRestored(partition, objects, restored, re_encoded, reasons))
    store.delete_parts(keys)
    return found


def _folder(backup: Destination, run: str) -> str:
    return f"{backup.prefix}_spool/results-{run}/"
