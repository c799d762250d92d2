"""Which objects of a backup may hold what is asked for: as few as names and manifests allow."""

from __future__ import annotations

import itertools
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Final, NamedTuple

from transforms.cos.store import ObjectStore
from transforms.cos.stored_files import QUARANTINE, RUNS, OtherObject, StoredFile, stored_objects
from transforms.errors import DamagedError
from transforms.files.folders import Folders
from transforms.files.manifest import Manifest, RunRecord, from_json, parse_manifest_name
from transforms.files.naming import Layout
from transforms.looking.selection import Selection
from transforms.pulsar.messages import TopicPartition

_logger = logging.getLogger(__name__)

#: Folders whose dates are written so that their order is that of time.
_CHRONOLOGICAL: Final = ("Y", "Ym", "Ymd", "YmdH", "YmdHM", "YmdHMS", "Yj", "YjH", "YjHM", "YjHMS")
#: A window has at most 24 hours, and the dates of folders may be of any zone.
_MARGIN: Final = 48 * 3600 * 1000
_LATEST: Final = round(datetime(9999, 12, 30, tzinfo=timezone.utc).timestamp()) * 1000
#: Run records that are looked at for the rule of windows.
_RECORDS: Final = 100


class _Stretch(NamedTuple):
    """A part of the listing below the prefix: what keys begin with, which are passed over, and where it ends."""

    below: str
    after: str = ""
    last_folder: str = ""


