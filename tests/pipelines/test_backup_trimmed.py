from __future__ import annotations

import itertools
import uuid

import pytest

from tests.pipelines.backups import backup, refused
from tests.pipelines.producing import acknowledge, connected, numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.pulsar.positions import Position
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
    assert bucket.listed() == []


def test_on_trimmed_continue_goes_on_and_reports_the_gap(trimming, trimmed, bucket):
    broker, _ = trimming
    name, gone, there = trimmed
    run = backup(broker, name, bucket, f"--start={gone[3]}", "--on_trimmed=continue")
    assert_holds(messages_in(bucket), {name: there})
    assert run.partition(name)["gaps"] == [{"start": str(gone[3]), "stop": str(there[0])}]
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
    assert len(run.partition(name)["gaps"]) == 1
    assert bucket.listed() == []


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
