"""What is read entry by entry is what pulsar-client reads message by message, to the last field."""

from __future__ import annotations

import itertools
import logging
import random
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import cramjam
import fastcrc
import pulsar
import pytest
import zstandard

from transforms.errors import SourceError
from transforms.pulsar import entries, entry_reader, entry_scan, feed
from transforms.pulsar.client import batch_size, connect, start_of
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.entries import EntrySubscription, StoredEntry
from transforms.pulsar.entry_scan import EntryScan
from transforms.pulsar.feed import PartitionFeed
from transforms.pulsar.messages import ClientMessage, TopicPartition
from transforms.pulsar.positions import EARLIEST, Position
from transforms.pulsar.protobuf import ProtocolError, encode
from transforms.pulsar.scan import PORTION_MESSAGES, STALLED, PartitionScan
from transforms.pulsar.stored_messages import NotPlainError, StoredEntryMessages, StoredMessage
from transforms.testing.producers import produce, produce_avro_versions, produce_encrypted, produce_every_kind
from transforms.testing.raw_producer import Message, send_raw

ACCESSORS = [
    "data",
    "length",
    "has_null_value",
    "partition_key",
    "ordering_key",
    "properties",
    "event_timestamp",
    "publish_timestamp",
    "producer_name",
    "int_schema_version",
]


def read(broker, partition: TopicPartition, start: Position = EARLIEST) -> tuple[list[ClientMessage], list[Any]]:
    """All messages that there are, and their places."""
    messages: list[ClientMessage] = []
    places: list[Any] = []
    with closing(PartitionFeed(connect(PulsarConnection(broker.service_url)), partition, start)) as reading:
        while True:
            portion = reading.take(60)
            assert portion is not None
            if not portion.messages:
                return messages, places
            messages += portion.messages
            places += zip(portion.columns.ids, portion.columns.publish_times, portion.columns.payloads, strict=True)
            assert portion.bytes == sum(map(len, portion.columns.payloads))


def told(message: ClientMessage) -> dict[str, Any]:
    """All that a message tells; for what cannot be told, the class of the error."""
    found: dict[str, Any] = {}
    for name in ACCESSORS:
        try:
            found[name] = getattr(message, name)()
        except UnicodeDecodeError as error:
            found[name] = type(error)
    identifier = message.message_id()
    found["id"] = (identifier.ledger_id(), identifier.entry_id(), identifier.batch_index(), batch_size(identifier))
    found["start"] = start_of(message)
    found["encrypted"] = message.encryption_context() is not None
    return found


@pytest.fixture
def same(broker, monkeypatch):
    """Reads a partition both ways; gives the messages that were read entry by entry."""

    def read_both(partition: TopicPartition, start: Position = EARLIEST) -> list[ClientMessage]:
        messages, places = read(broker, partition, start)
        with monkeypatch.context() as patch:
            patch.setattr(feed, "EntryScan", PartitionScan)
            expected, expected_places = read(broker, partition, start)
        assert not any(isinstance(each, StoredMessage) for each in expected)
        assert places == expected_places
        assert list(map(told, messages)) == list(map(told, expected))
        return messages

    return read_both


def plain(messages: list[ClientMessage]) -> list[bool]:
    return [isinstance(each, StoredMessage) for each in messages]


def test_messages_of_every_kind(broker, topic, same):
    partition = TopicPartition(topic())
    sent = produce_every_kind(broker.service_url, partition.topic)
    messages = same(partition)
    assert [start_of(each) for each in messages] != []
    assert len(messages) == len(sent)
    # From the chunked message on, the client reads.
    chunked = next(index for index, each in enumerate(sent) if each.message.key == "chunked")
    assert plain(messages) == [index < chunked for index in range(len(sent))]


