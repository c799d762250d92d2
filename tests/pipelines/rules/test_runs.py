from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.rules.errors import RuleBusyError
from pipelines.rules.records import RunState, Trigger
from pipelines.rules.store import RuleStore
from tests.pipelines.documents import manifests, run_records
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in
from tests.pipelines.rules.ruled import command, new_rule, run_rule, said
from transforms.testing.cos_faults import ALWAYS
from transforms.testing.pulsar_admin import topic_path


@pytest.fixture
def store(data_folder: Path) -> Iterator[RuleStore]:
    """This user's own."""
    opened = RuleStore()
    yield opened
    opened.close()


def drop_ledger(broker, name, ledger) -> None:
    """Let the broker delete a ledger that nothing keeps."""
    deadline = time.monotonic() + 30
    while ledger in broker.admin.ledgers(name):
        assert time.monotonic() < deadline, f"ledger {ledger} is kept"
        broker.admin.request("POST", f"{topic_path(name)}/trim")


def backlog(broker, partition) -> int:
    return broker.admin.stats(partition)["subscriptions"]["backup"]["msgBacklog"]


def test_a_run_goes_on_where_the_last_one_ended(broker, client, topic, bucket, store):
    name = topic(partitions=2)
    partitions = [f"{name}-partition-{index}" for index in range(2)]
    rule = new_rule(store, broker, name, bucket)
    sent = {each: send(client, each, numbered(35), batch=10) for each in partitions}
    first, _ = run_rule(store)
    more = {each: send(client, each, numbered(12), batch=10) for each in partitions}
    second, _ = run_rule(store)
    assert (first.state, first.messages, second.state, second.messages) == ("succeeded", 70, "succeeded", 24)
    assert_holds(messages_in(bucket), {each: sent[each] + more[each] for each in partitions})
    for each in partitions:
        assert second.partitions[each].start == first.partitions[each].stop
        assert store.positions(store.get(rule.name).id)[each].upto == second.partitions[each].stop
        assert backlog(broker, each) == 0


def test_positions_count_and_not_where_somebody_has_put_the_subscription(broker, client, topic, bucket, store):
    name = topic()
    new_rule(store, broker, name, bucket)
    places = send(client, name, numbered(20), batch=5)
    run_rule(store)
    places += send(client, name, numbered(20), batch=5)
    consumer = client.subscribe(name, "backup")
    for _ in range(20):
        consumer.acknowledge(consumer.receive(10_000))
    consumer.close()
    run, _ = run_rule(store)
    assert (run.messages, run.state) == (20, "succeeded")
    assert_holds(messages_in(bucket), {name: places})


def test_partitions_that_are_added_are_read_from_their_beginning(broker, client, topic, bucket, store):
    name = topic(partitions=1)
    new_rule(store, broker, name, bucket, start_point="latest")
    send(client, f"{name}-partition-0", numbered(10))
    run_rule(store)
    broker.admin.add_partitions(name, 2)
    sent = {f"{name}-partition-{index}": send(client, f"{name}-partition-{index}", numbered(5)) for index in range(2)}
    run, _ = run_rule(store)
    assert run.messages == 10
    assert_holds(messages_in(bucket), sent)
    # The first run had nothing to read.
    assert {(each.run, each.rule) for each in (*manifests(bucket), *run_records(bucket))} == {(run.id, "orders")}


def test_what_comes_to_an_empty_topic_behind_a_first_run_from_latest_is_in_the_second(
    broker, client, topic, bucket, store
):
    name = topic(partitions=1)
    new_rule(store, broker, name, bucket, start_point="latest")
    assert run_rule(store)[0].messages == 0
    places = send(client, f"{name}-partition-0", numbered(7))
    assert run_rule(store)[0].messages == 7
    assert_holds(messages_in(bucket), {f"{name}-partition-0": places})


