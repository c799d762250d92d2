"""Messages of every kind that a topic can hold, for tests and for the demo.

Every function returns what it sent, with positions, so that a backup can be compared with it message by message.
"""

from __future__ import annotations

import json
import random
import struct
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _pulsar
import pulsar

from transforms.pulsar.positions import Position
from transforms.testing.pulsar_admin import PulsarAdmin
from transforms.testing.raw_producer import Message, Sent, send_raw

_CHUNKED_BYTES = 12 << 20
#: A broker takes 5 MiB with the metadata, by default.
_LARGEST_BYTES = (5 << 20) - 512
_EVENT_TIME = 1_700_000_000_000


def produce(
    service_url: str,
    topic: str,
    count: int,
    *,
    partitions: int | None = None,
    batching: bool = True,
    size: int = 200,
    seed: int = 0,
    token: str | None = None,
) -> list[Sent]:
    """Send many messages fast: LZ4, batches, a key, two properties and an event time each.

    With ``partitions``, message i goes to partition i modulo that number of a topic that has them, in order;
    without, the topic is one without partitions. Equal ``seed``, equal messages. ``size`` is of the payload, in bytes.
    """
    messages = list(generate(count, size=size, seed=seed))
    names = [topic] if partitions is None else [f"{topic}-partition-{index}" for index in range(partitions)]
    result: list[Sent | None] = [None] * count
    failures: list[object] = []
    with _client(service_url, token) as client:
        producers = [
            client.create_producer(
                name,
                compression_type=pulsar.CompressionType.LZ4,
                batching_enabled=batching,
                batching_max_messages=1000,
                batching_max_publish_delay_ms=5,
                block_if_queue_full=True,
                max_pending_messages=20_000,
            )
            for name in names
        ]

        def receipt(index: int, outcome: Any, identifier: Any) -> None:
            if outcome != pulsar.Result.Ok:
                failures.append(outcome)
                return
            result[index] = _sent(messages[index], -1 if partitions is None else index % partitions, identifier)

        for index, message in enumerate(messages):
            producers[index % len(producers)].send_async(
                message.payload,
                lambda outcome, identifier, index=index: receipt(index, outcome, identifier),
                properties=message.properties,
                partition_key=message.key,
                event_timestamp=message.event_time,
            )
        for producer in producers:
            producer.flush()
    # Closing the client has waited for every receipt.
    taken = [each for each in result if each is not None]
    if len(taken) != count:
        raise RuntimeError(f"{count - len(taken)} of {count} messages were not taken: {set(map(str, failures))}.")
    return taken


def generate(count: int, *, size: int = 200, seed: int = 0) -> Iterator[Message]:
    """Messages as :func:`produce` sends them; equal arguments, equal messages."""
    source = random.Random(seed)  # noqa: S311 - test data
    for index in range(count):
        head = f'{{"seed":{seed},"number":{index},"text":"'
        filler = source.randbytes(max(0, size - len(head) - 2)).hex()[: max(0, size - len(head) - 2)]
        yield Message(
            payload=f'{head}{filler}"}}'.encode(),
            key=f"key-{index % 100}",
            properties={"number": str(index), "source": f"seed-{seed}"},
            event_time=_EVENT_TIME + index,
        )


def produce_every_kind(service_url: str, topic: str, *, token: str | None = None) -> list[Sent]:
    """Send one message of every kind to a topic without partitions, in the order returned.

    Singly: plain, with nothing, event time, ordering key, any Unicode, not UTF-8 in key, ordering key and property,
    empty payload, tombstones, the largest message and a chunked one of 12 MB. Then most of them as one producer batch.
    """
    small = [
        Message(b"plain", key="key", properties={"colour": "blue"}, event_time=_EVENT_TIME),
        Message(b"nothing but a payload"),
        Message(bytes(range(256)), event_time=1),
        Message(b'{"json": [1, 2.5, null, "\xc3\xbc"]}', key="json"),
        Message(b"ordered", key="key", ordering_key="order"),
        Message(
            b"unicode", key="订单 \U0001f600 \x00\n\"'", properties={"ключ": "значение ", "": "no name", "none": ""}
        ),
        Message(b"key is not UTF-8", key=b"\xff\xfe\x80"),
        Message(b"ordering key is not UTF-8", key="key", ordering_key=b"\xc3\x28"),
        Message(b"property is not UTF-8", properties={"good": "yes", "bad": b"\xf0\x28\x8c\x28"}),
        Message(b"", key="empty payload"),
        Message(None, key="tombstone", properties={"deleted": "yes"}),
        Message(None),
    ]
    large = Message(random.Random(5).randbytes(_LARGEST_BYTES), key="large")  # noqa: S311 - test data
    huge = Message(random.Random(12).randbytes(_CHUNKED_BYTES), key="chunked", event_time=_EVENT_TIME)  # noqa: S311
    with _client(service_url, token) as client:
        single = client.create_producer(topic, batching_enabled=False)
        chunking = client.create_producer(topic, batching_enabled=False, chunking_enabled=True)
        batching = client.create_producer(
            topic,
            batching_enabled=True,
            batching_max_publish_delay_ms=60_000,
            compression_type=pulsar.CompressionType.ZSTD,
        )
        sent = [_sent(message, -1, single._producer.send(_build(message))) for message in [*small, large]]
        sent.append(_sent(huge, -1, chunking._producer.send(_build(huge))))
        return sent + _send_batch(batching, small)


