from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.pipelines.backups import arguments, backup, run_process
from tests.pipelines.producing import acknowledge, numbered, send
from tests.pipelines.reading_back import Record, assert_holds, messages_in, position
from transforms.pulsar.positions import Position
from transforms.testing.producers import (
    produce_avro_versions,
    produce_encrypted,
    produce_every_kind,
    produce_json,
    produce_key_value,
    produce_protobuf,
)
from transforms.testing.raw_producer import Message, Sent, send_raw

FORMATS = [["--format=avro"], ["--format=jsonl"]]


def _unreadable(message: Message) -> list[str]:
    """Fields that the client cannot deliver."""
    texts = {"key": [message.key], "ordering_key": [message.ordering_key]}
    texts["properties"] = [text for pair in message.properties.items() for text in pair]
    return [name for name, values in texts.items() if any(isinstance(value, bytes) for value in values)]


def assert_same(records: Sequence[Record], sent: Sequence[Sent]) -> None:
    """All that was sent, message by message and field by field."""
    assert [position(record) for record in records] == [each.position for each in sent]
    for record, each in zip(records, sent, strict=True):
        message, lost = each.message, _unreadable(each.message)
        expected: dict[str, Any] = {
            "payload": message.payload,
            "key": None if "key" in lost else message.key,
            "ordering_key": None if "ordering_key" in lost else message.ordering_key,
            "properties": {} if "properties" in lost else dict(message.properties),
            "event_time": message.event_time,
            "unreadable": lost or None,
            "partition": each.partition,
        }
        assert {name: record[name] for name in expected} == expected


@pytest.mark.parametrize("options", FORMATS)
def test_messages_of_every_kind_come_back_as_they_were_sent(broker, topic, bucket, options):
    name = topic()
    sent = produce_every_kind(broker.service_url, name)
    backup(broker, name, bucket, *options)
    assert_same(messages_in(bucket)[name], sent)


def test_messages_of_every_kind_in_a_folder(broker, topic, folder):
    name = topic()
    sent = produce_every_kind(broker.service_url, name)
    backup(broker, name, folder)
    assert_same(messages_in(folder)[name], sent)


@pytest.mark.parametrize("produce", [produce_avro_versions, produce_json, produce_protobuf])
@pytest.mark.parametrize("options", FORMATS)
def test_topics_with_a_schema_keep_bytes_and_version(broker, topic, bucket, options, produce):
    name = topic()
    sent = produce(broker.service_url, broker.admin, name)
    backup(broker, name, bucket, *options)
    records = messages_in(bucket)[name]
    assert_same(records, sent)
    # In a producer batch the version of its first message holds.
    singly = [
        (record["schema_version"], each)
        for record, each in zip(records, sent, strict=True)
        if record["batch_index"] < 0
    ]
    assert singly
    assert all(version == each.message.schema_version for version, each in singly)


@pytest.mark.parametrize("separated", [False, True])
def test_key_value_topics_keep_key_and_payload(broker, topic, bucket, separated):
    name = topic()
    sent = produce_key_value(broker.service_url, broker.admin, name, separated=separated)
    backup(broker, name, bucket)
    records = messages_in(bucket)[name]
    assert [record["payload"] for record in records] == [each.message.payload for each in sent]
    assert [position(record) for record in records] == [each.position for each in sent]


@pytest.mark.parametrize("batching", [False, True])
@pytest.mark.parametrize("options", FORMATS)
def test_encrypted_messages_are_kept_with_what_decrypting_needs(broker, topic, bucket, tmp_path, options, batching):
    name = topic()
    sent = produce_encrypted(broker.service_url, name, 7, folder=tmp_path, batching=batching)
    backup(broker, name, bucket, *options)
    records = messages_in(bucket)[name]
    entries = dict.fromkeys(each.position[:2] for each in sent)
    # Without the key nobody can see the single messages of a batch: its entry is one record.
    assert [position(record)[:2] for record in records] == list(entries)
    for record in records:
        assert list(record["encryption"]["keys"]) == ["backup"]
        assert record["encryption"]["whole_batch"] == batching
        assert not any(each.message.payload in record["payload"] for each in sent)