@pytest.mark.parametrize("batching", [True, False], ids=["batches", "single"])
@pytest.mark.parametrize("codec", ["NONE", "LZ4", "ZLib", "ZSTD", "SNAPPY"])
def test_every_codec_of_producers(broker, topic, same, codec, batching):
    partition = TopicPartition(topic())
    source = random.Random(3)
    client = pulsar.Client(broker.service_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    producer = client.create_producer(
        partition.topic,
        compression_type=getattr(pulsar.CompressionType, codec),
        batching_enabled=batching,
        batching_max_publish_delay_ms=100,
    )
    for number in range(60):
        # pulsar-client drops nothing at all under ZLIB: it takes it for damaged. [measured with 3.13]
        size = source.choice([1, 100, 3_000, 70_000] if codec == "ZLib" else [0, 1, 100, 3_000, 70_000])
        properties = {"number": str(number), "a": "b" * (number % 7)} if number % 9 else {"other": "x"}
        producer.send_async(
            (source.randbytes(size // 2 + 1) * 2)[:size], None, properties, f"key-{number}", event_timestamp=number
        )
    producer.flush()
    client.close()
    messages = same(partition)
    assert len(messages) == 60
    assert all(plain(messages))


def test_payloads_stay_as_they_are_while_others_are_decompressed(broker, topic):
    """What is decompressed is in memory that is used again."""
    partition = TopicPartition(topic())
    client = pulsar.Client(broker.service_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    producer = client.create_producer(
        partition.topic, compression_type=pulsar.CompressionType.LZ4, batching_max_publish_delay_ms=100
    )
    sent = [bytes([number]) * size for number in range(40) for size in (10, 70_000 - number * 1_000)]
    for number, payload in enumerate(sent):
        producer.send_async(payload, None)
        if number % 4 == 0:
            producer.flush()
    producer.flush()
    client.close()
    messages, places = read(broker, partition)
    assert [each.data() for each in messages] == [place[2] for place in places] == sent


def test_schema_versions(broker, topic, same):
    partition = TopicPartition(topic())
    sent = produce_avro_versions(broker.service_url, broker.admin, partition.topic)
    messages = same(partition)
    assert len(messages) == len(sent)
    assert all(plain(messages))
    assert len({each.int_schema_version() for each in messages}) == 2


@pytest.mark.parametrize("batch", [True, False], ids=["batch", "single"])
def test_what_pulsar_client_never_sends(broker, topic, same, batch):
    partition = TopicPartition(topic())
    odd = [
        Message(b"names twice", properties={"b": "1", "a": "2"}, more_properties=[("b", "3"), ("c", "4"), ("a", "5")]),
        Message(b"long version", schema_version=struct.pack(">q", 7) + bytes(56)),
        Message(b"far time", publish_time=2**64 - 1, event_time=2**64 - 1),
    ]
    for each in odd:
        send_raw(broker.service_url, partition.topic, [each] * 3, batch=batch)
    messages = same(partition)
    assert [each.data() for each in messages] == [each.payload for each in odd for _ in range(3)]
    assert all(plain(messages))


@pytest.mark.parametrize("batching", [True, False], ids=["batch", "single"])
def test_what_is_encrypted_and_all_behind_it_is_left_to_the_client(broker, topic, same, tmp_path, batching):
    partition = TopicPartition(topic())
    send_raw(broker.service_url, partition.topic, [Message(b"%d" % number) for number in range(5)], batch=True)
    produce_encrypted(broker.service_url, partition.topic, 3, folder=tmp_path, batching=batching)
    send_raw(broker.service_url, partition.topic, [Message(b"behind")])
    messages = same(partition)
    assert plain(messages) == [True] * 5 + [False] * (len(messages) - 5)
    assert messages[-1].data() == b"behind"


def entries_looked_at(monkeypatch) -> list[StoredEntry]:
    """Those that are looked at because the broker may have passed over them, from now on."""
    found: list[StoredEntry] = []

    def each_stored_entry(*arguments: Any) -> Iterator[StoredEntry]:
        for each in entries.each_stored_entry(*arguments):
            found.append(each)
            yield each

    monkeypatch.setattr(entry_scan, "each_stored_entry", each_stored_entry)
    return found


def test_markers_and_the_ends_of_ledgers_are_passed(broker, topic, same):
    partition = TopicPartition(topic())
    for _ in range(2):
        send_raw(broker.service_url, partition.topic, [Message(b"a"), Message(b"", marker=True), Message(b"b")])
        broker.admin.unload(partition.name)
    messages = same(partition)
    assert [each.data() for each in messages] == [b"a", b"b"] * 2
    assert all(plain(messages))


def test_markers_between_messages_cost_no_look(broker, topic, monkeypatch):
    """A topic whose subscriptions are replicated has some every second."""
    partition = TopicPartition(topic())
    messages = [Message(b"a"), *[Message(b"", marker=True)] * 3] * 20
    sent = send_raw(broker.service_url, partition.topic, [*messages, Message(b"b")])
    monkeypatch.setattr(EntryScan, "_look_for_passed", lambda *_: pytest.fail("looked"))
    found, _ = read(broker, partition, sent[0].position)
    assert [each.data() for each in found] == [b"a"] * 20 + [b"b"]


@pytest.mark.parametrize("where", ["within a ledger", "into the next ledger", "to the end", "from the beginning"])
@pytest.mark.parametrize("batch", [True, False], ids=["batches", "single"])
def test_what_expires_while_it_is_read_is_read_nevertheless(broker, topic, monkeypatch, caplog, where, batch):
    """A broker moves also readers behind what has expired, and tells them nothing."""
    partition = TopicPartition(topic())

    def send(count: int) -> list[bytes]:
        payloads = [b"%d" % number for number in range(count)]
        for at in range(0, count, 5):
            send_raw(broker.service_url, partition.topic, map(Message, payloads[at : at + 5]), batch=batch)
        return payloads

    sent = send(100)
    if where == "into the next ledger":
        broker.admin.unload(partition.name)
    if where != "to the end":
        time.sleep(2.1)
        sent += send(50)
    permits = itertools.count(1)
    permit = EntrySubscription.permit

    def marked() -> list[str]:
        return [each["markDeletePosition"] for each in broker.admin.internal_stats(partition.name)["cursors"].values()]

    def expiring(self: EntrySubscription, messages: int) -> None:
        if next(permits) == (1 if where == "from the beginning" else 3):
            before = marked()
            broker.admin.expire(partition.name, 1)
            while marked() == before:
                time.sleep(0.01)
        permit(self, messages)

    if where == "to the end":
        time.sleep(2.1)
    monkeypatch.setattr(entry_reader, "_MOST_AHEAD", 10)
    monkeypatch.setattr(EntrySubscription, "permit", expiring)
    caplog.set_level(logging.INFO, "transforms.pulsar")
    looks = entries_looked_at(monkeypatch)
    messages, _ = read(broker, partition)
    assert [each.data() for each in messages] == sent
    assert all(plain(messages))
    assert "the broker has passed over the message at" in caplog.text
    # The first of them is enough to know.
    assert len(looks) == 1


@pytest.mark.parametrize("begin", [0, 1, 2_399, 2_400, 2_401])
def test_batches_larger_than_a_portion_and_starts_inside_them(broker, topic, same, begin):
    partition = TopicPartition(topic())
    size = PORTION_MESSAGES * 2 + 400
    sent = [
        each
        for turn in range(2)
        for each in send_raw(
            broker.service_url, partition.topic, [Message(b"%d %d" % (turn, each)) for each in range(size)], batch=True
        )
    ]
    messages = same(partition, sent[begin].position)
    assert [start_of(each) for each in messages] == [each.position for each in sent[begin:]]
    assert all(plain(messages))


@pytest.mark.parametrize("most_ahead", [1, 3, 20_000])
def test_permits_do_not_run_out(broker, topic, monkeypatch, most_ahead):
    """Batches use up more than there are; that messages become larger or smaller changes how many there are."""
    monkeypatch.setattr(entry_reader, "_MOST_AHEAD", most_ahead)
    partition = TopicPartition(topic())
    sent = produce(broker.service_url, partition.topic, 3_000, size=100)
    sent += produce(broker.service_url, partition.topic, 6, size=2_000_000, seed=1, batching=False)
    sent += produce(broker.service_url, partition.topic, 300, size=100, seed=2, batching=False)
    messages, _ = read(broker, partition)
    assert [start_of(each) for each in messages] == [each.position for each in sent]
    assert all(plain(messages))


def test_what_is_sent_while_it_is_read_comes_at_once(broker, topic):
    partition = TopicPartition(topic())
    (first,) = send_raw(broker.service_url, partition.topic, [Message(b"a")])
    with closing(PartitionFeed(connect(PulsarConnection(broker.service_url)), partition, EARLIEST)) as reading:
        while not (taken := reading.take(60)) or not taken.messages:
            pass
        assert taken.position(-1) == first.position
        for number in range(20):
            sending = threading.Timer(
                0.02 * (number % 3), send_raw, (broker.service_url, partition.topic, [Message(b"%d" % number)])
            )
            sending.start()
            while not (taken := reading.take(60)) or not taken.messages:
                pass
            sending.join()
            assert taken.columns.payloads == [b"%d" % number]


def test_a_broker_that_sends_nothing_although_it_holds_something_is_an_error_in_the_end(broker, topic, monkeypatch):
    partition = TopicPartition(topic())
    (sent,) = send_raw(broker.service_url, partition.topic, [Message(b"a")])
    monkeypatch.setattr(EntrySubscription, "permit", lambda *_: None)
    connection = PulsarConnection(broker.service_url)
    with entry_reader.entry_reader(connection, partition, sent.position, 1_000_000) as reader:
        assert reader.next(0.1) is None
        behind = sent.position.next_entry()
        assert reader.end(sent.position, 1) is None
        assert reader.end(sent.position, STALLED) is None
        assert reader.end(behind, 1) == behind
        with pytest.raises(SourceError, match=r"says that there are messages at \d+:0:0, but sends none\. Look at"):
            reader.end(sent.position, 1_000)


# Entries as they must not be


def entry(metadata: dict[int, int | str | bytes], payload: bytes, *, checksum: int | None = 0) -> bytes:
    head = encode({1: "producer", 2: 7, 3: 1_000, **metadata})
    content = struct.pack(">I", len(head)) + head + payload
    if checksum is None:
        return content
    return struct.pack(">HI", 0x0E01, fastcrc.crc32.iscsi(content) ^ checksum) + content


def messages_of(content: bytes) -> list[ClientMessage]:
    return StoredEntryMessages(Position(1, 2), content).messages


@pytest.mark.parametrize("checksum", [0, None], ids=["with a checksum", "without"])
@pytest.mark.parametrize("broker_metadata", [b"", struct.pack(">HI", 0x0E02, 3) + b"\x08\x01\x10"], ids=["", "broker"])
def test_what_may_stand_before_the_metadata(checksum, broker_metadata):
    (message,) = messages_of(broker_metadata + entry({}, b"content", checksum=checksum))
    assert message.data() == b"content"
    assert message.producer_name() == "producer"


def test_what_is_damaged_is_left_to_the_client_which_names_it():
    with pytest.raises(NotPlainError):
        messages_of(entry({}, b"content", checksum=1))


def test_what_is_cut_off_is_no_entry():
    for size in range(len(entry({}, b""))):
        with pytest.raises((ProtocolError, NotPlainError)):
            messages_of(entry({}, b"")[:size])


@pytest.mark.parametrize(
    ("metadata", "payload"),
    [
        pytest.param({8: 1, 9: 100}, b"no LZ4", id="LZ4"),
        pytest.param({8: 2, 9: 100}, b"no ZLIB", id="ZLIB"),
        pytest.param({8: 3, 9: 100}, b"no ZSTD", id="ZSTD"),
        pytest.param({8: 4, 9: 100}, b"\x07no SNAPPY", id="SNAPPY"),
        pytest.param({8: 5, 9: 100}, b"a codec to come", id="codec"),
        pytest.param({8: 1, 9: 3}, b"\x20ab", id="shorter than it says"),
        pytest.param({11: 2}, struct.pack(">I", 2) + b"\x18\x01" + b"a", id="one message of two"),
        pytest.param({11: 1}, struct.pack(">I", 2) + b"\x18\x01" + b"ab", id="more than one"),
        pytest.param({11: 1}, struct.pack(">I", 4) + b"\x18\x01\x20\x01" + b"a", id="compacted out"),
        pytest.param({11: 1}, struct.pack(">I", 90) + b"\x18\x01" + b"a", id="metadata beyond the end"),
        pytest.param({16: b"\0\0\0\7"}, b"", id="schema version of four bytes"),
        pytest.param({13: b""}, b"", id="encryption keys"),
        pytest.param({15: b"iv"}, b"", id="encryption parameter"),
        pytest.param({20: 21}, b"", id="marker"),
        pytest.param({22: 1, 23: 0}, b"", id="transaction"),
        pytest.param({26: "uuid", 27: 2, 28: 9, 29: 0}, b"", id="chunk"),
    ],
)
def test_what_is_not_plain_is_left_to_the_client(metadata, payload):
    with pytest.raises(NotPlainError):
        messages_of(entry(metadata, payload))


@pytest.mark.parametrize("says", [10, 0, 9_999_999, 10_000_001, 20_000_000])
@pytest.mark.parametrize("compression", [1, 2, 3, 4], ids=["LZ4", "ZLIB", "ZSTD", "SNAPPY"])
def test_what_holds_more_or_less_than_it_says_is_left_and_takes_no_memory_beyond_that(compression, says, monkeypatch):
    held = bytes(10_000_000)
    compressed = {
        1: lambda: bytes(cramjam.lz4.compress_block(held, store_size=False)),
        2: lambda: zlib.compress(held),
        3: lambda: zstandard.compress(held),
        4: lambda: bytes(cramjam.snappy.compress_raw(held)),
    }[compression]()
    (message,) = messages_of(entry({8: compression, 9: len(held)}, compressed))
    assert message.data() == held
    del message
    content = entry({8: compression, 9: says}, compressed)
    # Its memory is not Python's, which is measured here: it must not be asked for.
    monkeypatch.setattr(cramjam.snappy, "decompress_raw", lambda *_, **__: pytest.fail("decompressed"))
    tracemalloc.start()
    try:
        with pytest.raises(NotPlainError):
            messages_of(content)
        # Of less than it holds, no more than a copy or two; else no more than of what it holds.
        assert tracemalloc.get_traced_memory()[1] < 3 * min(says, len(held)) + 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("version", "expected"), [(b"", -1), (struct.pack(">q", 7), 7), (struct.pack(">q", 7) + bytes(56), 7)]
)
def test_schema_versions_of_before_pulsar_2_4_have_zeros_behind_them(version, expected):
    (message,) = messages_of(entry({16: version}, b""))
    assert message.int_schema_version() == expected


def test_metadata_that_is_no_protobuf_is_left_to_the_client():
    content = struct.pack(">I", 3) + b"\xff\xff\xff" + b"rest"
    with pytest.raises(NotPlainError):
        messages_of(struct.pack(">HI", 0x0E01, fastcrc.crc32.iscsi(content)) + content)


def test_nothing_of_what_was_received_is_kept():
    """It is a buffer that the next frame is received into."""
    batch = b"".join(struct.pack(">I", 4) + b"\x18\x80\x80\x01" + bytes([65 + place]) * 16_384 for place in range(3))
    for metadata, payload in (({}, b"a" * 100_000), ({11: 3}, batch)):
        received = bytearray(entry(metadata, payload))
        made = StoredEntryMessages(Position(1, 2), memoryview(received))
        expected = [payload] if not metadata else [bytes([65 + place]) * 16_384 for place in range(3)]
        received[:] = bytes(len(received))
        assert made.payloads == expected
        assert set(map(type, made.payloads)) == {bytes}
        assert made.size == sum(map(len, expected))
