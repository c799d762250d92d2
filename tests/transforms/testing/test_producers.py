from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulsar

from transforms.testing import producers
from transforms.testing.pulsar_standalone import PulsarStandalone
from transforms.testing.raw_producer import Message, Sent, send_raw

Topic = Callable[..., str]


def _read(broker: PulsarStandalone, topic: str, crypto: Any = None) -> list[pulsar.Message]:
    client = pulsar.Client(broker.service_url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    try:
        reader = client.create_reader(topic, pulsar.MessageId.earliest, crypto_key_reader=crypto)
        found = []
        while reader.has_message_available():
            found.append(reader.read_next(5000))
        return found
    finally:
        client.close()


def _text(value: str | bytes | None) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return "not UTF-8"
    return value or ""


def _read_text(accessor: Callable[[], str]) -> str:
    try:
        return accessor()
    except UnicodeDecodeError:
        return "not UTF-8"


def _assert_read_back(sent: list[Sent], read: list[pulsar.Message]) -> None:
    assert [tuple(each.position) for each in sent] == [
        (each.message_id().ledger_id(), each.message_id().entry_id(), max(0, each.message_id().batch_index()))
        for each in read
    ]
    for there, here in zip(sent, read, strict=True):
        message = there.message
        assert here._message.has_null_value() == (message.payload is None)
        assert here.data() == (message.payload or b"")
        assert _read_text(here.partition_key) == _text(message.key)
        assert _read_text(here.ordering_key) == _text(message.ordering_key)
        assert here.event_timestamp() == (message.event_time or 0)
        if all(isinstance(value, str) for value in message.properties.values()):
            assert here.properties() == message.properties
        if message.schema_version is not None:
            assert here._message.int_schema_version() == message.schema_version


def test_bulk_goes_to_the_partitions_in_turn_and_in_order(broker: PulsarStandalone, topic: Topic) -> None:
    name = topic(partitions=3)
    sent = producers.produce(broker.service_url, name, 2000, partitions=3)
    for partition in range(3):
        of_it = [each for each in sent if each.partition == partition]
        assert of_it == sent[partition::3]
        _assert_read_back(of_it, _read(broker, f"{name}-partition-{partition}"))


def test_the_same_seed_gives_the_same_messages_of_the_size_asked_for() -> None:
    first, second = list(producers.generate(50, seed=3, size=333)), list(producers.generate(50, seed=3, size=333))
    assert first == second != list(producers.generate(50, seed=4, size=333))
    assert {len(each.payload or b"") for each in first} == {333}


def test_every_kind_is_read_back(broker: PulsarStandalone, topic: Topic) -> None:
    name = topic()
    sent = producers.produce_every_kind(broker.service_url, name)
    read = _read(broker, name)
    _assert_read_back(sent, read)
    # The last twelve are one producer batch.
    assert [each.message_id().batch_index() for each in read] == [-1] * 14 + list(range(12))
    assert len({each.position[:2] for each in sent[-12:]}) == 1


def test_frames_of_our_own_carry_any_publish_time(broker: PulsarStandalone, topic: Topic) -> None:
    name = topic()
    messages = [
        Message(b"old", key=b"\xff", properties={"a": "b", "c": "d"}, publish_time=1_000, event_time=7),
        Message(b"from 2099", ordering_key="order", publish_time=4_070_908_800_000),
        Message(None, key="gone", publish_time=2_000),
    ]
    sent = send_raw(broker.service_url, name, messages)
    sent += send_raw(broker.service_url, name, messages, batch=True)
    read = _read(broker, name)
    _assert_read_back(sent, read)
    assert [each.publish_timestamp() for each in read] == [1_000, 4_070_908_800_000, 2_000, 1_000, 1_000, 1_000]


def test_schemas_of_every_kind_carry_their_version(broker: PulsarStandalone, topic: Topic) -> None:
    service_url, admin = broker.service_url, broker.admin
    versions = []
    for produce in (
        producers.produce_avro_versions,
        producers.produce_json,
        producers.produce_protobuf,
        lambda *where: producers.produce_key_value(*where, separated=True),
        lambda *where: producers.produce_key_value(*where, separated=False),
    ):
        name = topic()
        sent = produce(service_url, admin, name)
        _assert_read_back(sent, _read(broker, name))
        versions.append({each.message.schema_version for each in sent})
    assert versions == [{0, 1}, {0}, {0}, {0}, {0}]


def test_encrypted_messages_are_read_with_the_key_that_was_made(
    broker: PulsarStandalone, topic: Topic, tmp_path: Path
) -> None:
    for batching in (True, False):
        name = topic()
        sent = producers.produce_encrypted(broker.service_url, name, 4, folder=tmp_path, batching=batching)
        keys = pulsar.CryptoKeyReader(str(tmp_path / "public.pem"), str(tmp_path / "private.pem"))
        _assert_read_back(sent, _read(broker, name, keys))
        assert len({each.position[:2] for each in sent}) == (1 if batching else 4)
