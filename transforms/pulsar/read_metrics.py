"""What a runner's console shows of reading; the names are documented in the README, and a contract."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from apache_beam.metrics import Metrics

from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.portion import Portion
from transforms.pulsar.positions import Position
from transforms.wall_clock import now_ms

NAMESPACE = "tdmq_backup"
#: Gaps of a worker that are counted by name too: a stream that is too slow for its retention meets one after the other.
_NAMED_GAPS = 100
_POSSIBLE = "_possible"
_GAP = re.compile(rf"gap_(.+)_(\d+)-(\d+)-(\d+)_(\d+)-(\d+)-(\d+)(?P<possible>{_POSSIBLE})?")


class ReadMetrics:
    """Counters and distributions of one worker. Distributions, for Flink does not show Beam's gauges."""

    def __init__(self) -> None:
        self._messages = Metrics.counter(NAMESPACE, "messages_read")
        self._bytes = Metrics.counter(NAMESPACE, "payload_bytes_read")
        self._late = Metrics.counter(NAMESPACE, "messages_late")
        self._gaps = Metrics.counter(NAMESPACE, "gaps")
        self._slices = Metrics.counter(NAMESPACE, "slices")
        self._missing = Metrics.counter(NAMESPACE, "partitions_missing")
        self._named: set[str] = set()
        self._lags: dict[TopicPartition, Any] = {}

    def read(self, partition: TopicPartition, portion: Portion, late: int) -> None:
        """Messages were read, of which ``late`` came behind the end of their window."""
        self._messages.inc(len(portion.messages))
        self._bytes.inc(portion.bytes)
        if late:
            self._late.inc(late)
        self._lag(partition, max(now_ms() - portion.columns.entries[-1].publish_time, 0))

    def caught_up(self, partition: TopicPartition) -> None:
        """The broker has no more of the partition."""
        self._lag(partition, 0)

    def gap(self, gap: Gap) -> None:
        """The broker has deleted messages that were not read."""
        self._gaps.inc()
        name = gap_name(gap)
        if len(self._named) < _NAMED_GAPS:
            self._named.add(name)
        if name in self._named:
            # By name, for a counter is all that whoever watches the job gets to see of a worker.
            Metrics.counter(NAMESPACE, name).inc()

    def missing(self) -> None:
        """A stream has looked for a partition that is not there."""
        self._missing.inc()

    def handed_back(self) -> None:
        """A slice has ended: the runner keeps what is left, until it lets the reading go on."""
        self._slices.inc()

    def _lag(self, partition: TopicPartition, milliseconds: int) -> None:
        lag = self._lags.get(partition)
        if lag is None:
            lag = self._lags[partition] = Metrics.distribution(NAMESPACE, f"lag_ms_{_dotted(partition)}")
        lag.update(milliseconds)


def _dotted(partition: TopicPartition) -> str:
    return partition.name.removeprefix("persistent://").replace("/", ".")


def gap_name(gap: Gap) -> str:
    """The name of its counter: ``gap_``, the partition, where it starts and where it stops."""
    start, stop = ("-".join(map(str, place)) for place in (gap.start, gap.stop))
    return f"gap_{_dotted(gap.partition)}_{start}_{stop}{'' if gap.certain else _POSSIBLE}"


def gaps_named(names: Iterable[str], partitions: Iterable[TopicPartition]) -> dict[str, Gap]:
    """The gaps among names of counters as a runner shows them; a partition that is not given is named as there."""
    known = {_shown(_dotted(each)): each for each in partitions}
    found = {}
    for name in names:
        if parts := _GAP.fullmatch(_shown(name)):
            numbers = list(map(int, parts.groups()[1:7]))
            partition = known.get(parts[1]) or TopicPartition(parts[1], -1)
            start, stop = Position(*numbers[:3]), Position(*numbers[3:])
            found[name] = Gap(partition, start, stop, certain=not parts["possible"])
    return found


def _shown(name: str) -> str:
    """As Flink's REST interface shows it."""
    return re.sub(r"[ .:,]", "_", name)
