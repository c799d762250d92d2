from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import pytest

from tests.pipelines.backups import backup, refused
from tests.pipelines.producing import acknowledge, numbered, publish_times, send, sending
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.pulsar.positions import Position

#: Date-times are exact then.
EXACT = "--allowed_disorder=0s"


class Topic(NamedTuple):
    name: str
    places: list[Position]
    times: dict[Position, int]

    def between(self, first: int, stop: int | None) -> dict[str, list[Position]]:
        return {self.name: self.places[first:stop]}

    def cut(self) -> tuple[int, int]:
        """An index and a time: the message there is the first one published then, in the middle of the topic."""
        times = [self.times[place] for place in self.places]
        middle = len(times) // 2
        index = next(at for at in range(middle, len(times)) if times[at - 1] < times[at])
        return index, times[index]


@pytest.fixture(scope="module")
def batched(broker, client) -> Topic:
    """100 messages in batches of ten, published one batch after the other."""
    name = f"persistent://public/default/start-and-end-{uuid.uuid4().hex[:8]}"
    places = []
    for number in range(10):
        places += send(client, name, numbered(10, f"batch {number}"), batch=10)
    return Topic(name, places, publish_times(client, name))


@pytest.fixture(scope="module")
def single(broker, client) -> Topic:
    """20 messages outside any batch."""
    name = f"persistent://public/default/single-{uuid.uuid4().hex[:8]}"
    places = [place for number in range(20) for place in send(client, name, [b"%d" % number])]
    return Topic(name, places, publish_times(client, name))


def test_earliest_to_now_is_everything(broker, batched, bucket):
    run = backup(broker, batched.name, bucket, "--start=earliest", "--end=now")
    assert_holds(messages_in(bucket), batched.between(0, None))
    assert run.summary["messages"] == 100


def test_both_ends_have_these_defaults(broker, batched, bucket):
    backup(broker, batched.name, bucket)
    assert_holds(messages_in(bucket), batched.between(0, None))


def test_latest_reads_nothing_that_stands_there_already(broker, batched, bucket):
    run = backup(broker, batched.name, bucket, "--start=latest")
    assert bucket.everything() == []
    assert run.summary["messages"] == 0
    assert [part["partition"] for part in run.summary["partitions"]] == [batched.name]


@pytest.mark.parametrize("write", ["{:%Y-%m-%dT%H:%M:%S.%fZ}", "ms", "+08:00"])
def test_a_date_time_start_takes_what_was_published_then_and_later(broker, batched, bucket, write):
    index, time = batched.cut()
    backup(broker, batched.name, bucket, f"--start={_written(time, write)}", EXACT)
    assert_holds(messages_in(bucket), batched.between(index, None))


@pytest.mark.parametrize("write", ["ms", "+08:00"])
def test_a_date_time_end_takes_what_was_published_until_then(broker, batched, bucket, write):
    index, time = batched.cut()
    backup(broker, batched.name, bucket, f"--end={_written(time - 1, write)}", EXACT)
    assert_holds(messages_in(bucket), batched.between(0, index))


def _written(time: int, write: str) -> str:
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=time)
    match write:
        case "ms":
            return str(time)
        case "+08:00":
            return moment.astimezone(timezone(timedelta(hours=8))).isoformat()
        case _:
            return write.format(moment)


def test_a_date_time_end_takes_all_of_its_own_millisecond(broker, batched, bucket):
    index, time = batched.cut()
    backup(broker, batched.name, bucket, f"--end={time}", EXACT)
    last = max(at for at, place in enumerate(batched.places) if batched.times[place] == time)
    assert last >= index
    assert_holds(messages_in(bucket), batched.between(0, last + 1))


def test_date_times_are_widened_by_the_allowed_disorder(broker, batched, bucket):
    _, time = batched.cut()
    backup(broker, batched.name, bucket, f"--start={time}", f"--end={time + 1}", "--allowed_disorder=1h")
    assert_holds(messages_in(bucket), batched.between(0, None))


@pytest.mark.parametrize("index", [0, 90])
def test_an_entry_as_start_is_exact(broker, batched, bucket, index):
    at = batched.places[index]
    backup(broker, batched.name, bucket, f"--start={at.ledger}:{at.entry}")
    assert_holds(messages_in(bucket), batched.between(index, None))


@pytest.mark.parametrize("index", [1, 9, 10, 99])
def test_a_message_in_a_batch_as_start_is_exact(broker, batched, bucket, index):
    backup(broker, batched.name, bucket, f"--start={batched.places[index]}")
    assert_holds(messages_in(bucket), batched.between(index, None))