def test_a_stretch_of_history_moves_neither_positions_nor_the_subscription(broker, client, topic, bucket, store):
    name = topic()
    rule = new_rule(store, broker, name, bucket)
    send(client, name, numbered(20), batch=5)
    run_rule(store)
    send(client, name, numbered(10))
    before = store.positions(store.get(rule.name).id)
    run, _ = run_rule(store, start="earliest", end="now", destination_path="again/")
    assert (run.trigger, run.state, run.messages) == (Trigger.REPROCESS, RunState.SUCCEEDED, 30)
    assert store.positions(store.get(rule.name).id) == before
    assert backlog(broker, name) == 10
    assert run.command == "tdmq-backup run orders --from earliest --to now --destination-path again/"
    assert run_rule(store)[0].messages == 10


def test_a_run_that_is_repeated_reads_the_same_and_writes_nothing_twice(broker, client, topic, bucket, store):
    name = topic(partitions=2)
    new_rule(store, broker, name, bucket)
    partitions = [f"{name}-partition-{index}" for index in range(2)]
    sent = {each: send(client, each, numbered(20), batch=5) for each in partitions[:1]}
    first, _ = run_rule(store)
    send(client, partitions[0], numbered(10), batch=5)
    send(client, partitions[1], numbered(10), batch=5)
    run, _ = run_rule(store, repeat=first.id)
    assert (run.state, run.messages, run.files, run.already_stored) == ("succeeded", 20, 0, 20)
    assert_holds(messages_in(bucket), sent)


def test_a_subscription_that_was_deleted_is_told_and_created_again_only_if_asked(broker, client, topic, bucket, store):
    name = topic()
    new_rule(store, broker, name, bucket)
    places = send(client, name, numbered(20), batch=5)
    run_rule(store)
    broker.admin.delete_subscription(name, "backup")
    places += send(client, name, numbered(10), batch=5)
    run, errors = run_rule(store)
    assert (run.state, run.exit_code, store.get("orders").trouble_code) == ("failed", 4, 4)
    assert run.error is not None
    assert run.error.startswith(f"{name}: the subscription backup is gone; somebody has deleted it, or it has expired.")
    assert "Run once with --recreate-subscription" in errors
    run, errors = run_rule(store, recreate_subscription=True)
    assert (run.state, run.messages) == ("succeeded", 10), errors
    assert store.get("orders").trouble is None
    assert_holds(messages_in(bucket), {name: places})


def test_a_topic_that_was_deleted_and_created_again_is_told(broker, client, topic, bucket, store):
    name = topic()
    new_rule(store, broker, name, bucket)
    for _ in range(3):
        send(client, name, numbered(5))
    run_rule(store)
    rule_id = store.get("orders").id
    positions = store.positions(rule_id)
    broker.admin.delete_topic(name)
    run, _ = run_rule(store)
    assert (run.state, run.exit_code) == ("failed", 4)
    assert "no such topic" in (run.error or "")
    assert store.positions(rule_id) == positions
    broker.admin.create_topic(name)
    broker.admin.create_subscription(name, "backup")
    places = send(client, name, numbered(3))
    run, _ = run_rule(store)
    # A ledger that is gone, with a subscription that kept what was not stored: all that is there is read.
    assert (run.state, run.messages) == ("succeeded", 3), run.error
    assert_holds({name: messages_in(bucket)[name][-3:]}, {name: places})


@pytest.mark.parametrize("with_admin", [True, False])
def test_a_ledger_that_was_stored_and_deleted_is_no_gap(broker, client, topic, bucket, store, with_admin):
    name = topic()
    namespace = name.removeprefix("persistent://").rpartition("/")[0]
    broker.admin.set_retention(namespace, minutes=0, megabytes=0)
    new_rule(store, broker, name, bucket, **({"admin_url": broker.admin_url} if with_admin else {}))
    places = send(client, name, numbered(20), batch=5)
    run_rule(store)
    broker.admin.unload(name)
    places += send(client, name, numbered(10), batch=5)
    drop_ledger(broker, name, places[0].ledger)
    run, _ = run_rule(store)
    assert (run.state, run.messages, run.gaps) == ("succeeded", 10, 0), run.error
    assert any("the ledger in which the last run ended is gone" in each for each in run.warnings) is not with_admin
    assert_holds(messages_in(bucket), {name: places})


