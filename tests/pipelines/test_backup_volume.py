"""300,000 messages over three partitions, in both formats and with every codec."""

from __future__ import annotations

import random
import uuid
from functools import partial
from operator import itemgetter
from typing import Any

import pulsar
import pytest

from tests.pipelines.backups import backup
from tests.pipelines.reading_back import messages_in

COUNT = 300_000
PARTITIONS = 3

#: Options, and the extension that names have.
CODECS = [
    ("avro", "null", "avro"),
    ("avro", "deflate", "avro"),
    ("avro", "snappy", "avro"),
    ("avro", "zstandard", "avro"),
    ("jsonl", "none", "jsonl"),
    ("jsonl", "gzip", "jsonl.gz"),
    ("jsonl", "zstd", "jsonl.zst"),
]


NOISE = random.Random(300_000).randbytes(1 << 16)

#: Fields of a record as they are compared.
Fields = tuple[int, int, int, bytes, str | None, str | None, dict[str, str], int | None]
read_fields = itemgetter(
    "ledger_id", "entry_id", "batch_index", "payload", "key", "ordering_key", "properties", "event_time"
)


def payload(number: int) -> bytes:
    """Every eighth is of one kind."""
    match number % 8:
        case 0:
            return f'{{"number": {number}, "text": "订单 ✓", "list": [1, null, 2.5]}}'.encode()
        case 1:
            return b"plain text %d" % number
        case 2:
            return NOISE[number % 60_000 :][:120]
        case 3:
            return b""
        case 4:
            return b"\x00\xff" * 20
        case 5:
            return b'line\nwith "quotes" \\ and \r\t'
        case 6:
            return f"schlüssel-{number}".encode("latin-1")
        case _:
            return b"x" * (number % 400)


def message(number: int) -> dict[str, Any]:
    """What is sent as message ``number``."""
    return {
        "content": payload(number),
        "partition_key": f"key-{number % 1000}" if number % 3 else None,
        "ordering_key": f"order-{number % 10}" if number % 5 == 0 else None,
        "properties": {"number": str(number), "ключ": "значение"} if number % 2 else None,
        "event_timestamp": 1_700_000_000_000 + number if number % 7 else None,
    }


@pytest.fixture(scope="session")
def large_topic(broker, client) -> tuple[str, dict[str, list[Fields]]]:
    """The topic; by partition, what was sent and where it went."""
    broker.admin.create_namespace("test/volume")
    name = f"persistent://test/volume/large-{uuid.uuid4().hex[:8]}"
    broker.admin.create_partitioned_topic(name, PARTITIONS)
    names = [f"{name}-partition-{index}" for index in range(PARTITIONS)]
    messages = [message(number) for number in range(COUNT)]
    places: list[Any] = [None] * COUNT

    def receipt(number: int, result: pulsar.Result, message_id: Any) -> None:
        assert result == pulsar.Result.Ok
        places[number] = message_id.ledger_id(), message_id.entry_id(), message_id.batch_index()

    producers = [
        client.create_producer(
            each,
            batching_enabled=True,
            batching_max_messages=1000,
            batching_max_publish_delay_ms=10,
            block_if_queue_full=True,
            max_pending_messages=20_000,
            compression_type=pulsar.CompressionType.LZ4,
        )
        for each in names
    ]
    for number, fields in enumerate(messages):
        producers[number % PARTITIONS].send_async(**fields, callback=partial(receipt, number))
    for producer in producers:
        producer.flush()
        producer.close()
    sent: dict[str, list[Fields]] = {each: [] for each in names}
    for number, (fields, place) in enumerate(zip(messages, places, strict=True)):
        assert place is not None, f"message {number} was not taken"
        content, key, ordering_key, properties, event_time = fields.values()
        sent[names[number % PARTITIONS]].append((*place, content, key, ordering_key, properties or {}, event_time))
    return name, sent


@pytest.mark.parametrize(("file_format", "codec", "extension"), CODECS)
def test_300_000_messages_are_complete_and_in_order(broker, large_topic, bucket, file_format, codec, extension):
    name, sent = large_topic
    run = backup(broker, name, bucket, f"--format={file_format}", f"--codec={codec}")
    stored = messages_in(bucket)
    assert all(key.endswith(f".{extension}") for key in bucket.listed())
    assert list(stored) == list(sent)
    for partition, wanted in sent.items():
        records = stored[partition]
        assert len(records) == len(wanted)
        wrong = [(want, got) for got, want in zip(map(read_fields, records), wanted, strict=True) if got != want]
        assert wrong[:1] == []
    assert run.summary["messages"] == COUNT
    assert run.summary["files"] == len(bucket.listed())
