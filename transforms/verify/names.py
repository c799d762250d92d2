"""What names alone tell of the objects of one window: whether they overlap, and stand where they belong."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from transforms.cos.stored_files import StoredFile
from transforms.verify.findings import Finding, Kind
from transforms.verify.layouts import Layouts

#: An object that is one of a (partition, granularity, schema version, format), in quarantine or not.
_Lane = tuple[str, int, int, str, str]


def check_names(files: Sequence[StoredFile], topic: str | None, layouts: Layouts) -> Iterator[Finding]:
    """Look at the files of one window of one topic; they come in the order of a listing."""
    lanes: defaultdict[_Lane, list[StoredFile]] = defaultdict(list)
    for file in files:
        name = file.name
        lanes[file.area, name.granularity, name.partition, name.version, name.format].append(file)
        if name.run.messages == 0 or file.size == 0:
            yield Finding(Kind.EMPTY, file.key, f"{name.run.messages} messages by its name, {file.size} bytes")
        if name.run.first > name.run.last or (name.run.messages > 1 and name.run.first == name.run.last):
            yield Finding(Kind.IDS, file.key, "its name ends before it begins")
        if name.granularity == 0 or name.window % (name.granularity * 1000):
            yield Finding(Kind.WINDOW, file.key, f"no window of {name.granularity} s begins then")
        elif topic is not None and not layouts.fits(file, topic):
            yield Finding(Kind.MISPLACED, file.key, f"its window belongs to another folder of {topic}")
    for lane in lanes.values():
        yield from _overlaps(lane)


def _overlaps(lane: list[StoredFile]) -> Iterator[Finding]:
    lane.sort(key=lambda file: file.name.run)
    before: StoredFile | None = None
    for file in lane:
        if before is None:
            before = file
            continue
        run, other = file.name.run, before.name.run
        if run.first <= other.last:
            same = run[:2] == other[:2]
            whole = same or run.last <= other.last
            kind = Kind.DUPLICATE if whole or run.first == other.first else Kind.OVERLAP
            yield Finding(kind, file.key, f"it begins at {run.first}, and {before.key} ends at {other.last}")
        if run.last > other.last:
            before = file


def is_typed(file: StoredFile) -> bool:
    """Whether it was written with ``--payload=value``."""
    return bool(file.area) or bool(re.fullmatch("v.+", file.name.version))
