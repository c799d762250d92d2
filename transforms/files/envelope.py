"""The record that every message becomes: its fields, its Avro schema, and how a message is read into it.

One definition for both formats. The order of `FIELDS` is the order of the bytes in Avro and of the names in JSON
lines. The schema carries no version of this tool, so that equal messages give equal files after an upgrade.

The record has no namespace on purpose: with ``--payload=value`` a topic's own schema is nested in it, and a nested
type without a namespace would silently take over that of the record around it (Avro specification, "Names").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from transforms.pulsar.messages import ClientMessage, PulsarMessage, TopicPartition

#: The types of the envelope. A topic's schema that has one of these names for itself makes them longer.
RECORD_NAME: Final = "PulsarMessage"
ENCRYPTION_NAMESPACE: Final = "tdmq.backup"

#: Which message an error in a client field hits: that field becomes null and its name stands in ``unreadable``.
#: UnicodeDecodeError is what the client raises on bytes that are not UTF-8; UnicodeEncodeError is what a string with
#: a lone surrogate would give in a file (the client cannot deliver one, other makers of `PulsarMessage` can).
UNREADABLE_ERROR: Final = UnicodeError

#: Pulsar's times are unsigned, Avro's are not: an event time of nonsense is unreadable as well.
LONG_LIMIT: Final = 2**63

Avro = Any
"""A schema as ``json.loads`` gives it."""


def _field(name: str, kind: Avro, doc: str, *, default: bool = False) -> dict[str, Avro]:
    field: dict[str, Avro] = {"name": name, "type": kind, "doc": doc}
    if default:
        field["default"] = None
    return field


def _nullable(name: str, kind: Avro, doc: str) -> dict[str, Avro]:
    return _field(name, ["null", kind], doc, default=True)


_TIME: Final = {"type": "long", "logicalType": "timestamp-millis"}

_BEFORE_PAYLOAD: Final = (
    _field("topic", "string", "Full name without partition, such as persistent://tenant/namespace/topic."),
    _field("partition", "int", "Index of the partition from 0; -1 for a topic without partitions."),
    _field("ledger_id", "long", "First part of the message id."),
    _field("entry_id", "long", "Second part of the message id."),
    _field("batch_index", "int", "Third part of the message id; -1 outside a producer batch."),
    _field("publish_time", _TIME, "Set by the producer's clock; one time for all messages of a producer batch."),
    _nullable("event_time", _TIME, "Set by the application; null if it set none."),
    _nullable("key", "string", "Partition key; null if there is none."),
    _nullable("ordering_key", "string", "Ordering key; null if there is none."),
    _field("properties", {"type": "map", "values": "string"}, "Application properties."),
    _nullable("producer_name", "string", "Name of the producer."),
    _nullable("schema_version", "long", "Version of the topic's schema that the producer used; null without schema."),
)


def _encryption(namespace: str) -> Avro:
    key = {
        "type": "record",
        "name": f"{namespace}.EncryptionKey",
        "fields": [
            _field("value", "bytes", "The data key, encrypted with the key of this name."),
            _field("metadata", {"type": "map", "values": "string"}, "What the key reader needs to find the key."),
        ],
    }
    return {
        "type": "record",
        "name": f"{namespace}.Encryption",
        "doc": "What is needed to decrypt the payload. Decrypt first, decompress then, unpack the batch last.",
        "fields": [
            _field("keys", {"type": "map", "values": key}, "Encrypted data keys by the name of their key."),
            _field("algorithm", "string", "As the client reports it; empty for the client's only one, AES-GCM."),
            _field("parameter", "bytes", "The initialization vector."),
            _field("compression", "string", "NONE, LZ4, ZLIB, ZSTD or SNAPPY; done before encryption."),
            _field("uncompressed_size", "long", "Bytes of the decompressed payload; 0 if it is not compressed."),
            _field("batch_size", "int", "Messages in the producer batch; -1 outside a batch."),
            _field("whole_batch", "boolean", "Whether the payload is a whole producer batch, its metadata included."),
        ],
    }


def payload_field() -> Avro:
    """Return the field ``payload`` of the usual record."""
    return _nullable("payload", "bytes", "The bytes of the message; null for a tombstone, which has none.")


def envelope_schema(
    content: tuple[Avro, ...] | None = None,
    *,
    trailing: tuple[Avro, ...] = (),
    record_name: str = RECORD_NAME,
    namespace: str = ENCRYPTION_NAMESPACE,
) -> dict[str, Avro]:
    """Return the Avro schema of a record, as ``json.loads`` would give it.

    ``content`` are the fields in the place of ``payload``; ``trailing`` are fields behind all others. The names of
    types can be changed where a topic's schema already uses them.
    """
    return {
        "type": "record",
        "name": record_name,
        "doc": "One Pulsar message with its metadata.",
        "fields": [
            *_BEFORE_PAYLOAD,
            *((payload_field(),) if content is None else content),
            _nullable("encryption", _encryption(namespace), "Set if the payload is still encrypted."),
            _nullable(
                "unreadable",
                {"type": "array", "items": "string"},
                "Fields that the client could not deliver because their bytes are not UTF-8; they are null or empty.",
            ),
            *trailing,
        ],
    }


#: The names of the record's fields in their order, in Avro as in JSON lines.
FIELDS: Final = tuple(str(field["name"]) for field in envelope_schema()["fields"])


def quarantine_field() -> Avro:
    """Return the field behind all others in the lane ``quarantine``."""
    return _field("reason", "string", "Why the payload could not be decoded with its schema.")


def _checked(text: str) -> str:
    if not text.isascii():
        text.encode()
    return text


def _checked_map(texts: Mapping[str, str]) -> dict[str, str]:
    for name, text in texts.items():
        _checked(name)
        _checked(text)
    return dict(texts)


def read_encryption(message: ClientMessage) -> dict[str, Any] | None:
    """Read what is needed to decrypt the payload; None if the payload is plain.

    A message that the client has decrypted still has an encryption context, but nothing is left to decrypt.
    Measured with pulsar-client 3.13: the client leaves a payload whole, metadata of a producer batch included, when
    it has no key and reads on; ``batch_size()`` is -1 outside a batch and counts from 1 inside, and the message then
    has no properties of its own.
    """
    context = message.encryption_context()
    if context is None or not context.is_decryption_failed():
        return None
    batch_size = int(context.batch_size())
    return {
        "keys": {
            _checked(key.key): {"value": bytes(key.value()), "metadata": _checked_map(key.metadata)}
            for key in sorted(context.keys(), key=lambda key: str(key.key))
        },
        "algorithm": _checked(context.algorithm()),
        "parameter": bytes(context.param()),
        "compression": str(context.compression_type().name),
        "uncompressed_size": int(context.uncompressed_message_size()),
        "batch_size": batch_size,
        "whole_batch": batch_size > 0,
    }


def read_message(
    message: ClientMessage, partition: TopicPartition, message_id: tuple[int, int, int], publish_time: int
) -> PulsarMessage:
    """Read every field of a client's message once.

    This is the reference for the fast encoders, which must give the same record. A text that the client cannot
    deliver becomes None (properties: empty) and is named in ``unreadable``; nothing else is ever lost. Raises
    nothing for a message that the client delivered.
    """
    unreadable: list[str] = []
    payload = message.data()
    event_time: int | None = message.event_timestamp()
    if event_time is not None and event_time >= LONG_LIMIT:
        event_time = None
        unreadable.append("event_time")
    version = message.int_schema_version()
    ledger_id, entry_id, batch_index = message_id
    return PulsarMessage(
        topic=partition.topic,
        partition=partition.index,
        ledger_id=ledger_id,
        entry_id=entry_id,
        batch_index=batch_index,
        publish_time=publish_time,
        event_time=event_time or None,
        key=_read("key", message.partition_key, unreadable) or None,
        ordering_key=_read("ordering_key", message.ordering_key, unreadable) or None,
        properties=_read_map("properties", message.properties, unreadable),
        producer_name=_read("producer_name", message.producer_name, unreadable) or None,
        schema_version=version if version >= 0 else None,
        payload=None if not payload and message.has_null_value() else payload,
        encryption=_read_encryption("encryption", message, unreadable),
        unreadable=tuple(unreadable) or None,
    )


def _read(name: str, accessor: Callable[[], str], unreadable: list[str]) -> str | None:
    try:
        return _checked(accessor())
    except UNREADABLE_ERROR:
        unreadable.append(name)
        return None


def _read_map(name: str, accessor: Callable[[], Mapping[str, str]], unreadable: list[str]) -> dict[str, str]:
    try:
        return _checked_map(accessor())
    except UNREADABLE_ERROR:
        unreadable.append(name)
        return {}


def _read_encryption(name: str, message: ClientMessage, unreadable: list[str]) -> dict[str, Any] | None:
    try:
        return read_encryption(message)
    except UNREADABLE_ERROR:
        unreadable.append(name)
        return None
