"""Production by frames of Pulsar's binary protocol: what pulsar-client cannot be made to send.

Above all any publish time, which the client takes from the clock, and a schema version without the schema's class.
Source of the frame of a message: Pulsar's "Binary protocol" page; of the fields: ``MessageMetadata`` and
``SingleMessageMetadata`` of PulsarApi.proto.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import fastcrc

from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import Fields, encode
from transforms.pulsar.wire import TIMEOUT, Connection, Kind, ServerRefusal, connect

_MAGIC = 0x0E01
_PRODUCER_ID = 1
#: Of the enum MarkerType: the end of a transaction.
_COMMITTED = 21


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. ``payload`` None is a tombstone; keys and values of properties may be bytes that are not UTF-8."""

    payload: bytes | None
    key: str | bytes | None = None
    ordering_key: str | bytes | None = None
    properties: Mapping[str, str | bytes] = field(default_factory=dict)
    more_properties: Sequence[tuple[str, str]] = ()
    """Behind those, also of the same names. Only :func:`send_raw` obeys it."""
    event_time: int | None = None
    publish_time: int | None = None
    """Milliseconds since 1970. None: the clock decides. Only :func:`send_raw` obeys it."""
    schema_version: int | bytes | None = None
    """As bytes, also what is none. Only :func:`send_raw` obeys it."""
    chunk: tuple[str, int, int, int] | None = None
    """The payload is a chunk of a larger message: its uuid, which chunk of how many, and the size of the whole. Only
    :func:`send_raw` obeys it."""
    marker: bool = False
    """A message from broker to broker, such as the end of a transaction: it is stored, and given out to nobody. Only
    :func:`send_raw` obeys it."""
    key_is_base64: bool = False
    """The key is bytes in base64, as KeyValue schemas with separated keys have it. Only :func:`send_raw` obeys it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message and where it went: ``partition`` is -1 on a topic without partitions.

    ``position`` has batch index 0 outside a producer batch. Of a chunked message it is the last chunk.
    """

    message: Message
    partition: int
    position: Position


def send_raw(
    service_url: str, topic: str, messages: Iterable[Message], *, batch: bool = False, token: str | None = None
) -> list[Sent]:
    """Send each message as an entry of its own, or all as one producer batch.

    ``topic`` is a topic without partitions or one partition, and is created if need be. In a batch the first
    message's publish time and schema version hold for all, as Pulsar has it. Waits for every receipt: a thousand
    entries a second. Raises ServerRefusal with the broker's sentence when it does not take a message.
    """
    found = re.search(r"-partition-(\d+)$", topic)
    partition = int(found[1]) if found else -1
    with connect(service_url, token=token) as connection:
        connection.request(Kind.LOOKUP, {1: topic, 2: 1, 3: 0})
        answer = connection.request(Kind.PRODUCER, {1: topic, 2: _PRODUCER_ID, 3: 2})
        name = answer.text(2)
        todo = list(messages)
        sent = []
        for sequence, group in enumerate([todo] if batch else [[message] for message in todo]):
            content = _batch(name, sequence, group) if batch else _single(name, sequence, group[0])
            ledger, entry = _send(connection, sequence, len(group), content)
            sent += [Sent(each, partition, Position(ledger, entry, index)) for index, each in enumerate(group)]
        return sent


def _send(connection: Connection, sequence: int, count: int, content: bytes) -> tuple[int, int]:
    tail = struct.pack(">HI", _MAGIC, fastcrc.crc32.iscsi(content)) + content
    connection.send(Kind.SEND, {1: _PRODUCER_ID, 2: sequence, 3: count}, tail)
    kind, answer, _ = connection.answer(time.monotonic() + TIMEOUT)
    if kind == Kind.SEND_ERROR:
        raise ServerRefusal(answer.number(3), answer.text(4))
    if kind != Kind.SEND_RECEIPT:
        raise RuntimeError(f"The broker answers with command {kind}: it may have taken the message, or not.")
    identifier = Fields(answer.strings(3)[0])
    return identifier.number(1), identifier.number(2)


def _single(producer: str, sequence: int, message: Message) -> bytes:
    payload = message.payload or b""
    metadata = _metadata(producer, sequence, message) + _properties(4, message)
    optional: dict[int, int | str | bytes | None] = {
        6: message.key,
        12: message.event_time,
        17: message.key_is_base64 or None,
        18: message.ordering_key,
        25: True if message.payload is None else None,
    }
    return _with_size(metadata + _encode_present(optional)) + payload


def _batch(producer: str, sequence: int, messages: Sequence[Message]) -> bytes:
    body = b""
    for message in messages:
        payload = message.payload or b""
        optional: dict[int, int | str | bytes | None] = {
            2: message.key,
            3: len(payload),
            5: message.event_time,
            6: message.key_is_base64 or None,
            7: message.ordering_key,
            9: True if message.payload is None else None,
        }
        body += _with_size(_properties(1, message) + _encode_present(optional)) + payload
    metadata = _metadata(producer, sequence, messages[0]) + encode({9: len(body), 11: len(messages)})
    return _with_size(metadata) + body


def _metadata(producer: str, sequence: int, message: Message) -> bytes:
    publish_time = int(time.time() * 1000) if message.publish_time is None else message.publish_time
    given = message.schema_version
    version = struct.pack(">q", given) if isinstance(given, int) else given
    marker = _COMMITTED if message.marker else None
    chunk: dict[int, int | str | bytes | None] = {}
    if message.chunk is not None:
        uuid, index, count, size = message.chunk
        chunk = {26: uuid, 27: count, 28: size, 29: index}
    return encode({1: producer, 2: sequence, 3: publish_time}) + _encode_present({16: version, 20: marker, **chunk})


def _properties(number: int, message: Message) -> bytes:
    pairs = [*message.properties.items(), *message.more_properties]
    return b"".join(encode({number: encode({1: key, 2: value})}) for key, value in pairs)


def _encode_present(fields: Mapping[int, int | str | bytes | None]) -> bytes:
    return encode({number: value for number, value in fields.items() if value is not None})


def _with_size(metadata: bytes) -> bytes:
    return struct.pack(">I", len(metadata)) + metadata
