from __future__ import annotations

import itertools
import time
import uuid
from typing import Any

import pytest

from tests.pipelines.backups import arguments, backup, refused, run_job
from tests.pipelines.producing import acknowledge, connected, numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in, positions
from transforms.files.manifest import RunRecord, from_json
from transforms.pulsar.client import connect, disconnect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.feed import PartitionFeed
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.message_columns import joined
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.portion import Portion
from transforms.pulsar.positions import EARLIEST, Position
from transforms.pulsar.read_metrics import ReadMetrics
from transforms.testing.pulsar_standalone import PulsarStandalone

NAMESPACE = "test/trimming"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def trimming():
    """A broker with a ledger for every ten entries, which deletes what nothing keeps; and a client of it."""
    with PulsarStandalone(fast_trimming=True) as broker:
        broker.admin.create_tenant("test")
        broker.admin.create_namespace(NAMESPACE, retention_minutes=0, retention_megabytes=0)
        client = connected(broker.service_url)
        yield broker, client
        client.close()


@pytest.fixture
def trimmed(trimming) -> tuple[str, list[Position], list[Position]]:
    """A topic; what was deleted of it, and what came later."""
    broker, client = trimming
    name = f"persistent://{NAMESPACE}/topic-{next(_numbers)}-{uuid.uuid4().hex[:6]}"
    gone = send(client, name, numbered(25, "gone"))
    broker.admin.delete_old_ledgers(name)
    return name, gone, send(client, name, numbered(5, "there"))


def test_a_start_that_is_gone_is_an_error_that_names_the_first_message_there(trimming, trimmed, bucket):
    broker, _ = trimming
    name, gone, there = trimmed
    run = refused(broker, name, bucket, f"--start={gone[3]}")
    assert run.code == 4
    assert f"messages from {gone[3]} on have been deleted" in run.errors
    assert str(there[0]) in run.errors
    assert "--on_trimmed=continue" in run.errors
    assert bucket.everything() == []


def test_on_trimmed_continue_goes_on_and_reports_the_gap(trimming, trimmed, bucket):
    broker, _ = trimming
    name, gone, there = trimmed
    run = backup(broker, name, bucket, f"--start={gone[3]}", "--on_trimmed=continue")
    assert_holds(messages_in(bucket), {name: there})
    assert run.partition(name)["gaps"] == [{"start": str(gone[3]), "stop": str(there[0]), "certain": True}]
    assert any(f"messages from {gone[3]} on have been deleted" in warning for warning in run.summary["warnings"])


def test_the_first_message_that_is_there_is_a_start_without_a_gap(trimming, trimmed, bucket):
    broker, _ = trimming
    name, _, there = trimmed
    run = backup(broker, name, bucket, f"--start={there[0]}")
    assert_holds(messages_in(bucket), {name: there})
    assert run.partition(name)["gaps"] == []


def test_earliest_is_the_first_message_that_is_there(trimming, trimmed, bucket):
    broker, _ = trimming
    name, _, there = trimmed
    run = backup(broker, name, bucket)
    assert_holds(messages_in(bucket), {name: there})
    assert run.partition(name)["gaps"] == []


def test_a_topic_that_was_deleted_whole_is_an_error_for_an_id_and_empty_for_earliest(trimming, bucket):
    broker, client = trimming
    name = f"persistent://{NAMESPACE}/whole-{uuid.uuid4().hex[:6]}"
    gone = send(client, name, numbered(15))
    broker.admin.delete_old_ledgers(name)
    run = refused(broker, name, bucket, f"--start={gone[3]}")
    assert run.code == 4
    assert "it holds none any more" in run.errors
    assert backup(broker, name, bucket).summary["messages"] == 0
    run = backup(broker, name, bucket, f"--start={gone[3]}", "--on_trimmed=continue")
    (gap,) = run.partition(name)["gaps"]
    # The gap is all that there is to be said of it.
    (key,) = bucket.everything()
    record = from_json(RunRecord, bucket.read(key), key)
    assert (record.read, record.files) == ((), 0)
    assert [(str(each.start), str(each.stop)) for each in record.gaps] == [(gap["start"], gap["stop"])]


def test_a_start_in_the_middle_of_a_ledger_that_is_there_is_exact(trimming, trimmed, bucket):
    broker, _ = trimming
    name, _, there = trimmed
    backup(broker, name, bucket, f"--start={there[2]}")
    assert_holds(messages_in(bucket), {name: there[2:]})


def test_a_subscription_protects_what_is_not_yet_stored(trimming, bucket):
    broker, client = trimming
    name = f"persistent://{NAMESPACE}/protected-{uuid.uuid4().hex[:6]}"
    options = ["--subscription=keeper", "--start=subscription"]
    acknowledge(client, name, "keeper", None)
    places = send(client, name, numbered(25))
    broker.admin.unload(name)
    places += send(client, name, numbered(25))
    with pytest.raises(TimeoutError):
        broker.admin.delete_old_ledgers(name, timeout=1)
    backup(broker, name, bucket, *options)
    assert_holds(messages_in(bucket), {name: places})
    # Stored, hence acknowledged, hence let go.
    broker.admin.delete_old_ledgers(name)
    more = send(client, name, numbered(5))
    backup(broker, name, bucket, *options)
    assert_holds(messages_in(bucket), {name: places + more})