def test_what_was_deleted_between_two_runs_is_a_gap(broker, client, topic, bucket, store):
    name = topic()
    namespace = name.removeprefix("persistent://").rpartition("/")[0]
    broker.admin.set_retention(namespace, minutes=0, megabytes=0)
    new_rule(store, broker, name, bucket, admin_url=broker.admin_url)
    (first, *_) = send(client, name, numbered(20), batch=5)
    run_rule(store)
    send(client, name, numbered(10), batch=5)
    broker.admin.unload(name)
    send(client, name, numbered(5))
    # Whoever moves the subscription lets the broker delete what is not stored.
    consumer = client.subscribe(name, "backup")
    for _ in range(13):
        consumer.acknowledge(consumer.receive(10_000))
    consumer.close()
    drop_ledger(broker, name, first.ledger)
    run, _ = run_rule(store)
    assert (run.state, run.exit_code) == ("failed", 4)
    assert "have been deleted by the broker; the first one still there is" in (run.error or "")
    assert "on_trimmed=continue" in (run.error or "")
    found = store.get("orders")
    store.edit(found.rule.model_copy(update={"on_trimmed": "continue"}), found.revision)
    run, _ = run_rule(store)
    assert (run.state, run.gaps, run.messages) == ("succeeded", 1, 5), run.error


def test_a_subscription_that_stood_before_the_start_stays_also_behind_further_runs(
    broker, client, topic, bucket, store
):
    name = topic()
    send(client, name, numbered(5))
    broker.admin.create_subscription(name, "backup")
    places = send(client, name, numbered(5))
    new_rule(store, broker, name, bucket, start_point=str(places[0]))
    for count in (5, 3):
        run, _ = run_rule(store)
        assert (run.state, run.messages) == ("succeeded", count), run.error
        assert backlog(broker, name) == (10 if count == 5 else 13)
        places += send(client, name, numbered(3))
    assert backlog(broker, name) == 16


def test_a_failed_run_is_kept_with_cause_and_traceback_and_the_next_one_completes_it(
    broker, client, topic, bucket, new_bucket, store
):
    name = topic()
    new_rule(store, broker, name, bucket, retry_deadline="1s")
    places = send(client, name, numbered(20), batch=5)
    bucket.server.stop()
    run, errors = run_rule(store)
    assert (run.state, run.exit_code) == ("failed", 5)
    assert run.error is not None and run.error in errors
    with open(run.log_file or "") as log:
        text = log.read()
    assert "Traceback (most recent call last)" in text
    assert "Traceback" not in errors
    assert store.get("orders").trouble == run.error
    repaired = new_bucket()
    found = store.get("orders")
    store.edit(found.rule.model_copy(update={"cos_endpoint": repaired.server.endpoint}), found.revision)
    run, _ = run_rule(store)
    assert (run.state, run.messages, store.get("orders").trouble) == ("succeeded", 20, None), run.error
    assert_holds(messages_in(repaired), {name: places})


def test_a_run_that_fails_on_its_way_tells_how_far_it_came(broker, client, topic, bucket, store):
    name = topic()
    new_rule(store, broker, name, bucket, retry_deadline="2s", max_file_messages="10")
    send(client, name, numbered(400), batch=10)
    bucket.server.faults.add("503", operation="PutObject", key="*.avro", nth=12, times=ALWAYS)
    run, _ = run_rule(store)
    assert (run.state, run.exit_code) == ("failed", 5)
    assert run.files > 0
    assert run.retries > 0
    assert run.partitions[name].stop


def test_a_run_that_is_stopped_says_where_it_stands_and_the_next_completes_it(broker, client, topic, bucket, store):
    name = topic()
    new_rule(store, broker, name, bucket, max_file_messages="10")
    places = send(client, name, numbered(400), batch=10)
    stored = bucket.when_stored(12)
    with command("run", "orders") as process:
        assert stored.wait(60)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    (run,) = store.log("orders")
    assert process.returncode in (0, 143), errors
    if process.returncode == 143:
        assert (run.state, run.exit_code) == ("interrupted", 143)
        assert run.error is not None and run.error.startswith("terminated while reading") and run.error in errors
        assert store.get("orders").trouble is None
    run_rule(store)
    assert_holds(messages_in(bucket), {name: places})
    assert backlog(broker, name) == 0


