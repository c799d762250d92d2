"""Streams whose broker dies, moves their topics or refuses their token: every message in exactly one object."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from pipelines.cluster import ends_of
from pipelines.watching import Health
from tests.pipelines.backups import arguments
from tests.pipelines.producing import connected
from tests.pipelines.streams import GRANULARITY, Stream
from tests.torture.ordeal import OPTIONS, Backlog, Ordeal, asked
from tests.torture.stream_ordeal import completes, goes_on, production
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.messages import TopicPartition
from transforms.testing.pulsar_standalone import PulsarStandalone

PARTITIONS = 3
NAMESPACE = "test/broker-faults"
_VALID_SECONDS = 60
_numbers = itertools.count(1)


@pytest.fixture
def new_ordeal(bucket, torture, tmp_path, request) -> Callable[..., Ordeal]:
    """Makes a topic with a backlog on a broker."""

    def make(broker: PulsarStandalone, token: str | None = None) -> Ordeal:
        client = connected(broker.service_url, token)
        request.addfinalizer(client.close)
        topic = f"persistent://{NAMESPACE}/topic-{next(_numbers)}"
        broker.admin.create_partitioned_topic(topic, PARTITIONS)
        backlog = Backlog(client, topic, PARTITIONS, torture.random)
        backlog.grow(large=20)
        return Ordeal(broker, bucket, backlog, tmp_path, granularity=GRANULARITY)

    return make


@pytest.fixture(scope="module")
def own_broker() -> Iterator[PulsarStandalone]:
    """A broker that may be killed."""
    with PulsarStandalone() as server:
        server.admin.create_tenant("test")
        server.admin.create_namespace(NAMESPACE)
        yield server


def test_a_stream_whose_broker_is_killed_and_whose_topics_move_stores_every_message_once(
    own_broker, new_ordeal, new_stream, bucket, torture, caplog
):
    ordeal = new_ordeal(own_broker)
    topics = list(ordeal.backlog.sent)
    stream = new_stream(arguments(own_broker, ordeal.backlog.topic, bucket, OPTIONS))
    stream.start("--parallelism=3")
    for number in range(torture.count(1, 3)):
        with production(ordeal, small=60):
            goes_on(stream, ordeal)
            asked(lambda: own_broker.admin.unload(torture.random.choice(topics), at_once=True))
            goes_on(stream, ordeal)
            asked(lambda: own_broker.admin.request("PUT", f"namespaces/{NAMESPACE}/unload"))
            goes_on(stream, ordeal)
        own_broker.kill()
        if number == 0:
            assert_is_told(stream, ordeal, caplog)
        own_broker.start()
        ordeal.look()
        torture.say(f"{number + 1} restarts, {ordeal.objects()} objects")
    completes(stream, ordeal)
    assert " failed, and Flink starts it again" not in stream.log
    torture.say(f"{ordeal.backlog.count:,} messages in {ordeal.objects():,} objects: whole")


def assert_is_told(stream: Stream, ordeal: Ordeal, caplog) -> None:
    """While the broker is away, the launcher says that nothing is read, and why."""
    partitions = [TopicPartition.parse(each) for each in ordeal.backlog.sent]
    connection = PulsarConnection(service_url=ordeal.broker.service_url)
    health = Health(stream.flink, partial(ends_of, connection, partitions), patience=5)
    with caplog.at_level(logging.WARNING, "pipelines.backup"):
        stream.until(lambda: health.look(stream.job) or "the broker cannot be asked" in caplog.text, timeout=60)
    assert f"Flink job {stream.job.id}: nothing was read for " in caplog.text
    assert "Nothing listens at" in caplog.text


def test_a_token_that_expires_under_a_stream_may_be_replaced_in_its_file(
    new_ordeal, new_stream, bucket, torture, tmp_path
):
    with PulsarStandalone(authentication=True, configuration={"authenticationRefreshCheckSeconds": "1"}) as broker:
        broker.admin.create_tenant("test")
        broker.admin.create_namespace(NAMESPACE)
        broker.admin.grant(NAMESPACE, "reader", ["consume"])
        ordeal = new_ordeal(broker, broker.token("admin"))
        key = tmp_path / "key"
        key.write_text(broker.token("reader", _VALID_SECONDS))
        expires = time.time() + _VALID_SECONDS
        options = [*OPTIONS, f"--token=file:{key}"]
        stream = new_stream(arguments(broker, ordeal.backlog.topic, bucket, options))
        stream.start()
        goes_on(stream, ordeal)
        for _ in range(torture.count(1, 2)):
            while time.time() < expires + 5:
                ordeal.backlog.grow(small=60, large=20)
                time.sleep(0.5)
            ordeal.look()
            missing = ordeal.missing()
            valid = torture.random.randint(20, 40)
            key.with_suffix(".new").write_text(broker.token("reader", valid))
            key.with_suffix(".new").replace(key)
            expires = time.time() + valid
            torture.say(f"replaced; {missing} messages were not stored by then")
            goes_on(stream, ordeal)
        key.write_text(broker.token("reader"))
        completes(stream, ordeal)
        assert " failed, and Flink starts it again" not in stream.log
        stream.cancel()
