from __future__ import annotations

import json

import pytest

from tests.pipelines.backups import arguments, run_job
from tests.pipelines.producing import numbered, send
from tests.pipelines.refusing_rest import refusing_rest
from transforms.testing.cos_server import TEST_BUCKET
from transforms.testing.raw_producer import Message, send_raw


def subscriptions(broker, name):
    return broker.admin.stats(name)["subscriptions"]


@pytest.mark.parametrize("admin", [False, True])
def test_check_says_what_a_run_would_do_and_does_nothing(broker, client, topic, bucket, capsys, admin):
    name = topic()
    places = send(client, name, numbered(40), batch=10)
    options = ["--check", "--subscription=made", *([f"--admin_url={broker.admin_url}"] if admin else [])]
    run = run_job(arguments(broker, name, bucket, options))
    assert run.code == 0, run.errors
    (part,) = run.summary["partitions"]
    assert run.summary["check"] is True
    assert (part["start"], part["stop"]) == (str(places[0]), str(places[-1].next_entry()))
    assert part["entries"] == 4
    assert part["messages"] == (40 if admin else None)
    assert (part["bytes"] is not None) is admin
    assert part["subscription"] == f"made would be created; moves to {part['stop']}"
    assert run.summary["sample"]["payload"] == "message 0"
    assert run.summary["first_object"].startswith(f"backup/{name.removeprefix('persistent://')}/dt=")
    assert subscriptions(broker, name) == {}
    assert bucket.server.stored_keys(TEST_BUCKET) == []
    printed = capsys.readouterr().out
    assert "made would be created" in printed
    assert "Nothing was created, written or acknowledged." in printed
    assert ("give --admin_url" in printed) is not admin


@pytest.mark.parametrize(("status", "reason"), [(500, "answered 500 'Out of order'"), (404, "does not know the topic")])
def test_check_says_why_what_a_topic_holds_could_not_be_asked(broker, client, topic, bucket, capsys, status, reason):
    name = topic(partitions=3)
    for index in range(2):
        send(client, f"{name}-partition-{index}", numbered(4))
    with refusing_rest(broker.admin_url, "internalStats", status) as admin_url:
        run = run_job(arguments(broker, name, bucket, ["--check", f"--admin_url={admin_url}", "--local_workers=5"]))
    assert run.code == 0, run.errors
    assert run.summary["local_workers"] == 2
    *filled, empty = run.summary["partitions"]
    for part in filled:
        assert (part["entries"], part["messages"], part["bytes"]) == (4, None, None)
        assert reason in part["not_told"]
    assert (empty["entries"], empty["not_told"]) == (0, None)
    assert run.summary["told_by_admin"] is False
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 of 3 partitions hold could not be asked. The first of them: " in printed
    assert "Processes on this machine that would read: 2" in printed
    assert reason in printed
    assert "give --admin_url" not in printed


def test_check_tells_where_a_subscription_stands_and_leaves_it_there(broker, client, topic, folder):
    name = topic()
    places = send(client, name, numbered(4))
    consumer = client.subscribe(name, "mine")
    consumer.close()
    before = broker.admin.internal_stats(name)["cursors"]["mine"]["markDeletePosition"]
    more = send(client, name, numbered(3))
    run = run_job(arguments(broker, name, folder, ["--check", "--subscription=mine", "--start=subscription"]))
    assert run.code == 0, run.errors
    (part,) = run.summary["partitions"]
    assert (part["start"], part["entries"]) == (str(more[0]), 3)
    assert part["subscription"] == f"mine stands at {more[0]}; moves to {more[-1].next_entry()}"
    assert broker.admin.internal_stats(name)["cursors"]["mine"]["markDeletePosition"] == before
    assert list(folder.path.iterdir()) == []
    assert places[-1] < more[0]


