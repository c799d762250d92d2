from __future__ import annotations

import time

import pulsar
import pytest

from pipelines.options import parse_options
from pipelines.preflight import preflight, refuse_moving_over_unread
from tests.pipelines.backups import arguments, backup, refused
from tests.pipelines.producing import acknowledge, numbered, publish_times, send
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.errors import ConfigurationError, SourceError
from transforms.pulsar import acknowledge as acknowledge_module
from transforms.pulsar import resolve
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.positions import Position
from transforms.pulsar.subscriptions import SubscriptionState
from transforms.testing.cos_faults import ALWAYS


def cursor(broker, topic: str, subscription: str) -> Position:
    """The first entry that a subscription has not acknowledged."""
    marked = broker.admin.internal_stats(topic)["cursors"][subscription]["markDeletePosition"]
    return Position(*map(int, marked.split(":"))).next_entry()


def subscriptions(broker, topic: str) -> dict:
    return broker.admin.stats(topic)["subscriptions"]


def with_admin(broker, admin: bool) -> list[str]:
    return [f"--admin_url={broker.admin_url}"] if admin else []


@pytest.mark.parametrize("admin", [False, True])
def test_a_missing_subscription_is_created_durable_at_the_earliest_message(broker, client, topic, bucket, admin):
    name = topic()
    places = send(client, name, numbered(30), batch=10)
    options = ["--subscription=made", "--acknowledge=never", *with_admin(broker, admin)]
    backup(broker, name, bucket, *options)
    assert_holds(messages_in(bucket), {name: places})
    made = subscriptions(broker, name)["made"]
    assert made["durable"]
    assert made["msgBacklog"] == 3  # the broker counts entries here until a consumer has told it of batches
    assert cursor(broker, name, "made") == places[0]


@pytest.mark.parametrize("admin", [False, True])
def test_a_missing_subscription_is_created_at_the_end_for_latest(broker, client, topic, bucket, admin):
    name = topic()
    send(client, name, numbered(30), batch=10)
    backup(broker, name, bucket, "--subscription=made", "--start=latest", *with_admin(broker, admin))
    more = send(client, name, numbered(10), batch=10)
    backup(broker, name, bucket, "--subscription=made", "--start=subscription", *with_admin(broker, admin))
    assert_holds(messages_in(bucket), {name: more})


_STREAM = ["--runner=FlinkRunner", "--streaming", "--flink_master=http://127.0.0.1:1", "--environment_type=EXTERNAL"]


@pytest.mark.parametrize("start", ["latest", "id"])
def test_a_stream_is_refused_that_would_acknowledge_what_it_does_not_read(broker, client, topic, bucket, start):
    name = topic()
    places = send(client, name, numbered(30), batch=10)
    broker.admin.create_subscription(name, "kept")
    start = str(places[20]) if start == "id" else start

    def check(*options: str) -> None:
        config = parse_options(arguments(broker, name, bucket, [*options, *_STREAM]))
        refuse_moving_over_unread(config, preflight(config).resolution)

    with pytest.raises(ConfigurationError) as caught:
        check("--subscription=kept", f"--start={start}")
    assert str(caught.value) == (
        f"--start={start}: the subscription kept stands before it, or the broker does not tell where, in {name}. A "
        "stream moves its subscription on, also over what lies between, which nobody would have read. Give "
        "--start=subscription, or a --subscription of its own; one that nobody needs can be deleted."
    )
    for fine in (
        ["--start=subscription", "--subscription=kept"],
        ["--start=earliest", "--subscription=kept"],
        [f"--start={start}", "--subscription=new"],
        [f"--start={start}"],
        [f"--start={start}", "--subscription=kept", "--acknowledge=never"],
        # The savepoint says where it begins.
        [f"--start={start}", "--subscription=kept", "--savepoint_path=/tmp/savepoint"],
    ):
        check(*fine)
    assert cursor(broker, name, "kept") == places[0]