def test_a_compacted_topic_gives_the_last_message_of_each_key(broker, topic, bucket):
    name = topic()
    messages = [Message(b"%d" % number, key=f"key-{number % 3}") for number in range(12)]
    sent = send_raw(broker.service_url, name, messages)
    broker.admin.compact(name)
    sent += send_raw(broker.service_url, name, [Message(b"later", key="key-0")])
    backup(broker, name, bucket, "--read_compacted")
    assert_same(messages_in(bucket)[name], [*sent[9:12], sent[12]])


def test_without_the_option_a_compacted_topic_is_read_whole(broker, topic, bucket):
    name = topic()
    messages = [Message(b"%d" % number, key=f"key-{number % 3}") for number in range(12)]
    sent = send_raw(broker.service_url, name, messages)
    broker.admin.compact(name)
    backup(broker, name, bucket)
    assert_same(messages_in(bucket)[name], sent)


# Chunked messages: the pieces are made by hand, so that other messages can stand between them.


def chunks(mark: str, count: int) -> list[Message]:
    pieces = [f"{mark}-{number} ".encode() * 3 for number in range(count)]
    size = sum(map(len, pieces))
    return [Message(piece, chunk=(mark, number, count, size)) for number, piece in enumerate(pieces)]


def whole(sent: Sequence[Sent]) -> tuple[Position, bytes]:
    """A chunked message: where its last chunk stands, and its payload."""
    return sent[-1].position, b"".join(each.message.payload or b"" for each in sent)


def plain(sent: Sequence[Sent]) -> list[tuple[Position, bytes]]:
    return [(each.position, each.message.payload or b"") for each in sent]


def contents(bucket: Any, name: str) -> list[tuple[Position, bytes]]:
    return [(position(record), record["payload"]) for record in messages_in(bucket).get(name, [])]


@pytest.fixture
def surrounded(broker, topic):
    """A chunked message with others before, between and behind its chunks: the topic, what was sent, in order."""
    name = topic()
    first, second, third = chunks("chunked", 3)
    order = [Message(b"before"), first, Message(b"between 1"), second, Message(b"between 2"), third, Message(b"behind")]
    return name, send_raw(broker.service_url, name, order)


def test_a_chunked_message_as_the_only_one(broker, topic, bucket):
    name = topic()
    sent = send_raw(broker.service_url, name, chunks("alone", 3))
    backup(broker, name, bucket)
    assert contents(bucket, name) == [whole(sent)]


def test_a_chunked_message_as_the_first_one(broker, topic, bucket):
    name = topic()
    sent = send_raw(broker.service_url, name, [*chunks("first", 3), Message(b"behind")])
    backup(broker, name, bucket)
    assert contents(bucket, name) == [whole(sent[:3]), *plain(sent[3:])]


def test_a_chunked_message_as_the_last_one(broker, topic, bucket):
    name = topic()
    sent = send_raw(broker.service_url, name, [Message(b"before"), *chunks("last", 3)])
    backup(broker, name, bucket)
    assert contents(bucket, name) == [*plain(sent[:1]), whole(sent[1:])]


def test_chunks_between_messages_of_others(broker, surrounded, bucket):
    name, sent = surrounded
    backup(broker, name, bucket)
    assert contents(bucket, name) == [
        *plain([sent[0], sent[2], sent[4]]),
        whole([sent[1], sent[3], sent[5]]),
        *plain(sent[6:]),
    ]


def test_two_chunked_messages_whose_chunks_alternate(broker, topic, bucket):
    name = topic()
    order = [piece for pair in zip(chunks("one", 3), chunks("two", 3), strict=True) for piece in pair]
    sent = send_raw(broker.service_url, name, order)
    backup(broker, name, bucket)
    assert contents(bucket, name) == [whole(sent[0::2]), whole(sent[1::2])]


@pytest.mark.parametrize("start", [1, 2, 3, 5, 6])
def test_a_start_inside_a_chunked_message_takes_what_ends_behind_it(broker, surrounded, bucket, start):
    """A message stands where its last chunk does, so it belongs to every run that starts at or before that one."""
    name, sent = surrounded
    backup(broker, name, bucket, f"--start={sent[start].position}")
    expected = [*plain([sent[0], sent[2], sent[4]]), whole([sent[1], sent[3], sent[5]]), *plain(sent[6:])]
    assert contents(bucket, name) == [each for each in expected if each[0] >= sent[start].position]