def test_check_of_an_empty_topic_has_nothing_to_read(broker, topic, bucket):
    name = topic(partitions=2)
    run = run_job(arguments(broker, name, bucket, ["--check", "--format=jsonl"]))
    assert run.code == 0, run.errors
    assert [part["entries"] for part in run.summary["partitions"]] == [0, 0]
    assert (run.summary["first_object"], run.summary["sample"]) == (None, None)


def test_check_prints_json_for_services(broker, client, topic, bucket, capsys):
    name = topic()
    send(client, name, [b"\xff" * 500])
    assert run_job(arguments(broker, name, bucket, ["--check", "--format=jsonl", "--log_format=json"])).code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["check"] is True
    assert printed["sample"]["payload_base64"].endswith("(668 characters)")


@pytest.mark.parametrize("options", [["--format=avro"], ["--format=jsonl"], ["--window_by=event_time"]])
def test_check_bears_times_beyond_the_year_9999(broker, topic, folder, options):
    name, far = topic(), 10**16
    message = Message(b"payload", publish_time=far, event_time=far)
    sent = send_raw(broker.service_url, name, [Message(b"payload", publish_time=1), message, message])
    run = run_job(arguments(broker, name, folder, ["--check", f"--admin_url={broker.admin_url}", *options]))
    assert run.code == 0, run.errors
    (part,) = run.summary["partitions"]
    assert (part["first_published"], part["last_published"]) == ("1970-01-01T00:00:00Z", "after the year 9999")
    assert run.summary["sample"]["payload"] == "payload"
    run = run_job(arguments(broker, name, folder, ["--check", f"--start={sent[1].position}", *options]))
    assert run.code == 0, run.errors
    assert (run.summary["sample"]["publish_time"], run.summary["sample"]["event_time"]) == (far, far)
    assert "/dt=9999-12-31/hh=23/" in run.summary["first_object"]


def test_a_run_that_is_refused_by_its_destination_creates_no_subscription(broker, client, topic, bucket):
    name = topic()
    send(client, name, numbered(3))
    bucket.server.faults.add("access-denied", times=100)
    run = run_job(arguments(broker, name, bucket, ["--subscription=made"]))
    assert run.code == 3
    assert subscriptions(broker, name) == {}


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [({"ttl_seconds": 60}, "expire 60 s after"), ({"retention_minutes": 0, "retention_megabytes": 0}, "not at all")],
)
def test_what_the_broker_deletes_too_soon_is_warned_of(broker, client, bucket, topic, policy, sentence):
    namespace = f"{topic().rpartition('/')[0].removeprefix('persistent://')}-brief"
    broker.admin.create_namespace(namespace, **policy)
    name = f"persistent://{namespace}/orders"
    send(client, name, numbered(3))
    run = run_job(arguments(broker, name, bucket, ["--check", f"--admin_url={broker.admin_url}"]))
    assert run.code == 0, run.errors
    assert sum(sentence in warning for warning in run.summary["warnings"]) == 1


def test_a_role_that_may_not_read_policies_is_told_that_nobody_looked(secured_broker, bucket, monkeypatch):
    namespace = "test/unlooked"
    secured_broker.admin.create_namespace(namespace)
    secured_broker.admin.grant(namespace, "reader", ["consume"])
    secured_broker.admin.create_topic(f"persistent://{namespace}/orders")
    monkeypatch.setenv("ROLE_KEY", secured_broker.token("reader"))
    options = ["--check", f"--admin_url={secured_broker.admin_url}", "--token=env:ROLE_KEY"]
    run = run_job(arguments(secured_broker, f"{namespace}/orders", bucket, options))
    assert run.code == 0, run.errors
    assert any("may not read message TTL and retention" in warning for warning in run.summary["warnings"])


def test_versioning_is_warned_of(broker, client, topic, bucket):
    name = topic()
    send(client, name, numbered(1))
    bucket.server.set_versioned(TEST_BUCKET)
    run = run_job(arguments(broker, name, bucket, ["--check"]))
    assert any(f"versioning is or was on in bucket {TEST_BUCKET}" in warning for warning in run.summary["warnings"])
