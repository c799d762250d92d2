"""Two attempts of a restore that come one after the other under one name, where the broker does not deduplicate."""

from __future__ import annotations

from functools import partial

import pytest

from tests.pipelines.test_restore_reached import ours
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.entries import stored_entries
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.outgoing import OutgoingMessage
from transforms.pulsar.positions import EARLIEST, Position
from transforms.pulsar.producing import Entry, OvertakenError, PartitionProducer
from transforms.restore.reached import reached_of


def entry(number: int) -> Entry:
    message = OutgoingMessage(b"x", properties=dict(ours(number).properties))
    return Entry(number, [message], Position(7, number), message.size)


def test_an_attempt_whose_place_another_has_taken_sends_nothing_again(broker, topic):
    target = TopicPartition(topic(partitions=1), 0)
    connection = PulsarConnection(broker.service_url)

    def attempt() -> PartitionProducer:
        return PartitionProducer(
            connection, target, "one-name", look=partial(reached_of, connection, target, "ours", "a"), retry_seconds=20
        )

    first = attempt()
    first.send(entry(1))
    first.flush()
    # Nothing is pending when the broker closes it; another one comes, and goes to the end.
    broker.admin.unload(target.name)
    second = attempt()
    assert second.reached == Position(7, 1)
    for number in (2, 3, 4):
        second.send(entry(number))
    second.flush()
    second.close()
    with pytest.raises(OvertakenError, match="another attempt of the same restore has gone on meanwhile"):
        for number in (2, 3, 4):
            first.send(entry(number))
            first.flush()
    first.close()
    assert len(list(stored_entries(connection, target, EARLIEST))) == 4
    # One that comes behind finds all of it, and its own connections break off without harm.
    third = attempt()
    assert (third.reached, third.deduplicates()) == (Position(7, 4), False)
    third.send(entry(5))
    broker.admin.unload(target.name)
    third.send(entry(6))
    third.flush()
    assert third.deduplicates() is False
    third.close()
    assert len(list(stored_entries(connection, target, EARLIEST))) == 6
