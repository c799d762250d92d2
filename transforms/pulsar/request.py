"""What a run is asked to read, and what is found for it: the values that resolving takes and gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from transforms.errors import ConfigurationError
from transforms.pulsar.client import full_topic_name
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.patterns import TopicPattern
from transforms.pulsar.points import EARLIEST_POINT, NOW, Point
from transforms.pulsar.positions import EARLIEST, Position
from transforms.pulsar.restriction import PartitionRange


@dataclass(frozen=True, slots=True)
class Stored:
    """What earlier runs have stored of a partition: all from ``origin`` up to before ``upto``.

    ``origin`` is EARLIEST where nothing before it was left to be read.
    """

    origin: Position
    upto: Position


@dataclass(frozen=True, slots=True)
class Resume:
    """A run that goes on where others ended. A partition that they did not see is read from its beginning."""

    stored: Mapping[TopicPartition, Stored]
    ended: datetime
    """When the last of them had found its end."""
    recreate_subscription: bool = False
    """Whether a subscription that was there, and is gone, is created again."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a run is asked to read."""

    connection: PulsarConnection
    topics: tuple[str, ...]
    start: Point = EARLIEST_POINT
    end: Point = NOW
    subscription: str | None = None
    allowed_disorder: int = 30_000
    """Milliseconds by which publish times may be out of order."""
    continue_trimmed: bool = False
    compacted: bool = False
    pattern: TopicPattern | None = None
    """More topics: those that match at the moment."""
    beside: bool = False
    """The run is made beside others that have a subscription, which it neither needs nor moves."""
    stretches: Mapping[TopicPartition, tuple[Position, Position]] | None = None
    """From where up to before where each partition is read, in place of ``start`` and ``end``; nothing of others."""
    resume: Resume | None = None
    """Where earlier runs have come to; ``start`` is that of the first of them, and counts no more."""

    @property
    def namespace(self) -> str:
        """``tenant/namespace`` of the pattern, or of the first topic."""
        if self.pattern is not None:
            return self.pattern.namespace
        return self.topics[0].removeprefix("persistent://").rpartition("/")[0]

    def stored_before(self, partition: TopicPartition) -> Stored | None:
        """What earlier runs have stored of it."""
        return self.resume.stored.get(partition) if self.resume is not None else None

    def of(self, partition: TopicPartition) -> Request:
        """The same for one partition, where it starts by itself."""
        if self.stretches is not None:
            start, stop = self.stretches.get(partition, (EARLIEST, EARLIEST))
            return replace(self, start=Point(message=start), end=Point(behind=stop))
        if self.resume is None:
            return self
        before = self.stored_before(partition)
        if before is None or before.upto == EARLIEST:
            return replace(self, start=EARLIEST_POINT)
        return replace(self, start=Point(message=before.upto))

    def all_topics(self) -> list[str]:
        """The topics there are now. Raises as ``TopicPattern.matches`` does."""
        return list(dict.fromkeys([*self.topics, *(self.pattern.matches(self.connection) if self.pattern else ())]))


@dataclass(slots=True)
class Resolution:
    """What a run reads."""

    ranges: list[PartitionRange] = field(default_factory=list)
    """One for each partition, also where there is nothing to read."""
    acknowledge: set[TopicPartition] = field(default_factory=set)
    """Where the subscription may be moved to what has been stored."""
    gaps: list[Gap] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    missing: set[TopicPartition] = field(default_factory=set)
    """Where the subscription is not there yet."""
    stands: dict[TopicPartition, Position] = field(default_factory=dict)
    """The first entry that the subscription has not acknowledged, where it is there and the broker tells."""

    @property
    def to_read(self) -> list[PartitionRange]:
        """Those of the ranges in which there is something to read."""
        return [each for each in self.ranges if each.start < each.stop]


def topic_names(topics: Iterable[str]) -> tuple[str, ...]:
    """Full names, each once. Raises ConfigurationError for what cannot be a topic."""
    names: Sequence[str] = [full_topic_name(topic) for topic in topics]
    for given, name in zip(topics, names, strict=True):
        parts = name.partition("://")[2].split("/")
        if "://" in name.removeprefix("persistent://") or not all(parts) or name.startswith("non-persistent"):
            raise ConfigurationError(
                f"--topic={given}: not a topic. Give a name, tenant/namespace/name or persistent://tenant/namespace/name."
            )
    return tuple(dict.fromkeys(names))
