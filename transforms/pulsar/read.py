"""The source as other people's pipelines take it: one element a message."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import registry
from apache_beam.utils.timestamp import Timestamp

from transforms.errors import ConfigurationError
from transforms.files.envelope import read_message
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.feeds import ReadSettings
from transforms.pulsar.messages import MessageBatch, PulsarMessage, SourceElement
from transforms.pulsar.points import parse_end, parse_start
from transforms.pulsar.request import Request, topic_names
from transforms.pulsar.resolve import resolve
from transforms.pulsar.restriction import PartitionRange, PartitionRangeCoder
from transforms.pulsar.source import ReadBatches
from transforms.pulsar.windows import WindowRule

registry.register_coder(PartitionRange, PartitionRangeCoder)


class ReadFromPulsar(beam.PTransform):  # type: ignore[misc]
    """Read what topics hold between a start and an end point, as PulsarMessage elements.

    Prerequisites: the role of ``token`` may consume in the namespace. The topics must exist; none is created.

    Args:
        service_url: address of the broker, such as ``pulsar://127.0.0.1:6650``.
        topics: a topic or several; full names, ``tenant/namespace/name``, or names in ``public/default``.
        start: ``earliest``, ``latest``, ``subscription``, a date-time with a zone, epoch milliseconds, or a message id
            ``ledger:entry[:batch]``; it belongs to what is read.
        end: ``now``, a date-time, epoch milliseconds or a message id; it belongs to what is read.
        subscription: a durable subscription that keeps the messages on the broker; created if missing, never moved.
        token: reference to the role key, ``env:NAME`` or ``file:PATH``.
        admin_url: admin REST address, optional.
        event_time: elements are stamped with their event time, where they have one, in place of the publish time.
        compacted: read the last message of each key only.
        connection: further keywords of PulsarConnection, such as ``tls_trust_certs``.

    Date-times are publish times. The ends are asked of the broker when the pipeline is built, which raises
    ConfigurationError, SourceError or AccessError. Elements of one partition come in its order; a partition is read by
    one worker at a time, and different ones by different workers. Each element costs what Beam costs for an element:
    some 20,000 a second and core were measured. Whoever can work on batches does better with ``ReadBatches``.

    Not guaranteed: that a message is read once only, when a runner repeats a bundle; and that a message is read at all
    that the broker deletes meanwhile. That is logged as a warning and counted as ``gaps``.

    """

    def __init__(
        self,
        service_url: str,
        topics: str | Iterable[str],
        *,
        start: str = "earliest",
        end: str = "now",
        subscription: str | None = None,
        token: str | None = None,
        admin_url: str | None = None,
        event_time: bool = False,
        compacted: bool = False,
        **connection: Any,
    ) -> None:
        super().__init__()
        reached = PulsarConnection(service_url, admin_url=admin_url, token=token, **connection)
        if problems := reached.problems():
            raise ConfigurationError(*problems)
        self._request = Request(
            connection=reached,
            topics=topic_names([topics] if isinstance(topics, str) else list(topics)),
            start=parse_start(start),
            end=parse_end(end),
            subscription=subscription,
            compacted=compacted,
        )
        self._event_time = event_time

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """Build the transform; asks the broker for the ends of the partitions."""
        ranges = resolve(self._request).to_read
        settings = ReadSettings(
            connection=self._request.connection,
            windows=WindowRule(by_event_time=self._event_time),
            compacted=self._request.compacted,
            run=uuid.uuid4().hex,
        )
        read = (
            begin
            | "Partitions" >> beam.Create(ranges).with_output_types(PartitionRange)
            | "SpreadPartitions" >> beam.Reshuffle()
            | "ReadPartitions" >> ReadBatches(settings)
        )
        return read.batches | "Messages" >> beam.ParDo(_Messages(settings.windows)).with_output_types(PulsarMessage)

    def display_data(self) -> dict[str, Any]:
        """What the runner's console shows."""
        request = self._request
        return {"topics": ", ".join(request.topics), "start": str(request.start), "end": str(request.end)}


class _Messages(beam.DoFn):  # type: ignore[misc]
    def __init__(self, rule: WindowRule) -> None:
        self._rule = rule

    def process(self, element: SourceElement) -> Iterator[Any]:
        if not isinstance(element, MessageBatch):
            return
        for message, message_id, publish_time in zip(element.messages, element.ids, element.publish_times, strict=True):
            read = read_message(message, element.partition, message_id, publish_time)
            time = self._rule.time(publish_time, read.event_time or 0)
            yield beam.window.TimestampedValue(read, Timestamp(micros=time * 1000))
