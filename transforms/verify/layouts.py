"""Which topic a folder belongs to, where a window's folder should be, and which time its windows go by.

Run records say with which path template and time zone they wrote; what is given as options is taken as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import product

from transforms.cos.stored_files import StoredFile
from transforms.errors import ConfigurationError
from transforms.files.folders import Folders
from transforms.files.manifest import RunRecord
from transforms.files.naming import DEFAULT_PATH, Layout
from transforms.pulsar.messages import TopicPartition

PUBLISH_TIME, EVENT_TIME = "publish_time", "event_time"


class Layouts:
    """All layouts that the runs of a backup had.

    ``template`` and ``timezone`` are what is given as options: one of them alone goes with each of the other that run
    records tell. Where neither these nor options tell, the job's defaults count. Raises
    ConfigurationError for options that are wrong.
    """

    def __init__(
        self,
        records: Iterable[RunRecord] = (),
        *,
        template: str | None = None,
        timezone: str | None = None,
        window_by: str | None = None,
    ) -> None:
        found: set[tuple[str, str]] = set()
        self._topics: set[str] = set()
        self._window_by = window_by
        self._rules: dict[tuple[str, int, str], set[str]] = {}
        for record in records:  # one at a time: there may be very many
            if _is_usable(record.path_template, record.timezone):
                found.add((record.path_template, record.timezone))
            for topic in {read.topic for read in record.read}:
                self._topics.add(topic)
                self._rules.setdefault((topic, record.granularity, record.format), set()).add(record.window_by)
        if template is not None or timezone is not None or not found:
            templates = {path for path, _ in found} or {DEFAULT_PATH} if template is None else {template}
            zones = {zone for _, zone in found} or {"UTC"} if timezone is None else {timezone}
            found |= set(product(templates, zones))
        self._layouts = [
            Layout(template=path, timezone=zone, case_blind=blind)
            for path, zone in sorted(found)
            for blind in (False, True)
        ]
        self._folders = [Folders(path) for path in sorted({path for path, _ in found})]
        self.topic_of = lru_cache(maxsize=4096)(self._topic_of)
        """The topic of a folder; None where that cannot be told."""

    def learn(self, topic: str) -> None:
        """Take in a topic that is known to be in the backup."""
        if topic not in self._topics:
            self._topics.add(topic)
            self.topic_of.cache_clear()

    def _topic_of(self, folder: str) -> str | None:
        told = {each.topic_of(folder) for each in self._folders} - {None}
        if len(told) == 1:
            return told.pop()
        fitting = {topic for topic in self._topics for each in self._folders if each.holds(folder, topic)}
        return fitting.pop() if len(fitting) == 1 else None

    def is_folder_of(self, folder: str, topic: str) -> bool:
        """Whether the folder may be the topic's."""
        return any(each.holds(folder, topic) for each in self._folders)

    def fits(self, file: StoredFile, topic: str) -> bool:
        """Whether the file stands in the folder in which one of the layouts puts it."""
        partition = TopicPartition(topic, file.name.partition)
        return any(each.folder(partition, file.name.window) == file.folder for each in self._layouts)

    def times_of(self, topic: str, granularity: int, file_format: str) -> frozenset[str]:
        """By which times windows may go: ``publish_time``, ``event_time``, or both where nobody says."""
        if self._window_by is not None:
            return frozenset((self._window_by,))
        return frozenset(self._rules.get((topic, granularity, file_format), (PUBLISH_TIME, EVENT_TIME)))

    def prefixes_of(self, topic: str) -> list[str]:
        """What the folders of a topic begin with, in order, none of them the beginning of another."""
        found = sorted({prefix for each in self._folders for prefix in each.prefixes_of(topic)})
        return [each for each in found if not any(each != other and each.startswith(other) for other in found)]


@lru_cache(maxsize=64)
def _is_usable(template: str, timezone: str) -> bool:
    """A record that was changed may hold what is no template."""
    try:
        Layout(template=template, timezone=timezone)
    except ConfigurationError:
        return False
    return True