@pytest.mark.parametrize("index", [0, 9, 35, 99])
def test_a_message_in_a_batch_as_end_is_exact_and_belongs_to_the_run(broker, batched, bucket, index):
    backup(broker, batched.name, bucket, f"--end={batched.places[index]}")
    assert_holds(messages_in(bucket), batched.between(0, index + 1))


@pytest.mark.parametrize("index", [0, 90])
def test_an_entry_as_end_belongs_to_the_run_whole(broker, batched, bucket, index):
    at = batched.places[index]
    backup(broker, batched.name, bucket, f"--end={at.ledger}:{at.entry}")
    assert_holds(messages_in(bucket), batched.between(0, index + 10))


@pytest.mark.parametrize(("first", "last"), [(7, 7), (3, 8), (8, 31)])
def test_two_messages_enclose_a_run(broker, batched, bucket, first, last):
    backup(broker, batched.name, bucket, f"--start={batched.places[first]}", f"--end={batched.places[last]}")
    assert_holds(messages_in(bucket), batched.between(first, last + 1))


@pytest.mark.parametrize(("index", "suffix"), [(0, ""), (7, ""), (7, ":0"), (7, ":-1"), (19, ":0")])
def test_messages_outside_any_batch_are_exact_points_too(broker, single, bucket, index, suffix):
    at = single.places[index]
    point = f"{at.ledger}:{at.entry}{suffix}"
    backup(broker, single.name, bucket, f"--start={point}")
    assert_holds(messages_in(bucket), single.between(index, None))


@pytest.mark.parametrize("suffix", ["", ":0", ":-1"])
def test_a_message_outside_any_batch_as_end(broker, single, bucket, suffix):
    at = single.places[7]
    backup(broker, single.name, bucket, f"--end={at.ledger}:{at.entry}{suffix}")
    assert_holds(messages_in(bucket), single.between(0, 8))


def test_a_date_time_and_a_message_enclose_a_run(broker, batched, bucket):
    index, time = batched.cut()
    backup(broker, batched.name, bucket, f"--start={time}", f"--end={batched.places[index + 4]}", EXACT)
    assert_holds(messages_in(bucket), batched.between(index, index + 5))


def test_a_message_and_a_date_time_enclose_a_run(broker, batched, bucket):
    index, time = batched.cut()
    backup(broker, batched.name, bucket, f"--start={batched.places[index - 4]}", f"--end={time - 1}", EXACT)
    assert_holds(messages_in(bucket), batched.between(index - 4, index))


def test_an_id_as_start_behind_the_end_is_refused(broker, batched, bucket):
    run = refused(broker, batched.name, bucket, f"--start={batched.places[50]}", f"--end={batched.places[20]}")
    assert run.code == 2
    assert f"--start={batched.places[50]} is behind --end={batched.places[20]}" in run.errors


def test_a_date_time_start_behind_the_end_is_refused(broker, batched, bucket):
    _index, time = batched.cut()
    run = refused(broker, batched.name, bucket, f"--start={time}", f"--end={time - 1}")
    assert run.code == 2
    assert "is not before" in run.errors


def test_a_date_time_start_in_the_future_reads_nothing(broker, batched, bucket):
    backup(broker, batched.name, bucket, "--start=2099-01-01T00:00:00Z", EXACT)
    assert bucket.everything() == []


def test_a_date_time_end_in_the_future_ends_with_the_last_message(broker, batched, bucket):
    backup(broker, batched.name, bucket, "--end=2099-01-01T00:00:00Z")
    assert_holds(messages_in(bucket), batched.between(0, None))


def test_a_date_time_end_before_the_first_message_reads_nothing(broker, batched, bucket):
    backup(broker, batched.name, bucket, "--end=2001-01-01T00:00:00Z")
    assert bucket.everything() == []


def test_an_end_behind_the_last_message_ends_with_it_and_says_so(broker, batched, bucket):
    last = batched.places[-1]
    run = backup(broker, batched.name, bucket, f"--end={last.ledger}:{last.entry + 5}")
    assert_holds(messages_in(bucket), batched.between(0, None))
    assert any("lies behind the last message" in warning for warning in run.summary["warnings"])


def test_a_start_behind_the_last_message_reads_nothing(broker, batched, bucket):
    last = batched.places[-1]
    backup(broker, batched.name, bucket, f"--start={last.ledger}:{last.entry + 1}")
    assert bucket.everything() == []


