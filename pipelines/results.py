"""What a run has done, as its stages tell it: in this process, or by way of the destination.

On a cluster the workers are other processes, so each result is one small object under ``_spool/`` at the destination,
which whoever started the run reads at its end and deletes.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import apache_beam as beam

from transforms.cos.destination import Destination, open_store
from transforms.cos.store import ObjectStore
from transforms.cos.written import PartitionReport, SchemaSeen, WrittenFile
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position


class Written(NamedTuple):
    """What was written of one partition."""

    partition: str
    files: int
    bytes: int


@dataclass(slots=True)
class RunResults:
    """Each file, partition, gap and schema once, however often it is told."""

    files: dict[str, WrittenFile] = field(default_factory=dict)
    partitions: dict[str, PartitionReport] = field(default_factory=dict)
    gaps: set[Gap] = field(default_factory=set)
    schemas: set[SchemaSeen] = field(default_factory=set)
    _written: dict[str, Written] = field(default_factory=dict)

    def take(self, result: WrittenFile | PartitionReport | Gap | Written | SchemaSeen) -> None:
        """Take in what a stage tells."""
        match result:
            case Gap():
                self.gaps.add(result)
            case SchemaSeen():
                self.schemas.add(result)
            case WrittenFile():
                self.files[result.key] = result
            case PartitionReport():
                self.partitions[result.partition] = result
            case Written():
                self._written[result.partition] = result

    @property
    def written(self) -> dict[str, Written]:
        """What was written, by partition; files that stood there already not counted."""
        found = dict(self._written)
        for file in self.files.values():
            if file.created:
                before = found.get(file.partition) or Written(file.partition, 0, 0)
                found[file.partition] = Written(file.partition, before.files + 1, before.bytes + file.bytes)
        return found


_results: dict[str, RunResults] = {}
_lock = threading.Lock()


def results_of(run: str) -> RunResults:
    """The results of a run whose stages are in this process."""
    with _lock:
        return _results.setdefault(run, RunResults())


def forget(run: str) -> None:
    """Drop the results of a run that has ended."""
    with _lock:
        _results.pop(run, None)


class CollectHere(beam.PTransform):  # type: ignore[misc]
    """Put the results of a run into ``results_of`` of this process."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def expand(self, told: dict[str, beam.PCollection]) -> None:
        """Build the transform, from ``files``, ``partitions``, ``gaps`` and ``schemas``."""
        _ = told["schemas"] | "CollectSchemas" >> beam.ParDo(_Collect(self._run))
        _ = told["gaps"] | "CollectGaps" >> beam.ParDo(_Collect(self._run))
        _ = told["files"] | "CollectFiles" >> beam.ParDo(_Collect(self._run))
        _ = told["partitions"] | "CollectPartitions" >> beam.ParDo(_Collect(self._run))


class _Collect(beam.DoFn):  # type: ignore[misc]
    def __init__(self, run: str) -> None:
        self._run = run

    def process(self, element: Any) -> None:
        results_of(self._run).take(element)


class StoreResults(beam.PTransform):  # type: ignore[misc]
    """Put the results of a run with an end to the destination, from where ``fetch_results`` takes them."""

    def __init__(self, run: str, destination: Destination) -> None:
        super().__init__()
        self._store = _Store(run, destination)

    def expand(self, told: dict[str, beam.PCollection]) -> None:
        """Build the transform, from ``files``, ``partitions``, ``gaps`` and ``schemas``."""
        totals = (
            told["files"]
            | "Sizes" >> beam.FlatMap(_sizes)
            | "Totals" >> beam.CombinePerKey(_Totals())
            | "Written" >> beam.MapTuple(lambda partition, total: Written(partition, *total))
        )
        _ = told["gaps"] | "StoreGaps" >> beam.ParDo(self._store)
        _ = told["schemas"] | "StoreSchemas" >> beam.ParDo(self._store)
        _ = totals | "StoreTotals" >> beam.ParDo(self._store)
        _ = told["partitions"] | "StorePartitions" >> beam.ParDo(self._store)


def _sizes(file: WrittenFile) -> Iterator[tuple[str, tuple[int, int]]]:
    if file.created:
        yield file.partition, (1, file.bytes)


class _Totals(beam.CombineFn):  # type: ignore[misc]
    def create_accumulator(self) -> tuple[int, int]:
        return 0, 0

    def add_input(self, total: tuple[int, int], file: tuple[int, int]) -> tuple[int, int]:
        return total[0] + file[0], total[1] + file[1]

    def merge_accumulators(self, totals: Any) -> tuple[int, int]:
        files, sizes = zip(*totals, strict=True)
        return sum(files), sum(sizes)

    def extract_output(self, total: tuple[int, int]) -> tuple[int, int]:
        return total


class _Store(beam.DoFn):  # type: ignore[misc]
    def __init__(self, run: str, destination: Destination) -> None:
        self._run = run
        self._destination = destination

    def setup(self) -> None:
        self._store = open_store(self._destination)

    def process(self, element: Any) -> None:
        # A job that starts again tells the same places again; the last word counts.
        name = hashlib.sha256(json.dumps(_place(element)).encode()).hexdigest()[:32]
        key = f"{_folder(self._destination, self._run)}{name}.json"
        self._store.put_part(key, json.dumps(_to_json(element)).encode())


def fetch_results(run: str, destination: Destination, store: ObjectStore) -> RunResults:
    """Take the results of a run from the destination, where none is left."""
    results = RunResults()
    keys = list(store.list_keys(_folder(destination, run)))
    for key in keys:
        results.take(_from_json(json.loads(b"".join(store.read(key)))))
    store.delete_parts(keys)
    return results


def _folder(destination: Destination, run: str) -> str:
    return f"{destination.prefix}_spool/results-{run}/"


def _place(result: PartitionReport | Gap | Written | SchemaSeen) -> list[Any]:
    if isinstance(result, Gap):
        return ["gap", result.partition.name, *result.start]
    if isinstance(result, SchemaSeen):
        return ["schema", *result]
    return [type(result).__name__, result.partition]


def _to_json(result: PartitionReport | Gap | Written | SchemaSeen) -> list[Any]:
    if isinstance(result, Gap):
        partition = [result.partition.topic, result.partition.index]
        return ["gap", partition, result.start, result.stop, result.certain]
    if isinstance(result, SchemaSeen):
        return ["schema", *result]
    return ["partition" if isinstance(result, PartitionReport) else "written", *result]


def _from_json(values: list[Any]) -> PartitionReport | Gap | Written | SchemaSeen:
    kind, *rest = values
    if kind == "gap":
        partition, start, stop, certain = rest
        return Gap(TopicPartition(*partition), Position(*start), Position(*stop), certain)
    if kind == "written":
        return Written(*rest)
    if kind == "schema":
        return SchemaSeen(*rest)
    report = PartitionReport(*rest)
    first, last = (None if each is None else Position(*each) for each in (report.first, report.last))
    return report._replace(first=first, last=last, upto=Position(*report.upto))