class Candidates:
    """The objects of one backup that may hold what a selection asks for, and how they were found.

    ``by_event_time`` says that windows are of event times, so that names tell nothing of publish times;
    ``by_names_alone`` that nothing may be read.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        selection: Selection,
        folders: Folders,
        *,
        by_event_time: bool = False,
        by_names_alone: bool = False,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._selection = selection
        self._folders = folders
        self._by_event_time = by_event_time
        self._by_names_alone = by_names_alone
        self._of_folder_before: tuple[str | None, set[int]] = (None, set())
        self.listed = 0
        """Objects that listings have told of so far."""
        self.manifests_read = 0
        """Manifests that were read so far."""

    def files(self) -> Iterator[StoredFile]:
        """Give them in the order of their keys: window by window, and in it partition by partition."""
        for stretch in self._stretches():
            for _, objects in itertools.groupby(self._listed(stretch), lambda each: (each.area, each.folder)):
                yield from self._of_folder(objects)

    def _of_folder(self, objects: Iterator[StoredFile | OtherObject]) -> Iterator[StoredFile]:
        """Those of one folder.

        From the first one on of which a manifest may tell more than its name, they are held until manifests have come.
        """
        held: list[StoredFile] = []
        doubtful: dict[int, int] = defaultdict(int)
        manifests: dict[int, list[str]] = defaultdict(list)
        for each in objects:
            if isinstance(each, OtherObject):
                name = parse_manifest_name(each.base) if held else None
                if name is not None:
                    manifests[round(name.window.timestamp()) * 1000].append(each.key)
            elif self._may_hold(each):
                doubtful[each.name.window] += self._is_doubtful(each)
                if held or doubtful[each.name.window]:
                    held.append(each)
                else:
                    yield each
        ruled_out: dict[int, frozenset[str]] = {}
        for file in held:
            window = file.name.window
            # Reading one manifest to spare one object gains nothing.
            if window not in ruled_out:
                worth_it = doubtful[window] > 1
                ruled_out[window] = self._ruled_out(manifests[window]) if worth_it else frozenset()
            if file.key.rpartition("/")[2] not in ruled_out[window]:
                yield file

    def _ruled_out(self, manifests: list[str]) -> frozenset[str]:
        """Names of the files whose publish times are not asked for, as manifests have it."""
        names: set[str] = set()
        for key in manifests:
            try:
                self.manifests_read += 1
                manifest = from_json(Manifest, b"".join(self._store.read(key)), key)
            except DamagedError as error:
                _logger.warning("%s Its files are read instead.", error)
                continue
            for file in manifest.files:
                if not file.quarantined and not self._selection.times_overlap(
                    file.first_publish_time, file.last_publish_time
                ):
                    names.add(file.name)
        return frozenset(names)

    def _may_hold(self, file: StoredFile) -> bool:
        return (
            self._selection.file_may_hold(file)
            and (self._by_event_time or self._selection.times_overlap(*_times(file)))
            and self._is_of_topics(file)
        )

    def _is_doubtful(self, file: StoredFile) -> bool:
        """Whether its manifest may tell that it holds nothing that is asked for."""
        return (
            self._selection.by_time
            and not self._by_names_alone
            and file.area != QUARANTINE
            and (self._by_event_time or not self._selection.times_cover(*_times(file)))
        )

    def _is_of_topics(self, file: StoredFile) -> bool:
        """Whether a file may be of one of the topics; what its folder tells is kept for the next file."""
        if not self._selection.topics:
            return True
        if self._of_folder_before[0] != file.folder:
            indices = {topic.index for topic in self._selection.topics if self._folders.holds(file.folder, topic.topic)}
            self._of_folder_before = file.folder, indices
        return not self._of_folder_before[1].isdisjoint((-1, file.name.partition))

    def _listed(self, stretch: _Stretch) -> Iterator[StoredFile | OtherObject]:
        for each in stored_objects(self._store, self._prefix, stretch.below, after=stretch.after):
            self.listed += 1
            if stretch.last_folder and each.area + each.folder > stretch.last_folder:
                return
            yield each

    def _stretches(self) -> list[_Stretch]:
        """What is to be listed: of each topic, and of the time that is asked for where folders are in its order."""
        areas = {None: ("", QUARANTINE), True: (QUARANTINE,), False: ("",)}[self._selection.quarantine]
        topics = sorted({topic.topic for topic in self._selection.topics})
        begun = {prefix: topic for topic in topics for prefix in self._folders.prefixes_of(topic)}
        outermost = [one for one in begun if not any(one != other and one.startswith(other) for other in begun)]
        if not topics or "" in outermost:
            # All areas are below the prefix itself.
            return [_Stretch(areas[0] if len(areas) == 1 else "")]
        # One topic's dates bound nothing where those of another come in between: orders-2026…, orders-eu-2026…
        alone = {below for below in outermost if not any(one != below and one.startswith(below) for one in begun)}
        return [
            self._stretch(area, below, begun[below]) if below in alone else _Stretch(area + below)
            for area in areas
            for below in sorted(outermost)
        ]

    def _stretch(self, area: str, below: str, topic: str) -> _Stretch:
        template = self._folders.template
        directives = "".join(re.findall("%(.)", template))
        dated = template.partition("%")[2]
        narrow = self._selection.by_time and not self._by_event_time
        if not narrow or directives not in _CHRONOLOGICAL or "{" in dated:
            return _Stretch(area + below)
        layouts = [Layout(template=template, case_blind=case_blind) for case_blind in (False, True)]
        partition = TopicPartition(topic)
        layout = next(each for each in layouts if each.folder(partition, 0).startswith(below))
        since, until = self._selection.since, self._selection.until
        after = "" if since is None else area + layout.folder(partition, max(since - _MARGIN, 0)).rstrip("/")
        last = "" if until is None else area + layout.folder(partition, min(until + _MARGIN, _LATEST))
        return _Stretch(area + below, after, last)


def _times(file: StoredFile) -> tuple[int, int]:
    """First and last time of a file's window."""
    return file.name.window, file.name.window + file.name.granularity * 1000 - 1


def windows_by_event_time(store: ObjectStore, prefix: str, selection: Selection) -> bool | None:
    """Whether windows are of event times, as the records of the first runs that began in the time asked for say it.

    Of each topic that is asked for, the first record that names it counts; if none is asked for, every record. None
    where they do not tell: a topic has no record among the first 100, or there are more of them than that.
    """
    runs = prefix + RUNS
    since = selection.since
    after = "" if since is None else f"{runs}{datetime.fromtimestamp(min(since, _LATEST) / 1000, timezone.utc):%Y%m%dT}"
    untold = {topic.topic for topic in selection.topics}
    any_topic, told = not untold, False
    records = store.list_objects(runs, after)
    for found in itertools.islice(records, _RECORDS):
        try:
            record = from_json(RunRecord, b"".join(store.read(found.key)), found.key)
        except DamagedError as error:
            _logger.warning("%s", error)
            continue
        of_record = {each.topic for each in record.read}
        if any_topic or untold & of_record:
            if record.window_by == "event_time":
                return True
            told = True
            untold -= of_record
            if not any_topic and not untold:
                return False
    return False if any_topic and told and next(records, None) is None else None