def produce_encrypted(
    service_url: str, topic: str, count: int, *, folder: Path, batching: bool, token: str | None = None
) -> list[Sent]:
    """Send encrypted messages under the key name ``backup``; ``public.pem`` and ``private.pem`` are made in ``folder``.

    They are there to decrypt with; equal files are used again.
    """
    public, private = _key_pair(folder)
    messages = list(generate(count, seed=77))
    with _client(service_url, token) as client:
        producer = client.create_producer(
            topic,
            batching_enabled=batching,
            batching_max_publish_delay_ms=60_000,
            compression_type=pulsar.CompressionType.LZ4,
            encryption_key="backup",
            crypto_key_reader=pulsar.CryptoKeyReader(str(public), str(private)),
        )
        if batching:
            return _send_batch(producer, messages)
        return [_sent(message, -1, producer._producer.send(_build(message))) for message in messages]


def produce_avro_versions(service_url: str, admin: PulsarAdmin, topic: str, *, token: str | None = None) -> list[Sent]:
    """Send Avro of two schema versions in turn, batched and not: the second version has one more field, ``city``.

    Version 0 is ``{"name": string, "age": int}``. Payloads are encoded by hand, so that nothing of ours is trusted.
    """
    fields: list[dict[str, object]] = [{"name": "name", "type": "string"}, {"name": "age", "type": "int"}]
    city = {"name": "city", "type": ["null", "string"], "default": None}
    record = {"type": "record", "name": "Person", "namespace": "test"}
    old = admin.upload_schema(topic, "AVRO", {**record, "fields": fields})
    new = admin.upload_schema(topic, "AVRO", {**record, "fields": [*fields, city]})
    # A string is its length, zigzag, and its bytes; an int is zigzag; a union is the index of its branch, zigzag.
    first = Message(b"\x06Ann" + b"\x3c", key="ann", schema_version=old)
    second = Message(b"\x06Bob" + b"\x50" + b"\x02\x0cBerlin", key="bob", schema_version=new)
    third = Message(b"\x06Eve" + b"\x04" + b"\x00", schema_version=new)
    sent = send_raw(service_url, topic, [first, second, first, third], token=token)
    sent += send_raw(service_url, topic, [first] * 3, batch=True, token=token)
    return sent + send_raw(service_url, topic, [second, third], batch=True, token=token)


def produce_json(service_url: str, admin: PulsarAdmin, topic: str, *, token: str | None = None) -> list[Sent]:
    """Send JSON under a JSON schema (which Pulsar writes as an Avro schema)."""
    fields = [{"name": "name", "type": "string"}, {"name": "age", "type": "int"}]
    schema = {"type": "record", "name": "Person", "namespace": "test", "fields": fields}
    version = admin.upload_schema(topic, "JSON", schema)
    values = [{"name": "Ann", "age": 30}, {"name": "Zoë", "age": -1}]
    messages = [Message(json.dumps(value, ensure_ascii=False).encode(), schema_version=version) for value in values]
    return send_raw(service_url, topic, messages, token=token)


