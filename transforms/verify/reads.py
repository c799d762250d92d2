"""What runs say that they have read, gathered from run records and manifests."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from sys import intern
from typing import Final, NamedTuple

from transforms.files.manifest import GapFound, Manifest, RunRecord
from transforms.verify.counts import Said, Series, Stretch
from transforms.verify.findings import Finding, Kind

#: Of the manifests of a run, so many are kept of each partition: the last ones may tell of what is not in files yet.
_KEPT: Final = 4


class _Reader(NamedTuple):
    run: str
    topic: str
    partition: int
    """As in names."""
    granularity: int
    format: str


class Reads:
    """Gathers the stretches. Memory: one for each partition of each run, and a few where a run has no record.

    With what is counted into them that is about 700 bytes each.

    Take in all run records before the first manifest.
    """

    def __init__(self, topics: Iterable[str] = ()) -> None:
        """Only of these topics (full names), if any are given."""
        self._topics = frozenset(topics)
        self._records: dict[_Reader, Stretch] = {}
        self._manifests: dict[_Reader, list[Stretch]] = {}
        """Of runs without a record; in order of their stops."""
        self._runs: set[str] = set()
        self._typed: set[tuple[str, str]] = set()
        """Runs and topics that were written with ``--payload=value``."""
        self._gaps: dict[GapFound, str] = {}
        self._without_record: dict[str, str] = {}

    def record(self, key: str, record: RunRecord) -> None:
        """Take in a run record."""
        self._runs.add(record.run)
        for read in record.read:
            if self._wants(read.topic):
                place = max(read.partition, 0), record.granularity, record.format
                reader = _Reader(record.run, intern(read.topic), *place)
                self._records[reader] = Stretch(read.start, read.stop, read.messages, key, record.compacted)
                if record.payload == "value":
                    self._typed.add((record.run, read.topic))
        self._take_gaps(key, record.gaps)

    def manifest(self, key: str, manifest: Manifest) -> Iterator[Finding]:
        """Take in what a manifest says of its run. Gives what contradicts the record of that run."""
        run, known = manifest.run, manifest.run in self._runs
        if not known:
            self._without_record.setdefault(run, key)
        if not known and any(file.quarantined or "-v" in file.name for file in manifest.files):
            self._typed.add((run, manifest.topic))
        for read in manifest.read:
            reader = _Reader(run, intern(read.topic), max(read.partition, 0), manifest.granularity, manifest.format)
            stretch = Stretch(read.start, read.stop, read.messages, key, manifest.compacted)
            if not known:
                self._keep(reader, stretch)
            elif self._wants(read.topic) and not _agree(stretch, self._records.get(reader)):
                said = f"{stretch.start} to {stretch.stop}, {stretch.messages} messages"
                what = f"it says of partition {reader.partition} {said}, and the record of run {run} another thing"
                yield Finding(Kind.CHANGED_MANIFEST, key, what)
        self._take_gaps(key, manifest.gaps)

    def said(self) -> Iterator[tuple[Series, Said]]:
        """All that is known: of runs with a record what that says, of others what the last of their manifests say."""
        of_records = ((reader, [stretch]) for reader, stretch in self._records.items())
        for reader, stretches in [*of_records, *self._manifests.items()]:
            typed = (reader.run, reader.topic) in self._typed
            yield Series(reader.topic, reader.partition, reader.granularity, reader.format, typed), stretches

    def findings(self) -> Iterator[Finding]:
        """Gaps, and runs without a record."""
        for gap, key in self._gaps.items():
            word = "deleted" if gap.certain else "perhaps deleted"
            name = gap.topic if gap.partition < 0 else f"{gap.topic}-partition-{gap.partition}"
            yield Finding(Kind.GAP, key, f"{name}: {word} from {gap.start} to before {gap.stop}")
        for run, key in self._without_record.items():
            yield Finding(Kind.NO_RECORD, run, f"named by {key}")

    def _wants(self, topic: str) -> bool:
        return not self._topics or topic in self._topics

    def _keep(self, reader: _Reader, stretch: Stretch) -> None:
        kept = self._manifests.setdefault(reader, [])
        if all(each[:3] != stretch[:3] for each in kept):
            insort(kept, stretch, key=lambda each: (each.stop, each.messages))
            del kept[:-_KEPT]

    def _take_gaps(self, key: str, gaps: Iterable[GapFound]) -> None:
        for gap in gaps:
            if self._wants(gap.topic):
                self._gaps.setdefault(gap, key)


def _agree(read: Stretch, of_run: Stretch | None) -> bool:
    """What a run had read when it wrote a manifest is a beginning of what it had read when it ended."""
    if of_run is None:
        return not read.messages  # a partition of which nothing was to be read is not in the record
    return read.start == of_run.start and read.stop <= of_run.stop and read.messages <= of_run.messages