def test_a_run_that_is_killed_is_found_lost_and_the_next_completes_it(
    broker, client, topic, bucket, store, data_folder
):
    name = topic()
    new_rule(store, broker, name, bucket, max_file_messages="10")
    places = send(client, name, numbered(400), batch=10)
    stored = bucket.when_stored(12)
    with command("run", "orders") as process:
        assert stored.wait(60)
        process.kill()
    with pytest.raises(RuleBusyError, match=r"Rule orders is running: .* its lease expires within"):
        run_rule(store)
    # A minute later:
    with sqlite3.connect(data_folder / "rules.sqlite3") as minute:
        minute.execute("UPDATE lease SET expires = '2026-01-01T00:00:00.000000Z'")
    minute.close()
    assert len(store.find_lost()) == 1
    (lost,) = store.log("orders")
    assert lost.state == "lost"
    assert "has not been heard of since" in (lost.error or "")
    assert run_rule(store)[0].state == "succeeded"
    assert_holds(messages_in(bucket), {name: places})


def test_the_command_shows_result_log_and_one_run(broker, client, topic, folder, store):
    name = topic()
    new_rule(store, broker, name, folder)
    send(client, name, numbered(5))
    code, output, errors = said("run", "orders")
    assert code == 0, errors
    assert "5 messages in" in output
    (run,) = store.log("orders")
    code, output, _ = said("log", "orders")
    assert code == 0
    assert run.id in output and "succeeded" in output
    code, output, _ = said("log", "orders", run.id[:22])
    assert f"tdmq-backup run orders --repeat {run.id}" in output
    assert name.removeprefix("persistent://") in output
    code, output, _ = said("log", "orders", "--json")
    (found,) = json.loads(output)
    assert (found["messages"], found["state"], found["trigger"]) == (5, "succeeded", "manual")
    code, output, _ = said("log", "orders", run.id, "--follow")
    assert (code, output.count("\n")) == (0, 1)
    code, output, errors = said("run", "orders", "--dry-run")
    assert (code, len(store.log("orders"))) == (0, 1), errors
    assert "Nothing was created, written or acknowledged." in output


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["run", "ordres"], 2, "error: There is no rule ordres. Did you mean orders?"),
        (["run", "orders", "--from=x"], 2, "error: --from=x: neither earliest, latest, subscription, nor a date-time"),
        (["run", "orders", "--to=5"], 2, "error: --to=5: epoch times are milliseconds"),
        (["run", "orders", "--from=subscription"], 2, "error: --from=subscription: a stretch of history"),
        (["run", "orders", "--repeat=1"], 2, "error: There is no run 1. tdmq-backup log NAME"),
        (["run", "orders", "--log-level=LOUD"], 2, "error: --log-level=LOUD: choose one of DEBUG, INFO"),
        (["run", "orders", "--destination-path=x"], 2, "error: destination_path=x: is empty, or ends with /"),
        (["log", "ordres"], 2, "error: There is no rule ordres. Did you mean orders?"),
        (["log", "orders", "1"], 2, "error: There is no run 1. tdmq-backup log NAME"),
        (["log", "orders", "--store=mysql://h/d"], 2, "error: --store: not a store. Write sqlite:////FOLDER"),
        (["log", "orders", "--store=postgresql://u:pw@h/d"], 2, "error: --store: a password on a command line is seen"),
        (
            ["run", "orders", "--from=2026-11-22T00:00:00Z", "--to=2026-11-21T00:00:00Z"],
            2,
            "error: --from=2026-11-22T00:00:00Z is not before --to=2026-11-21T00:00:00Z",
        ),
    ],
)  # fmt: skip
def test_wrong_words(words, code, sentence, broker, folder, store):
    new_rule(store, broker, "persistent://public/default/orders", folder)
    got, output, errors = said(*words)
    assert (got, output) == (code, "")
    assert errors.startswith(sentence), errors
    assert "Traceback" not in errors
