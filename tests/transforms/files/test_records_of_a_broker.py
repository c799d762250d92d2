"""Messages of every kind, through a real broker, into both formats and back."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pulsar
import pytest

from transforms.files.envelope import FIELDS
from transforms.files.formats import make_format
from transforms.files.pieces import Pieces
from transforms.pulsar.client import PulsarClient
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.messages import MessageBatch, TopicPartition
from transforms.pulsar.schemas import SchemaSource, TopicSchema
from transforms.testing.pulsar_standalone import PulsarStandalone


@pytest.fixture
def client(broker: PulsarStandalone) -> Iterator[pulsar.Client]:
    made = pulsar.Client(broker.service_url)
    yield made
    made.close()


def read_all(client: pulsar.Client, topic: str, count: int) -> MessageBatch:
    reader = client.create_reader(
        topic, pulsar.MessageId.earliest, crypto_failure_action=pulsar.ConsumerCryptoFailureAction.CONSUME
    )
    messages: list[Any] = [reader._reader.read_next(10_000) for _ in range(count)]
    reader.close()
    ids = [(i.ledger_id(), i.entry_id(), i.batch_index()) for i in (message.message_id() for message in messages)]
    times = [message.publish_timestamp() for message in messages]
    return MessageBatch.of(TopicPartition(topic), messages, ids, times, times[0])


def rows_of(batch: MessageBatch, file_format: str, payload: str = "bytes") -> list[Any]:
    framing, make_encoder = make_format(file_format, None, payload)
    (lane,) = make_encoder().encode(batch)
    data = lane.header + bytes(framing.block(Pieces(lane.data), len(lane.lengths)))
    if file_format == "avro":
        return list(fastavro.reader(io.BytesIO(data)))
    return [json.loads(line) for line in lane.data.decode().split("\n")[:-1]]


def test_every_field_of_plain_and_batched_messages(client: pulsar.Client, topic: Callable[..., str]) -> None:
    name = topic()
    single = client.create_producer(name, producer_name="single", batching_enabled=False)
    single.send(b"\x00\xff", event_timestamp=1_700_000_000_123, partition_key="k", ordering_key="ü")
    single.send(None, partition_key="k")
    single.send(b"", properties={"b": "2", "a": "\u2028\0"})
    many = client.create_producer(name, batching_enabled=True, batching_max_publish_delay_ms=1000)
    for place in range(3):
        many.send_async(b'{"n":%d}' % place, lambda *_: None, partition_key=f"k{place}")
    many.flush()
    batch = read_all(client, name, 6)

    rows = rows_of(batch, "avro")
    assert list(rows[0]) == list(FIELDS)
    assert [row["payload"] for row in rows] == [b"\x00\xff", None, b"", b'{"n":0}', b'{"n":1}', b'{"n":2}']
    assert [row["batch_index"] for row in rows] == [-1, -1, -1, 0, 1, 2]
    assert [row["key"] for row in rows] == ["k", "k", None, "k0", "k1", "k2"]
    assert (rows[0]["ordering_key"], rows[0]["producer_name"], rows[0]["topic"]) == ("ü", "single", name)
    assert rows[0]["event_time"].timestamp() == 1_700_000_000.123
    assert rows[2]["properties"] == {"a": "\u2028\0", "b": "2"}
    assert {(row["schema_version"], row["encryption"], row["unreadable"], row["partition"]) for row in rows} == {
        (None, None, None, -1)
    }

    lines = rows_of(batch, "jsonl", "json")
    assert [line["payload"] for line in lines] == [None, None, "", {"n": 0}, {"n": 1}, {"n": 2}]
    assert [line.get("payload_base64") for line in lines] == ["AP8=", None, None, None, None, None]
    for row, line in zip(rows, lines, strict=True):
        assert int(row["publish_time"].timestamp() * 1000) == line["publish_time"]
        assert (row["key"], row["ordering_key"], row["properties"]) == (
            line["key"],
            line["ordering_key"],
            line["properties"],
        )


def test_an_encrypted_message_is_kept_with_what_decrypts_it(
    client: pulsar.Client, topic: Callable[..., str], tmp_path: Path
) -> None:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genrsa", "-out", str(private), "2048"], check=True, capture_output=True)
    subprocess.run(
        ["openssl", "rsa", "-in", str(private), "-pubout", "-out", str(public)], check=True, capture_output=True
    )
    keys = pulsar.CryptoKeyReader(str(public), str(private))
    for batching in (False, True):
        name = topic()
        producer = client.create_producer(
            name,
            encryption_key="key-1",
            crypto_key_reader=keys,
            batching_enabled=batching,
            compression_type=pulsar.CompressionType.LZ4,
        )
        producer.send(b"secret" * 10)
        (row,) = rows_of(read_all(client, name, 1), "avro")
        encryption = row["encryption"]
        assert b"secret" not in row["payload"]
        assert len(encryption["keys"]["key-1"]["value"]) == 256
        assert len(encryption["parameter"]) == 12
        assert (encryption["compression"], encryption["whole_batch"]) == ("LZ4", batching)
        (line,) = rows_of(read_all(client, name, 1), "jsonl")
        assert line["encryption"]["keys"].keys() == {"key-1"}

        decrypting = client.create_reader(name, pulsar.MessageId.earliest, crypto_key_reader=keys)
        message = decrypting._reader.read_next(10_000)
        assert message.encryption_context() is not None
        place = message.message_id()
        decrypted = MessageBatch.of(
            TopicPartition(name),
            [message],
            [(place.ledger_id(), place.entry_id(), -1)],
            [message.publish_timestamp()],
            0,
        )
        (row,) = rows_of(decrypted, "avro")
        assert (row["payload"], row["encryption"]) == (b"secret" * 10, None)
        decrypting.close()


def test_values_of_a_topic_with_two_versions(
    broker: PulsarStandalone, client: pulsar.Client, topic: Callable[..., str]
) -> None:
    class First(pulsar.schema.Record):  # type: ignore[misc]
        _avro_namespace = "shop"
        n = pulsar.schema.Integer(required=True)

    class Second(pulsar.schema.Record):  # type: ignore[misc]
        _avro_namespace = "shop"
        n = pulsar.schema.Integer(required=True)
        text = pulsar.schema.String(default=None, required_default=True)

    Second.__name__ = "First"
    for kind in (pulsar.schema.AvroSchema, pulsar.schema.JsonSchema):
        name = topic()
        client.create_producer(name, schema=kind(First)).send(First(n=1))
        client.create_producer(name, schema=kind(Second)).send(Second(n=2, text="x"))
        source = PulsarClient(PulsarConnection(broker.service_url))
        encoder = make_format("avro", None, "value")[1](SchemaSource(source))
        lanes = {lane.lane: lane for lane in encoder.encode(read_all(client, name, 2))}
        assert list(lanes) == ["v000000", "v000001"]
        framing = make_format("avro", None, "value")[0]
        values = [
            next(iter(fastavro.reader(io.BytesIO(lane.header + bytes(framing.block(Pieces(lane.data), 1))))))["value"]  # type: ignore[index]
            for lane in lanes.values()
        ]
        assert values == [{"n": 1}, {"n": 2, "text": "x"}]
        source.close()


def test_schemas_as_the_broker_tells_them(broker: PulsarStandalone, topic: Callable[..., str]) -> None:
    source = SchemaSource(PulsarClient(PulsarConnection(broker.service_url)))
    record = {"type": "record", "name": "R", "fields": [{"name": "a" * 200, "type": "int"}]}
    for kind, definition in [("BOOLEAN", ""), ("LOCAL_DATE_TIME", ""), ("AVRO", json.dumps(record))]:
        name = topic()
        path = f"schemas/{name.removeprefix('persistent://')}/schema"
        broker.admin.request("POST", path, {"type": kind, "schema": definition, "properties": {}})
        assert source.get(name, 0) == TopicSchema(kind, definition.encode())
        assert source.get(name, 7) is None
    assert source.get(topic(), 0) is None

    name = topic()
    properties = {"key.schema.type": "AVRO", "value.schema.type": "AVRO", "kv.encoding.type": "INLINE"}
    properties |= {f"{side}.schema.{part}": "{}" for side in ("key", "value") for part in ("name", "properties")}
    both = {"type": "KEY_VALUE", "schema": json.dumps({"key": record, "value": record}), "properties": properties}
    broker.admin.request("POST", f"schemas/{name.removeprefix('persistent://')}/schema", both)
    found = source.get(name, 0)
    assert found is not None
    size = int.from_bytes(found.definition[:4], "big")
    assert json.loads(found.definition[4 : 4 + size]) == record
    assert (found.type, found.properties) == ("KEY_VALUE", None)
    source.client.close()