def produce_protobuf(service_url: str, admin: PulsarAdmin, topic: str, *, token: str | None = None) -> list[Sent]:
    """Send ``google.protobuf.StringValue`` under a PROTOBUF_NATIVE schema."""
    from google.protobuf import descriptor_pb2, wrappers_pb2  # type: ignore[import-untyped]  # noqa: PLC0415

    files = descriptor_pb2.FileDescriptorSet()
    wrappers_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    schema = {
        "fileDescriptorSet": b64encode(files.SerializeToString()).decode(),
        "rootMessageTypeName": "google.protobuf.StringValue",
        "rootFileDescriptorName": wrappers_pb2.DESCRIPTOR.name,
    }
    version = admin.upload_schema(topic, "PROTOBUF_NATIVE", schema)
    values = [wrappers_pb2.StringValue(value=value) for value in ("one", "zwölf", "")]
    messages = [Message(value.SerializeToString(), schema_version=version) for value in values]
    return send_raw(service_url, topic, messages, token=token)


def produce_key_value(
    service_url: str, admin: PulsarAdmin, topic: str, *, separated: bool, token: str | None = None
) -> list[Sent]:
    """Send pairs of a STRING key and a JSON value under a KeyValue schema.

    ``separated``: the key is the message's key, in base64, and the payload the value. Else both are in the payload,
    each behind its length in four bytes.
    """
    fields = [{"name": "age", "type": "int"}]
    value = {"type": "record", "name": "Age", "namespace": "test", "fields": fields}
    properties = {
        "key.schema.name": "key",
        "key.schema.type": "STRING",
        "key.schema.properties": "{}",
        "value.schema.name": "value",
        "value.schema.type": "JSON",
        "value.schema.properties": "{}",
        "kv.encoding.type": "SEPARATED" if separated else "INLINE",
    }
    version = admin.upload_schema(topic, "KEY_VALUE", {"key": "", "value": value}, properties)
    messages = []
    for key, age in (("ann", 30), ("zoë", -1)):
        left, right = key.encode(), json.dumps({"age": age}).encode()
        if separated:
            messages.append(Message(right, key=b64encode(left), key_is_base64=True, schema_version=version))
        else:
            pair = struct.pack(">i", len(left)) + left + struct.pack(">i", len(right)) + right
            messages.append(Message(pair, schema_version=version))
    return send_raw(service_url, topic, messages, token=token)


@contextmanager
def _client(service_url: str, token: str | None) -> Iterator[pulsar.Client]:
    authentication = None if token is None else pulsar.AuthenticationToken(token)
    logger = pulsar.ConsoleLogger(pulsar.LoggerLevel.Error)
    client = pulsar.Client(service_url, authentication=authentication, logger=logger, operation_timeout_seconds=20)
    try:
        yield client
    finally:
        client.close()


def _build(message: Message) -> Any:
    """Build with the client's own builder, which takes bytes where its wrapper takes only text."""
    builder = _pulsar.MessageBuilder()
    if message.payload is None:
        builder.set_null_value()
    else:
        builder.content(message.payload)
    if message.key is not None:
        builder.partition_key(message.key)
    if message.ordering_key is not None:
        builder.ordering_key(message.ordering_key)
    for name, value in message.properties.items():
        builder.property(name, value)
    if message.event_time is not None:
        builder.event_timestamp(message.event_time)
    return builder.build()


def _send_batch(producer: pulsar.Producer, messages: Sequence[Message]) -> list[Sent]:
    """Send as one producer batch: its delay is longer than this takes, and only ``flush`` ends it."""
    receipts: list[tuple[Any, Any]] = []
    complete = threading.Event()

    def receipt(outcome: Any, identifier: Any) -> None:
        receipts.append((outcome, identifier))
        if len(receipts) == len(messages):
            complete.set()

    for message in messages:
        producer._producer.send_async(_build(message), receipt)
    producer.flush()
    if not complete.wait(20) or any(outcome != pulsar.Result.Ok for outcome, _identifier in receipts):
        raise RuntimeError(f"Not all of {len(messages)} messages were taken: {receipts}.")
    return [_sent(message, -1, identifier) for message, (_ok, identifier) in zip(messages, receipts, strict=True)]


def _sent(message: Message, partition: int, identifier: Any) -> Sent:
    position = Position(identifier.ledger_id(), identifier.entry_id(), max(0, identifier.batch_index()))
    return Sent(message, partition, position)


def _key_pair(folder: Path) -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - a package of the tests only
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - as above

    public, private = folder / "public.pem", folder / "private.pem"
    if not (public.exists() and private.exists()):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = serialization.Encoding.PEM
        public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
        private.touch(mode=0o600)
        form = serialization.PrivateFormat.TraditionalOpenSSL
        private.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return public, private
