"""The pipeline of a backup: from partitions to files."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.coders import registry

from transforms.cos.sink import PartitionReport, WriteSettings, WriteToCos, WrittenFile
from transforms.pulsar.feeds import ReadSettings
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.restriction import PartitionRange, PartitionRangeCoder
from transforms.pulsar.source import ReadBatches

registry.register_coder(PartitionRange, PartitionRangeCoder)


@dataclass(slots=True)
class RunResults:
    """What a run in this process has written and read; each file, partition and gap once, however often it is told."""

    files: dict[str, WrittenFile] = field(default_factory=dict)
    partitions: dict[str, PartitionReport] = field(default_factory=dict)
    gaps: set[Gap] = field(default_factory=set)


_results: dict[str, RunResults] = {}
_lock = threading.Lock()


def results_of(run: str) -> RunResults:
    """The results of a run in this process. On a cluster the workers are other processes, and it stays empty."""
    with _lock:
        return _results.setdefault(run, RunResults())


def forget(run: str) -> None:
    """Drop the results of a run that has ended."""
    with _lock:
        _results.pop(run, None)


def add_backup(
    pipeline: beam.Pipeline, ranges: Iterable[PartitionRange], read: ReadSettings, write: WriteSettings
) -> None:
    """Add the whole path to a pipeline. The labels are a contract: savepoints know the stages by them."""
    messages = (
        pipeline
        | "Partitions" >> beam.Create(list(ranges)).with_output_types(PartitionRange)
        # So that partitions spread over workers; without it one subtask would read them all.
        | "SpreadPartitions" >> beam.Reshuffle()
        | "ReadFromPulsar" >> ReadBatches(read)
    )
    _ = messages.gaps | "CollectGaps" >> beam.ParDo(_Collect(write.run))
    result = messages.batches | "WriteToCos" >> WriteToCos(write)
    _ = result.files | "CollectFiles" >> beam.ParDo(_Collect(write.run))
    _ = result.partitions | "CollectPartitions" >> beam.ParDo(_Collect(write.run))


class _Collect(beam.DoFn):  # type: ignore[misc]
    def __init__(self, run: str) -> None:
        self._run = run

    def process(self, element: Any) -> None:
        results = results_of(self._run)
        if isinstance(element, Gap):
            results.gaps.add(element)
        elif isinstance(element, WrittenFile):
            results.files[element.key] = element
        else:
            results.partitions[element.partition] = element
