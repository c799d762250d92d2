"""How far a restore has come, read from the target."""

from __future__ import annotations

from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.restore.origin import MESSAGE_ID, RESTORE, TOPIC
from transforms.restore.reached import last_restore, reached_of
from transforms.testing.raw_producer import Message, send_raw


def ours(number: int, restore: str = "ours", source: str = "a", **more) -> Message:
    return Message(b"x", properties={RESTORE: restore, MESSAGE_ID: f"7:{number}:0", TOPIC: source}, **more)


def test_the_origin_of_the_last_message_of_a_restore_is_found(broker, topic):
    target = TopicPartition(topic(partitions=1), 0)
    connection = PulsarConnection(broker.service_url)
    assert last_restore(connection, target) == (False, None)
    assert reached_of(connection, target, "ours", "a") is None
    sent = send_raw(broker.service_url, target.name, [Message(b"y", properties={"bad": b"\xff"}), ours(4), ours(9)])
    send_raw(broker.service_url, target.name, [ours(5), ours(8)], batch=True)
    _, last = send_raw(broker.service_url, target.name, [ours(30, "theirs"), ours(20, source="b")])
    assert reached_of(connection, target, "ours", "a") == Position(7, 9)
    # From where that is known to stand, or behind it, as when messages came again.
    assert reached_of(connection, target, "ours", "a", sent[2].position) == Position(7, 9)
    assert reached_of(connection, target, "ours", "a", sent[2].position.next_entry()) == Position(7, 8)
    assert reached_of(connection, target, "ours", "b") == Position(7, 20)
    assert last_restore(connection, target) == (True, "ours")
    # A large message of which an attempt has sent the beginning only.
    send_raw(broker.service_url, target.name, [ours(99, chunk=("u", 0, 3, 9)), ours(99, chunk=("u", 1, 3, 9))])
    assert reached_of(connection, target, "ours", "a") == Position(7, 9)
    assert last_restore(connection, target) == (True, "ours")
    # Read from the entry before it on.
    assert reached_of(connection, target, "ours", "b", last.position) == Position(7, 20)
