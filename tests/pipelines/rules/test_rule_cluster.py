"""``tdmq-backup rule`` with a real cluster and a bucket: what is checked, shown, and left alone."""

from __future__ import annotations

import json

import pulsar
import pytest

from pipelines.rules.store import RuleStore
from tests.pipelines.backups import SECRETS
from tests.pipelines.producing import numbered, send
from tests.pipelines.rules.asking import Said, ask, options
from tests.pipelines.rules.ruled import run_rule
from tests.pipelines.rules.serving import rule_for
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.subscriptions import SubscriptionState, subscription_state


@pytest.fixture(autouse=True)
def own_store(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDMQ_BACKUP_STORE", sqlite_url)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def made(broker, topic, bucket, client):
    """A topic with messages, and the options of a rule that stores it."""
    name = topic()
    send(client, name, numbered(7))
    given = rule_for(broker, name, bucket, admin_url=broker.admin_url).document()
    fields = {key: str(value) for key, value in given.items() if key not in ("name", "topic")}
    return name, options({**fields, "topic": given["topic"][0]})


def rule(*words: str) -> Said:
    return ask("rule", *words)


def state(broker, topic: str) -> SubscriptionState:
    return subscription_state(PulsarConnection(broker.service_url), TopicPartition(topic), "ours")


def test_creating_checks_shows_a_sample_and_leaves_nothing_behind(broker, bucket, made) -> None:
    name, words = made
    said = rule("create", "orders", *words, "--schedule=every 15m")
    assert said.code == 0, said.errors
    assert "The first message, as it would be written:" in said.output
    assert '"payload": ' in said.output
    assert "Files and bytes in a day: not known (the messages that are there came within a minute)." in said.output
    assert said.output.splitlines()[-1].startswith("Rule orders is created. Its next turn is ")
    assert bucket.everything() == []
    assert state(broker, name) is SubscriptionState.MISSING


def test_a_rule_that_could_not_run_is_not_created(bucket, made, sqlite_url: str) -> None:
    _, words = made
    said = rule("create", "orders", *words, "--topic=not-there")
    assert said.code == 4
    assert "no such topic" in said.errors
    assert "--topic" not in said.errors
    bucket.server.stop()
    said = rule("create", "orders", *words, "--retry-deadline=1s")
    assert said.code == 5
    store = RuleStore(sqlite_url)
    assert store.all() == []
    store.close()


def test_an_edit_is_checked_and_tells_where_the_next_run_goes_on(broker, made, sqlite_url: str) -> None:
    _, words = made
    assert rule("create", "orders", *words).code == 0
    store = RuleStore(sqlite_url)
    record, _ = run_rule(store)
    assert record.messages == 7
    reached = store.positions(record.rule_id)
    said = rule("edit", "orders", "--topic=not-there")
    assert said.code == 4
    assert store.get("orders").revision == 1
    said = rule("edit", "orders", "--start-point=latest", "--json")
    found = json.loads(said.output)
    (effect, goes_on) = found["effects"]
    assert effect.startswith("The start point is of the first run only")
    assert goes_on == "The next run goes on where the last one ended."
    assert found["plan"]["partitions"][0]["start"] == next(iter(reached.values())).upto
    said = rule("edit", "orders", "--forget-positions", "--start-point=earliest")
    assert said.code == 0, said.errors
    assert "The next run begins at the start point, earliest." in said.output
    assert store.positions(record.rule_id) == {}
    store.close()


def test_check_gives_the_exit_code_of_the_worst_and_what_each_rule_would_do(made) -> None:
    _, words = made
    assert rule("create", "orders", *words).code == 0
    assert rule("create", "gone", "--no-check", *words, "--topic=not-there").code == 0
    said = rule("check", "--all", "--json")
    assert said.code == 4
    gone, orders = json.loads(said.output)
    assert (gone["name"], gone["exit_code"], orders["name"], orders["exit_code"]) == ("gone", 4, "orders", 0)
    assert "no such topic" in gone["error"]
    assert orders["plan"]["partitions"][0]["entries"] > 0
    assert rule("check", "orders").output.startswith("orders: all is well.")


def test_deleting_unsubscribes_where_asked_unless_another_consumer_is_there(
    broker, made, client: pulsar.Client, sqlite_url: str
) -> None:
    name, words = made
    assert rule("create", "orders", *words).code == 0
    store = RuleStore(sqlite_url)
    run_rule(store)
    store.close()
    assert state(broker, name) is SubscriptionState.THERE
    consumer = client.subscribe(name, "ours", pulsar.ConsumerType.Shared)
    said = rule("delete", "orders", "--yes", "--unsubscribe")
    assert said.code == 4
    assert "The rule is deleted, and there its subscription ours is not" in said.errors
    consumer.close()
    assert state(broker, name) is SubscriptionState.THERE
    assert rule("create", "orders", *words).code == 0
    said = rule("delete", "orders", "--yes", "--unsubscribe")
    assert said.code == 0, said.errors
    assert f"{name}: subscription ours is deleted." in said.output
    assert state(broker, name) is SubscriptionState.MISSING