def test_messages_that_come_after_the_launch_are_left_to_the_next_run(broker, client, topic, bucket):
    name = topic()
    early = send(client, name, numbered(30), batch=10)
    with sending(broker.service_url, [name]) as sent:
        run = backup(broker, name, bucket)
    stop = Position(*map(int, run.partition(name)["stop"].split(":")))
    everything = early + sent[name]
    assert early[-1] < stop < everything[-1]
    assert_holds(messages_in(bucket), {name: [place for place in everything if place < stop]})


def test_the_subscription_as_start_reads_what_it_has_not_acknowledged(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(40), batch=10)
    acknowledge(client, name, "standing", places[19])
    backup(broker, name, bucket, "--subscription=standing", "--start=subscription")
    assert_holds(messages_in(bucket), {name: places[20:]})


def test_a_subscription_that_is_missing_starts_at_the_earliest_message(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(40), batch=10)
    backup(broker, name, bucket, "--subscription=new", "--start=subscription")
    assert_holds(messages_in(bucket), {name: places})


def test_every_partition_of_a_topic_is_read(broker, client, topic, bucket):
    name = topic(partitions=3)
    sent = {f"{name}-partition-{n}": send(client, f"{name}-partition-{n}", numbered(25), batch=4) for n in range(3)}
    run = backup(broker, name, bucket)
    assert_holds(messages_in(bucket), sent)
    assert [part["partition"] for part in run.summary["partitions"]] == list(sent)


def test_a_date_time_is_found_in_each_partition(broker, client, topic, bucket):
    name = topic(partitions=2)
    names = [f"{name}-partition-{n}" for n in range(2)]
    sent = {each: send(client, each, numbered(5)) for each in names}
    for each in names:
        sent[each] += send(client, each, numbered(5, "later"))
    times = {each: publish_times(client, each) for each in names}
    middle = min(times[each][sent[each][5]] for each in names)
    backup(broker, name, bucket, f"--start={middle}", EXACT)
    expected = {each: [place for place in sent[each] if times[each][place] >= middle] for each in names}
    assert all(0 < len(places) < 10 for places in expected.values())
    assert_holds(messages_in(bucket), expected)


def test_a_single_partition_can_be_the_topic(broker, client, topic, bucket):
    name = topic(partitions=3)
    sent = {f"{name}-partition-{n}": send(client, f"{name}-partition-{n}", numbered(25), batch=4) for n in range(3)}
    partition = f"{name}-partition-1"
    places = sent[partition]
    backup(broker, partition, bucket, f"--start={places[6]}", f"--end={places[18]}")
    assert_holds(messages_in(bucket), {partition: places[6:19]})


def test_several_topics_go_to_folders_of_their_own(broker, client, topic, bucket):
    plain, parted = topic(), topic(partitions=2)
    sent = {
        name: send(client, name, numbered(10)) for name in (plain, f"{parted}-partition-0", f"{parted}-partition-1")
    }
    backup(broker, [plain, parted], bucket)
    assert_holds(messages_in(bucket), sent)


def test_a_topic_that_is_named_twice_is_read_once(broker, client, topic, bucket):
    name = topic(partitions=2)
    sent = {f"{name}-partition-{n}": send(client, f"{name}-partition-{n}", numbered(10)) for n in range(2)}
    backup(broker, [name, f"{name}-partition-1", name.removeprefix("persistent://")], bucket)
    assert_holds(messages_in(bucket), sent)


@pytest.mark.parametrize("short", ["{name}", "public/default/{name}", "persistent://public/default/{name}"])
def test_short_names_mean_what_they_mean_to_pulsar(broker, batched, bucket, short):
    backup(broker, short.format(name=batched.name.rpartition("/")[2]), bucket)
    assert_holds(messages_in(bucket), batched.between(0, None))


@pytest.mark.parametrize("option", ["--start", "--end"])
def test_an_id_with_several_partitions_is_refused(broker, client, topic, bucket, option):
    name = topic(partitions=2)
    (place,) = send(client, f"{name}-partition-0", [b"one"])
    run = refused(broker, name, bucket, f"{option}={place}")
    assert run.code == 2
    assert "name a place in one partition" in run.errors
    assert bucket.everything() == []


def test_an_empty_partition_and_an_empty_topic_are_read_as_empty(broker, client, topic, bucket):
    empty, parted = topic(partitions=2), topic(partitions=2)
    sent = {f"{parted}-partition-1": send(client, f"{parted}-partition-1", numbered(3))}
    run = backup(broker, [empty, parted], bucket)
    assert_holds(messages_in(bucket), sent)
    assert {part["partition"]: part["messages"] for part in run.summary["partitions"]} == {
        f"{empty}-partition-0": 0,
        f"{empty}-partition-1": 0,
        f"{parted}-partition-0": 0,
        f"{parted}-partition-1": 3,
    }
