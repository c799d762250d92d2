from __future__ import annotations

import pytest

from transforms.pulsar import wire
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import NotReadyError
from transforms.pulsar.entries import first_entry, stored_entries, subscribed
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import encode
from transforms.testing.raw_producer import Message, send_raw


@pytest.fixture
def stored(broker, topic):
    """Two producer batches, two chunks and a single message: five entries."""
    partition = TopicPartition(topic())
    batches = [[Message(b"%d" % number, publish_time=1_000) for number in range(10)] for _ in range(2)]
    sent = [send_raw(broker.service_url, partition.topic, batch, batch=True)[0] for batch in batches]
    chunks = [Message(b"part", publish_time=2_000, chunk=("u1", index, 2, 8)) for index in range(2)]
    sent += send_raw(broker.service_url, partition.topic, [*chunks, Message(b"x", publish_time=3_000)])
    return PulsarConnection(broker.service_url), partition, [each.position for each in sent]


def test_every_entry_is_told_as_it_is_stored(stored):
    connection, partition, places = stored
    found = stored_entries(connection, partition, places[0])
    assert [(each.position, each.publish_time) for each in found] == list(
        zip(places, [1_000, 1_000, 2_000, 2_000, 3_000], strict=True)
    )
    assert [(each.uuid, each.chunk, each.chunks) for each in found] == [
        ("", 0, 1),
        ("", 0, 1),
        ("u1", 0, 2),
        ("u1", 1, 2),
        ("", 0, 1),
    ]
    assert not any(each.silent for each in found)


@pytest.mark.parametrize(("start", "stop"), [(1, 3), (0, 1), (2, 2), (4, None), (3, 5)])
def test_a_stretch_of_entries(stored, start, stop):
    connection, partition, places = stored
    places = [*places, places[-1].next_entry()]
    found = stored_entries(connection, partition, places[start], None if stop is None else places[stop])
    assert [each.position for each in found] == places[start : 5 if stop is None else stop]


def test_behind_the_last_entry_there_is_none(stored):
    connection, partition, places = stored
    assert stored_entries(connection, partition, places[-1].next_entry()) == []
    assert stored_entries(connection, partition, Position(places[-1].ledger + 9, 0)) == []


def test_across_the_end_of_a_ledger(broker, stored):
    connection, partition, places = stored
    broker.admin.unload(partition.name)
    (sent,) = send_raw(broker.service_url, partition.topic, [Message(b"y")])
    assert sent.position.ledger > places[-1].ledger
    found = stored_entries(connection, partition, places[-1].next_entry(), sent.position.next_entry())
    assert [each.position for each in found] == [sent.position]


MARKER = Message(b"", marker=True)


@pytest.mark.parametrize("kinds", ["mm", "mamam", "amBm"], ids=str)
def test_what_the_broker_gives_out_to_nobody_is_not_waited_for(broker, topic, kinds):
    partition, connection = TopicPartition(topic()), PulsarConnection(broker.service_url)
    sent = [
        send_raw(broker.service_url, partition.name, [MARKER if kind == "m" else Message(b"x")] * size, batch=size > 1)
        for kind, size in zip(kinds, [3 if kind == "B" else 1 for kind in kinds], strict=True)
    ]
    places = [group[0].position for group in sent]
    given = [place for place, kind in zip(places, kinds, strict=True) if kind != "m"]
    for place in places:
        found = stored_entries(connection, partition, place)
        assert [each.position for each in found] == [each for each in given if each >= place]
        found = stored_entries(connection, partition, places[0], place.next_entry())
        assert [each.position for each in found] == [each for each in given if each <= place]
    assert first_entry(connection, partition) == (given or places)[0]


@pytest.mark.parametrize("asked", [False, True])
def test_a_topic_that_moves_while_it_is_read_is_to_be_asked_again(broker, stored, asked):
    connection, partition, places = stored
    start = {9: encode({1: places[-1].ledger, 2: places[-1].entry})}
    with pytest.raises(NotReadyError), subscribed(connection, partition, start) as held:
        held.look()
        broker.admin.unload(partition.name)
        if asked:
            held._broker.request(wire.Kind.GET_LAST_MESSAGE_ID, {1: 1, 2: 3})  # takes what says that it is closed
            held._broker.request(wire.Kind.GET_LAST_MESSAGE_ID, {1: 1, 2: 4})
        held.next()