def test_a_topic_without_messages_keeps_no_stream_from_its_start(broker, topic, bucket):
    name = topic(partitions=2)
    broker.admin.create_subscription(name, "kept")
    config = parse_options(arguments(broker, name, bucket, ["--subscription=kept", "--start=latest", *_STREAM]))
    refuse_moving_over_unread(config, preflight(config).resolution)


def test_what_cannot_be_acknowledged_is_tried_again_whatever_the_reason(broker, client, topic, monkeypatch, caplog):
    """The thread that acknowledges is the only one of its process: without it nothing would be, and nobody know."""
    names = [topic(), topic()]
    ends = {name: send(client, name, numbered(30), batch=10)[-1].next_entry() for name in names}
    for name in names:
        broker.admin.create_subscription(name, "kept")
    errors = [RuntimeError("out of the blue"), SourceError("the broker is away."), pulsar.Timeout("no answer")]
    close = pulsar.Consumer.close

    def closing(consumer: pulsar.Consumer) -> None:
        close(consumer)
        if errors:
            raise errors.pop()

    monkeypatch.setattr(pulsar.Consumer, "close", closing)
    monkeypatch.setattr(acknowledge_module, "_PAUSE_SECONDS", 0.05)
    acknowledger = acknowledge_module.Acknowledger(
        acknowledge_module.AcknowledgeSettings(PulsarConnection(broker.service_url), "kept")
    )
    try:
        acknowledger.offer(ends)
        deadline = time.monotonic() + 30
        while errors or acknowledger._waiting:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        acknowledger.close()
    assert {name: cursor(broker, name, "kept") for name in names} == ends
    assert "out of the blue Not acknowledged up to" in caplog.text
    assert caplog.text.count("; the job tries again.") == 3


@pytest.mark.parametrize("start", ["id", "inside", "time"])
def test_with_the_admin_interface_it_is_created_at_the_start_point(broker, client, topic, bucket, start):
    name = topic()
    places = [place for number in range(3) for place in send(client, name, numbered(10), batch=10)]
    times = publish_times(client, name)
    point, first = {
        "id": (str(places[10]), 10),
        "inside": (str(places[14]), 14),
        "time": (str(times[places[20]]), next(at for at in range(30) if times[places[at]] == times[places[20]])),
    }[start]
    options = [f"--start={point}", "--allowed_disorder=0s", "--subscription=made", f"--admin_url={broker.admin_url}"]
    backup(broker, name, bucket, *options, "--acknowledge=never")
    assert_holds(messages_in(bucket), {name: places[first:]})
    # A subscription stands at an entry; what of it lies before the start is read again by whoever goes on from it.
    assert cursor(broker, name, "made") == places[first]._replace(batch=0)


def test_without_the_admin_interface_it_is_created_at_the_earliest_message_and_not_moved(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(30), batch=10)
    run = backup(broker, name, bucket, f"--start={places[20]}", "--subscription=made")
    assert_holds(messages_in(bucket), {name: places[20:]})
    assert cursor(broker, name, "made") == places[0]
    assert run.partition(name)["acknowledged_before"] is None
    assert any("stands at" in warning and "before the start" in warning for warning in run.summary["warnings"])


def test_what_is_stored_is_acknowledged(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(30), batch=10)
    run = backup(broker, name, bucket, "--subscription=made")
    assert cursor(broker, name, "made") == places[-1].next_entry()
    assert run.partition(name)["acknowledged_before"] == str(places[-1].next_entry())


def test_acknowledge_never_moves_no_subscription(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(30), batch=10)
    acknowledge(client, name, "mine", places[9])
    before = cursor(broker, name, "mine")
    options = ["--subscription=mine", "--start=subscription", "--acknowledge=never"]
    run = backup(broker, name, bucket, *options)
    assert_holds(messages_in(bucket), {name: places[10:]})
    assert cursor(broker, name, "mine") == before
    assert run.partition(name)["acknowledged_before"] is None