@pytest.mark.parametrize("end", [1, 2, 4, 5])
def test_an_end_inside_a_chunked_message_leaves_it_to_the_next_run(broker, surrounded, bucket, end):
    name, sent = surrounded
    expected = [*plain([sent[0], sent[2], sent[4]]), whole([sent[1], sent[3], sent[5]]), *plain(sent[6:])]
    backup(broker, name, bucket, f"--end={sent[end].position}")
    assert contents(bucket, name) == [each for each in expected if each[0] <= sent[end].position]
    backup(broker, name, bucket, f"--start={sent[end].position.next_entry()}")
    assert contents(bucket, name) == expected


def test_a_subscription_between_the_chunks_of_a_message_keeps_it(broker, client, surrounded, bucket):
    name, sent = surrounded
    acknowledge(client, name, "between", sent[2].position)
    backup(broker, name, bucket, "--subscription=between", "--start=subscription")
    found = contents(bucket, name)
    assert whole([sent[1], sent[3], sent[5]]) in found
    assert found == [*plain(sent[4:5]), whole([sent[1], sent[3], sent[5]]), *plain(sent[6:])]
    backup(broker, name, bucket, "--subscription=between", "--start=subscription")
    assert contents(bucket, name) == found


def test_a_chunked_message_that_is_never_completed_holds_nothing_up(broker, topic, bucket):
    name = topic()
    order = [Message(b"before"), *chunks("incomplete", 3)[:2], *[Message(b"%d" % number) for number in range(5)]]
    sent = send_raw(broker.service_url, name, order)
    backup(broker, name, bucket)
    assert contents(bucket, name) == plain([sent[0], *sent[3:]])


def test_a_topic_that_ends_with_an_incomplete_chunked_message_ends(broker, topic, bucket):
    name = topic()
    sent = send_raw(broker.service_url, name, [Message(b"before"), *chunks("incomplete", 3)[:2]])
    # In a process, which can be ended where the job would wait for the rest of the message for ever.
    run = run_process(arguments(broker, name, bucket, []), seconds=60)
    assert run.code == 0, run.errors
    assert contents(bucket, name) == plain(sent[:1])


def test_a_chunked_message_that_is_completed_between_two_runs_is_in_the_second(broker, topic, bucket):
    name = topic()
    pieces = chunks("late", 3)
    sent = send_raw(broker.service_url, name, [Message(b"before"), *pieces[:2], Message(b"between")])
    options = ["--subscription=backup", "--start=subscription"]
    backup(broker, name, bucket, *options)
    assert contents(bucket, name) == plain([sent[0], sent[3]])
    sent += send_raw(broker.service_url, name, [pieces[2], Message(b"behind")])
    backup(broker, name, bucket, *options)
    assert contents(bucket, name) == [*plain([sent[0], sent[3]]), whole([*sent[1:3], sent[4]]), *plain(sent[5:])]


def test_large_messages_and_small_ones_of_one_topic(broker, client, topic, bucket):
    name = topic()
    payloads = [bytes([number]) * (5_000_000 if number % 3 else 5) for number in range(8)]
    places = send(client, name, payloads)
    places += send(client, name, numbered(10), batch=10)
    backup(broker, name, bucket)
    stored = messages_in(bucket)
    assert_holds(stored, {name: places})
    assert [record["payload"] for record in stored[name]] == [*payloads, *numbered(10)]


@pytest.mark.parametrize("admin", [False, True])
def test_a_topic_that_ends_with_markers_is_read_to_its_end(broker, topic, bucket, admin):
    name = topic()
    marker = Message(b"", marker=True)
    sent = send_raw(broker.service_url, name, [Message(b"a"), marker, Message(b"b"), marker, marker])
    options = ["--subscription=ours", *([f"--admin_url={broker.admin_url}"] if admin else [])]
    run = backup(broker, name, bucket, *options)
    assert run.partition(name)["gaps"] == []
    assert_holds(messages_in(bucket), {name: [sent[0].position, sent[2].position]})
    assert run.partition(name)["acknowledged_before"] == str(sent[-1].position.next_entry())
    run = backup(broker, name, bucket, "--check", *options)
    assert (run.summary["partitions"][0]["entries"], run.summary["sample"]["payload"]) == (5, "a")
