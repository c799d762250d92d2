"""A run whose partitions are shared among worker processes."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipelines import job
from pipelines.local_workers.processes import WorkerProcesses
from pipelines.local_workers.told import FromWorker, Logged, Order, Result, Share, ToldOf
from pipelines.options import BackupConfig
from pipelines.results import results_of
from transforms.cos.manifests import ToldOfTopic, TopicManifests, gap_told
from transforms.cos.window_manifest import ManifestSettings
from transforms.files.windows_complete import TopicWindows
from transforms.progress import Snapshot, progress_of
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.request import Resolution
from transforms.pulsar.restriction import PartitionRange

#: Whose levels the workers log with.
_LOGGERS = ("root", "apache_beam")


def run_in_workers(
    config: BackupConfig, name: str, resolution: Resolution, spread: Sequence[list[PartitionRange]]
) -> None:
    """Read each list of partitions in a process of its own; ``results_of`` and ``progress_of`` are those of the run.

    Raises BackupError, as a worker has raised it; WorkerError where one has ended before its time.
    """
    shares = _shares(config, name, spread)
    manifests = job.manifest_settings(config, shares[0].write)
    levels = {each: logging.getLogger(each).level for each in _LOGGERS}
    with Taken(name, manifests, job.known_of_topics(resolution)) as taken:
        with WorkerProcesses(Order(shares, config.beam_args, manifests is not None, levels)) as workers:
            for worker, told in workers.told():
                taken.take(worker, told)
        taken.finish()


def _shares(config: BackupConfig, name: str, spread: Sequence[list[PartitionRange]]) -> list[Share]:
    """Of the memory each gets as much as it has of the partitions, which is what memory is needed for."""
    partitions = sum(map(len, spread))
    return [
        Share(ranges, *job.settings(_with_memory(config, len(ranges), partitions), name, len(ranges)))
        for ranges in spread
    ]


def _with_memory(config: BackupConfig, part: int, whole: int) -> BackupConfig:
    return replace(config, memory_budget=config.memory_budget * part // whole)


class Taken:
    """Takes in what workers tell, and writes the manifests; for one thread."""

    def __init__(self, run: str, manifests: ManifestSettings | None, known: Iterable[ToldOfTopic]) -> None:
        self._results = results_of(run)
        self._seen = progress_of(run)
        self._manifests = None if manifests is None else TopicManifests(manifests, bounded=True)
        self._windows: dict[str, TopicWindows] = defaultdict(TopicWindows)
        for topic, encoded in known:
            self._tell(topic, encoded)

    def __enter__(self) -> Taken:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._manifests is not None:
            if error is not None:
                self._manifests.abandon(error)
            self._manifests.close()

    def take(self, worker: int, told: FromWorker) -> None:
        """Take it in. Raises as the store does."""
        match told:
            case Snapshot():
                self._seen.told(worker, told)
            case Logged():
                logging.getLogger(told.record.name).handle(told.record)
            case Result():
                self._results.take(told.value)
                if isinstance(told.value, Gap):
                    self._tell(*gap_told(told.value))
            case ToldOf():
                self._tell(told.topic, told.encoded)

    def finish(self) -> None:
        """Wait for the manifests. Raises as the store does."""
        if self._manifests is not None:
            self._manifests.finish()

    def _tell(self, topic: str, encoded: bytes) -> None:
        if self._manifests is not None:
            self._manifests.take(topic, self._windows[topic], encoded)
