"""Messages that tests know by id: who sends them remembers what the broker answered."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pulsar

from transforms.pulsar.positions import Position


def place(message_id: Any) -> Position:
    """The position that the client's message id names."""
    return Position(message_id.ledger_id(), message_id.entry_id(), max(message_id.batch_index(), 0))


def send(client: pulsar.Client, topic: str, payloads: Iterable[bytes], *, batch: int = 1) -> list[Position]:
    """Send to one partition, ``batch`` messages in a producer batch (1: outside any). Gives ids in order of sending."""
    places: list[Position] = []

    def sent(result: pulsar.Result, message_id: Any) -> None:
        assert result == pulsar.Result.Ok
        places.append(place(message_id))

    producer = client.create_producer(
        topic,
        batching_enabled=batch > 1,
        batching_max_messages=max(batch, 2),
        batching_max_publish_delay_ms=60_000,
        block_if_queue_full=True,
        max_pending_messages=max(1_000, 2 * batch),
    )
    count = 0
    for payload in payloads:
        producer.send_async(payload, sent)
        count += 1
    producer.flush()
    producer.close()
    assert len(places) == count
    return places


def numbered(count: int, mark: str = "message") -> list[bytes]:
    """Payloads that can be told apart."""
    return [f"{mark} {number}".encode() for number in range(count)]


def publish_times(client: pulsar.Client, topic: str) -> dict[Position, int]:
    """When each message of a partition was published, by the broker's client alone; in order."""
    reader = client.create_reader(topic, pulsar.MessageId.earliest)
    times = {}
    while reader.has_message_available():
        message = reader.read_next(10_000)
        times[place(message.message_id())] = message.publish_timestamp()
    reader.close()
    return times


def acknowledge(client: pulsar.Client, topic: str, subscription: str, upto: Position | None) -> None:
    """Make a subscription of one partition that has acknowledged all up to a message (None: nothing)."""
    consumer = client.subscribe(topic, subscription, initial_position=pulsar.InitialPosition.Earliest)
    if upto is not None:
        while place((message := consumer.receive(10_000)).message_id()) < upto:
            pass
        consumer.acknowledge_cumulative(message)
    consumer.close()


def connected(service_url: str, token: str | None = None) -> pulsar.Client:
    """A client that says little."""
    authentication = None if token is None else pulsar.AuthenticationToken(token)
    # Not a logger of Python's, which the client's threads would touch while the interpreter ends.
    return pulsar.Client(service_url, authentication, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))


@contextmanager
def sending(service_url: str, topics: Sequence[str], *, batch: int = 10) -> Iterator[dict[str, list[Position]]]:
    """Keep sending to partitions in turn while the body runs.

    Gives what was sent, complete when the body has ended. To each partition at least one batch goes before the body
    begins, and one after it has ended.
    """
    client = connected(service_url)
    sent: dict[str, list[Position]] = {name: [] for name in topics}
    ended, begun = threading.Event(), threading.Event()
    producers = {
        name: client.create_producer(name, batching_enabled=True, batching_max_publish_delay_ms=60_000)
        for name in topics
    }

    def receipt(name: str, result: pulsar.Result, message_id: Any) -> None:
        assert result == pulsar.Result.Ok
        sent[name].append(place(message_id))

    def send_batches() -> None:
        for name, producer in producers.items():
            for number in range(batch):
                producer.send_async(b"%d" % number, lambda *outcome, name=name: receipt(name, *outcome))
            producer.flush()

    def send_on() -> None:
        while not ended.is_set():
            send_batches()
            begun.set()

    thread = threading.Thread(target=send_on, name="sending")
    thread.start()
    try:
        assert begun.wait(30)
        yield sent
    finally:
        ended.set()
        thread.join()
        send_batches()
        client.close()
