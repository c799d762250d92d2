"""What a runner's console shows of reading; the names are documented in the README, and a contract."""

from __future__ import annotations

from typing import Any

from apache_beam.metrics import Metrics

from transforms.pulsar.feed import now_ms
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.portion import Portion

NAMESPACE = "tdmq_backup"


class ReadMetrics:
    """Counters and distributions of one worker. Distributions, for Flink does not show Beam's gauges."""

    def __init__(self) -> None:
        self._messages = Metrics.counter(NAMESPACE, "messages_read")
        self._bytes = Metrics.counter(NAMESPACE, "payload_bytes_read")
        self._late = Metrics.counter(NAMESPACE, "messages_late")
        self._gaps = Metrics.counter(NAMESPACE, "gaps")
        self._slices = Metrics.counter(NAMESPACE, "slices")
        self._lags: dict[TopicPartition, Any] = {}

    def read(self, partition: TopicPartition, portion: Portion, late: int) -> None:
        """Messages were read, of which ``late`` came behind the end of their window."""
        self._messages.inc(len(portion.ids))
        self._bytes.inc(portion.bytes)
        if late:
            self._late.inc(late)
        self._lag(partition, max(now_ms() - portion.publish_times[-1], 0))

    def caught_up(self, partition: TopicPartition) -> None:
        """The broker has no more of the partition."""
        self._lag(partition, 0)

    def gap(self) -> None:
        """The broker has deleted messages that were not read."""
        self._gaps.inc()

    def handed_back(self) -> None:
        """A slice has ended: the runner keeps what is left, until it lets the reading go on."""
        self._slices.inc()

    def _lag(self, partition: TopicPartition, milliseconds: int) -> None:
        lag = self._lags.get(partition)
        if lag is None:
            name = f"lag_ms_{partition.name.removeprefix('persistent://').replace('/', '.')}"
            lag = self._lags[partition] = Metrics.distribution(NAMESPACE, name)
        lag.update(milliseconds)
