"""What the source yields: batches of messages of one partition, and seals between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from transforms.pulsar.message_columns import MessageColumns
from transforms.pulsar.positions import Position

#: As ``before`` of a Seal: seals every window, for the partition has been read to its end; or seals none.
FOREVER, NO_WINDOW = 2**62, 0

_PARTITIONS = 2**31


class ClientMessage(Protocol):
    """The accessors of a message as pulsar-client's inner class has them.

    Each call crosses into C++ and costs up to a microsecond: read a field once, and only if needed.
    ``partition_key()``, ``ordering_key()``, ``properties()`` and ``producer_name()`` raise UnicodeDecodeError where the
    bytes are not UTF-8. ``event_timestamp()`` is 0 and keys are ``''`` where the message has none. ``has_null_value()``
    tells a tombstone from an empty payload. ``int_schema_version()`` is negative without a schema.
    ``encryption_context()`` is None for a message that is not encrypted.
    """

    def message_id(self) -> Any: ...
    def data(self) -> bytes: ...
    def length(self) -> int: ...
    def has_null_value(self) -> bool: ...
    def partition_key(self) -> str: ...
    def ordering_key(self) -> str: ...
    def properties(self) -> dict[str, str]: ...
    def event_timestamp(self) -> int: ...
    def publish_timestamp(self) -> int: ...
    def producer_name(self) -> str: ...
    def int_schema_version(self) -> int: ...
    def encryption_context(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class TopicPartition:
    """One partition of a topic.

    ``topic`` is the full name without partition (``persistent://tenant/namespace/topic``), ``index`` the partition,
    or -1 for a topic without partitions.
    """

    topic: str
    index: int = -1

    @classmethod
    def parse(cls, name: str) -> TopicPartition:
        """A full topic name, perhaps of a single partition (``…-partition-3``).

        As Pulsar reads it (TopicName.getPartitionIndex): an index has no zeros before it and fits into 31 bits.
        """
        topic, _, index = name.rpartition("-partition-")
        if re.fullmatch("0|[1-9][0-9]{0,9}", index) and int(index) < _PARTITIONS and topic and topic[-1] != "/":
            return cls(topic, int(index))
        return cls(name)

    @property
    def name(self) -> str:
        """The name under which the broker knows the partition."""
        return self.topic if self.index < 0 else f"{self.topic}-partition-{self.index}"


class SourceElement:
    """What the source yields: MessageBatch or Seal."""


@dataclass(slots=True)
class MessageBatch(SourceElement):
    """Messages of one partition in the order of the partition, all inside one window."""

    partition: TopicPartition
    columns: MessageColumns
    time: int
    """The time (publish or event time, by the window rule) of the first message, in milliseconds since 1970, UTC; it
    decides the window of all."""

    @classmethod
    def of(
        cls,
        partition: TopicPartition,
        messages: Sequence[ClientMessage],
        ids: Iterable[tuple[int, int, int]],
        publish_times: Iterable[int],
        time: int,
    ) -> MessageBatch:
        """From what is known of each message, see ``MessageColumns.of``."""
        return cls(partition, MessageColumns.of(messages, ids, publish_times), time)

    @property
    def messages(self) -> list[ClientMessage]:
        """The messages, as the client gives them or ``StoredEntryMessages`` does."""
        return self.columns.messages

    @property
    def ids(self) -> list[tuple[int, int, int]]:
        """Ledger, entry and batch index of each message, -1 outside a producer batch."""
        return self.columns.ids

    @property
    def publish_times(self) -> list[int]:
        """Publish time of each message, milliseconds since 1970, UTC."""
        return self.columns.publish_times


@dataclass(frozen=True, slots=True)
class Seal(SourceElement):
    """In band and in order: nothing of a window that ends at or before ``before`` (milliseconds) is expected any more.

    A message that comes later all the same reopens its window; the next seal closes it again. Everything before
    ``position`` went ahead of this seal on the same path, and no message that comes behind it begins before there.
    """

    partition: TopicPartition
    before: int
    position: Position


@dataclass(frozen=True, slots=True)
class PulsarMessage:
    """One message with its metadata, as other people's pipelines take it.

    Fields as in the written record: ``batch_index`` is -1 outside a producer batch, ``payload`` None for a tombstone,
    times are milliseconds since 1970, ``unreadable`` names fields that the client could not deliver.
    """

    topic: str
    partition: int
    ledger_id: int
    entry_id: int
    batch_index: int
    publish_time: int
    event_time: int | None
    key: str | None
    ordering_key: str | None
    properties: Mapping[str, str]
    producer_name: str | None
    schema_version: int | None
    payload: bytes | None
    encryption: Mapping[str, Any] | None = None
    unreadable: tuple[str, ...] | None = None