def test_a_warning_says_that_nothing_protects_a_run_without_a_subscription(trimming, trimmed, bucket):
    broker, _ = trimming
    name, *_ = trimmed
    run = backup(broker, name, bucket)
    assert any("no --subscription" in warning for warning in run.summary["warnings"])
    assert "no --subscription" in run.errors


@pytest.fixture(params=["to the end", "in the middle"])
def trimmed_while_read(trimming, monkeypatch, request) -> tuple[str, list[Position]]:
    """A topic of more than is read ahead; what is not yet read is deleted once the first of it has been."""
    broker, client = trimming
    name = f"persistent://{NAMESPACE}/shrinking-{uuid.uuid4().hex[:6]}"
    acknowledge(client, name, "holding", None)
    sent = send(client, name, [number.to_bytes(2, "big") * 50_000 for number in range(305)])
    count, ledgers = ReadMetrics.read, []

    def deleting(self: ReadMetrics, *arguments: Any) -> None:
        if not ledgers:
            ledgers.extend(broker.admin.ledgers(name))
            if request.param == "to the end":
                broker.admin.delete_subscription(name, "holding")
                broker.admin.delete_old_ledgers(name)
            else:
                acknowledge(client, name, "holding", sent[-21])
                while broker.admin.ledgers(name)[0] <= sent[-40].ledger:
                    time.sleep(0.1)
        count(self, *arguments)

    monkeypatch.setattr(ReadMetrics, "read", deleting)
    return name, sent


@pytest.mark.parametrize(("admin", "accepted"), [(True, True), (False, False)])
def test_what_is_deleted_while_it_is_read_is_a_gap(trimming, trimmed_while_read, bucket, admin, accepted):
    broker, _ = trimming
    name, sent = trimmed_while_read
    options = ["--memory_budget=64MB", *(["--on_trimmed=continue"] if accepted else [])]
    if admin:
        options.append(f"--admin_url={broker.admin_url}")
    run = run_job(arguments(broker, name, bucket, options))
    assert run.code == (0 if accepted else 4)
    stored = set(positions(messages_in(bucket)[name]))
    missing = [place for place in sent if place not in stored]
    start = sent[sent.index(missing[0]) - 1].next_entry()
    stop = [*sent, sent[-1].next_entry()][sent.index(missing[-1]) + 1]
    gaps = run.partition(name)["gaps"]
    # Without admin access something may have been behind what was read of each ledger that has gone meanwhile.
    assert str(start) in {gap["start"] for gap in gaps}
    assert str(stop) in {gap["stop"] for gap in gaps}
    if admin:
        assert all(gap["certain"] for gap in gaps)
    if not accepted:
        assert f"been deleted by the broker before they were read, from {start} to " in run.errors
        assert "--on_trimmed=continue" in run.errors


@pytest.mark.parametrize("to_its_end", [True, False])
def test_a_ledger_that_a_stream_has_read_to_its_end_is_no_gap(trimming, to_its_end):
    broker, client = trimming
    name = f"persistent://{NAMESPACE}/idle-{uuid.uuid4().hex[:6]}"
    acknowledge(client, name, "keeper", None)
    sent = send(client, name, numbered(20))  # two ledgers, both full
    connection = PulsarConnection(service_url=broker.service_url)
    feed = PartitionFeed(connect(connection), TopicPartition.parse(name), EARLIEST)
    try:
        assert len(taken(feed, 20).messages) == 20
        if to_its_end:
            time.sleep(3)  # as long as a stream waits at least before it seals, stores and acknowledges
        else:
            feed.close()
        acknowledge(client, name, "keeper", sent[-1])
        while set(broker.admin.ledgers(name)) & {place.ledger for place in sent}:
            time.sleep(0.1)
        (more,) = send(client, name, [b"more"])
        if not to_its_end:
            feed = PartitionFeed(connect(connection), TopicPartition.parse(name), sent[-1].next_entry())
        found = taken(feed, 1)
        assert found.position(0) == more
        expected = [] if to_its_end else [Gap(TopicPartition.parse(name), sent[-1].next_entry(), more, certain=False)]
        assert found.gaps == expected
    finally:
        feed.close()
        disconnect(connection)


def taken(feed: PartitionFeed, count: int) -> Portion:
    """The next messages, and the gaps before them."""
    found = Portion()
    deadline = time.monotonic() + 60
    while len(found.messages) < count:
        assert time.monotonic() < deadline
        portion = feed.take(1)
        if portion is not None:
            found.columns = joined([found.columns, portion.columns])
            found.gaps += portion.gaps
    return found
