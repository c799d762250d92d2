"""Which messages of a backup are asked for: told by the name of an object as far as it goes, then by each record."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from transforms.cos.stored_files import QUARANTINE, StoredFile
from transforms.errors import ConfigurationError
from transforms.files.decode import Record, position_of
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.points import parse_id
from transforms.pulsar.positions import Position

_TOPIC: Final = re.compile(r"(?:persistent://)?(?:[^/\s]+/[^/\s]+/)?[^/\s]\S*")
_PARTS_ABOVE: Final = 2


@dataclass(frozen=True)
class Selection:
    """Messages for which all of this holds. What is None or empty asks for nothing."""

    topics: tuple[TopicPartition, ...] = ()
    """Any of these, each a topic with all its partitions (index -1) or one partition of it."""
    partition: int | None = None
    since: int | None = None
    until: int | None = None
    """First and last publish time, both of them included; milliseconds since 1970."""
    ids: tuple[Position, Position] | None = None
    """The first position, and the first one behind."""
    keys: frozenset[str] = frozenset()
    """Any of these."""
    quarantine: bool | None = False
    """Whether what is in quarantine is asked for instead; None for both."""

    @property
    def by_time(self) -> bool:
        """Whether it asks for publish times."""
        return self.since is not None or self.until is not None

    def file_may_hold(self, file: StoredFile) -> bool:
        """Whether an object may hold such messages, by its name: area, partition and ids."""
        run = file.name.run
        return (
            self.quarantine in (None, file.area == QUARANTINE)
            and (self.partition is None or file.name.partition == max(self.partition, 0))
            and (self.ids is None or (run.last >= self.ids[0] and run.first < self.ids[1]))
        )

    def times_overlap(self, first: int, last: int) -> bool:
        """Whether one of the times from ``first`` to ``last``, both included, is asked for."""
        return (self.since is None or last >= self.since) and (self.until is None or first <= self.until)

    def times_cover(self, first: int, last: int) -> bool:
        """Whether all of these times are asked for."""
        return (self.since is None or first >= self.since) and (self.until is None or last <= self.until)

    def is_behind(self, record: Record) -> bool:
        """Whether no later record of the same object can be asked for."""
        return self.ids is not None and position_of(record) >= self.ids[1]

    def holds(self, record: Record) -> bool:
        """Whether this record is asked for."""
        return (
            (not self.keys or record["key"] in self.keys)
            and (self.partition is None or max(record["partition"], 0) == max(self.partition, 0))
            and (not self.topics or any(_is_of(record, topic) for topic in self.topics))
            and self.times_overlap(record["publish_time"], record["publish_time"])
            and (self.ids is None or self.ids[0] <= position_of(record) < self.ids[1])
        )


def _is_of(record: Record, topic: TopicPartition) -> bool:
    return record["topic"] == topic.topic and topic.index in (-1, record["partition"])


def parse_topic(text: str) -> TopicPartition:
    """Read ``--topic``: ``name``, ``tenant/namespace/name`` or a full name, perhaps of one partition."""
    name = text.removeprefix("persistent://")
    parts = name.split("/", _PARTS_ABOVE)
    if not _TOPIC.fullmatch(text) or not all(parts) or len(parts) == _PARTS_ABOVE or "://" in name:
        raise ConfigurationError(
            f"--topic={text}: not a topic. Give a name, tenant/namespace/name or persistent://tenant/namespace/name."
        )
    return TopicPartition.parse(f"persistent://{name}" if len(parts) > 1 else f"persistent://public/default/{name}")


def parse_id_range(text: str) -> tuple[Position, Position]:
    """Read ``--id-range``: ``FIRST..LAST``, both message ids that belong to it, an entry whole."""
    first, dots, last = text.partition("..")
    if not dots:
        raise ConfigurationError(f"--id-range={text}: not of the form FIRST..LAST, such as 1234:0..1234:99.")
    start, behind = parse_id("--id-range", first)[0], parse_id("--id-range", last)[1]
    if behind <= start:
        raise ConfigurationError(f"--id-range={text}: the last id stands before the first.")
    return start, behind