def test_other_subscriptions_are_left_alone(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(30), batch=10)
    acknowledge(client, name, "other", places[9])
    before = cursor(broker, name, "other")
    backup(broker, name, bucket, "--subscription=mine")
    backup(broker, name, bucket)
    assert cursor(broker, name, "other") == before
    assert set(subscriptions(broker, name)) == {"mine", "other"}


@pytest.mark.parametrize("admin", [False, True])
def test_a_subscription_before_the_start_is_not_moved_and_the_run_says_so(broker, client, topic, bucket, admin):
    name = topic()
    places = send(client, name, numbered(40), batch=10)
    acknowledge(client, name, "mine", places[9])
    before = cursor(broker, name, "mine")
    run = backup(broker, name, bucket, "--subscription=mine", f"--start={places[20]}", *with_admin(broker, admin))
    assert_holds(messages_in(bucket), {name: places[20:]})
    assert cursor(broker, name, "mine") == before
    assert any(
        "subscription mine stands at" in warning and "before the start" in warning
        for warning in run.summary["warnings"]
    )


def test_a_subscription_that_another_run_creates_at_the_same_time_is_not_moved_past_what_that_one_reads(
    broker, client, topic, bucket, monkeypatch
):
    name = topic()
    places = send(client, name, numbered(40), batch=10)
    acknowledge(client, name, "mine", places[9])
    before = cursor(broker, name, "mine")
    monkeypatch.setattr(resolve, "subscription_state", lambda *_: SubscriptionState.MISSING)  # a moment ago
    backup(broker, name, bucket, "--subscription=mine", f"--start={places[20]}", *with_admin(broker, True))
    assert_holds(messages_in(bucket), {name: places[20:]})
    assert cursor(broker, name, "mine") == before


def test_an_end_inside_a_batch_leaves_its_entry_unacknowledged(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(30), batch=10)
    backup(broker, name, bucket, "--subscription=mine", f"--end={places[14]}")
    assert_holds(messages_in(bucket), {name: places[:15]})
    assert cursor(broker, name, "mine") == places[10]
    backup(broker, name, bucket, "--subscription=mine", "--start=subscription")
    assert_holds(messages_in(bucket), {name: places})
    assert cursor(broker, name, "mine") == places[-1].next_entry()


def test_a_subscription_ahead_of_the_run_is_not_moved_back(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(30), batch=10)
    acknowledge(client, name, "mine", places[29])
    before = cursor(broker, name, "mine")
    backup(broker, name, bucket, "--subscription=mine", "--start=earliest", f"--end={places[9]}")
    assert_holds(messages_in(bucket), {name: places[:10]})
    assert cursor(broker, name, "mine") == before


@pytest.mark.parametrize("kind", ["500", "access-denied"])
def test_nothing_is_acknowledged_when_the_run_fails(broker, client, topic, bucket, kind):
    name = topic()
    places = send(client, name, numbered(300), batch=10)
    acknowledge(client, name, "mine", places[9])
    before = cursor(broker, name, "mine")
    options = ["--subscription=mine", "--start=subscription", "--max_file_messages=20", "--retry_deadline=1s"]
    bucket.server.faults.add(kind, operation="PutObject", key="*.avro", nth=4, times=ALWAYS)
    run = refused(broker, name, bucket, *options)
    assert run.code in (3, 5)
    assert cursor(broker, name, "mine") == before
    written = bucket.written()
    assert len(written) == 3
    bucket.server.faults.clear()
    backup(broker, name, bucket, *options)
    assert_holds(messages_in(bucket, most=20), {name: places[10:]})
    assert written.items() < bucket.written().items()
    assert cursor(broker, name, "mine") == places[-1].next_entry()


def test_a_subscription_that_another_consumer_holds_is_refused(broker, client, topic, bucket):
    name = topic()
    send(client, name, numbered(10))
    consumer = client.subscribe(name, "held")
    run = refused(broker, name, bucket, "--subscription=held")
    consumer.close()
    assert run.code == 4
    assert "another consumer holds --subscription=held" in run.errors
    assert bucket.everything() == []
