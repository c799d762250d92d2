from __future__ import annotations

import random

import pytest

from tests.pipelines.backups import backup
from tests.pipelines.reading_back import assert_holds, messages_in, positions, read_files
from transforms.testing.raw_producer import Message, send_raw

#: 2026-03-01T12:00:00Z
NOON = 1_772_366_400_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
#: 2099-01-01T00:00:00Z
YEAR_2099 = 4_070_908_800_000


def messages_at(times: list[int]) -> list[Message]:
    return [Message(b"%d" % number, publish_time=time) for number, time in enumerate(times)]


def sent_at(broker, name: str, times: list[int]) -> dict:
    return {name: [each.position for each in send_raw(broker.service_url, name, messages_at(times))]}


def test_publish_times_an_hour_out_of_order_lose_nothing(broker, topic, bucket):
    name = topic()
    source = random.Random(7)
    sent = sent_at(broker, name, [NOON + number * SECOND - source.randrange(HOUR) for number in range(500)])
    backup(broker, name, bucket)
    assert_holds(messages_in(bucket), sent)


def test_one_producer_in_the_year_2099_makes_nobody_late(broker, topic, bucket):
    name = topic()
    times = [YEAR_2099 + number if number % 10 == 3 else NOON + number * SECOND for number in range(400)]
    sent = sent_at(broker, name, times)
    backup(broker, name, bucket)
    assert_holds(messages_in(bucket), sent)
    # Its clock opens one window of its own. Those of the others are cut by it once at most, not at each message; its
    # own, which nobody waits for, with them.
    windows = {(time - time % (5 * MINUTE)) for time in times}
    assert len(windows) <= len(read_files(bucket)) <= len(windows) + 2


def test_disorder_within_what_is_allowed_gives_one_file_a_window(broker, topic, bucket):
    name = topic()
    source = random.Random(8)
    times = [NOON + number * SECOND - source.randrange(30 * SECOND) for number in range(500)]
    sent = sent_at(broker, name, times)
    backup(broker, name, bucket)
    assert_holds(messages_in(bucket), sent)
    assert len(read_files(bucket)) == len({time - time % (5 * MINUTE) for time in times})


def test_publish_times_that_go_backwards_all_the_way(broker, topic, bucket):
    name = topic()
    sent = sent_at(broker, name, [NOON - number * MINUTE for number in range(200)])
    backup(broker, name, bucket)
    assert_holds(messages_in(bucket), sent)


def test_publish_times_at_the_ends_of_time(broker, topic, bucket):
    name = topic()
    sent = sent_at(broker, name, [NOON, 0, 1, NOON + 1, 253_402_300_799_999, NOON + 2])
    backup(broker, name, bucket)
    assert_holds(messages_in(bucket), sent)


@pytest.mark.parametrize(
    ("granularity", "seconds"), [("1s", 1), ("90s", 90), ("15m", 900), ("1h", 3600), ("24h", 86400)]
)
def test_every_granularity(broker, topic, bucket, granularity, seconds):
    name = topic()
    times = [NOON + number * 700 * max(seconds // 60, 1) for number in range(120)]
    sent = sent_at(broker, name, times)
    backup(broker, name, bucket, f"--granularity={granularity}")
    assert_holds(messages_in(bucket, granularity=seconds), sent)
    assert len(read_files(bucket)) == len({time // (seconds * 1000) for time in times})


def test_messages_on_the_edge_of_a_window(broker, topic, bucket):
    name = topic()
    edges = [NOON - 1, NOON, NOON + 1, NOON + 5 * MINUTE - 1, NOON + 5 * MINUTE, NOON + 5 * MINUTE + 1]
    sent = sent_at(broker, name, edges)
    backup(broker, name, bucket)
    assert_holds(messages_in(bucket), sent)
    assert [len(file.records) for file in read_files(bucket)] == [1, 3, 2]


def test_windows_by_event_time(broker, topic, bucket):
    name = topic()
    source = random.Random(9)
    messages = [
        Message(b"%d" % number, publish_time=NOON + number, event_time=NOON - source.randrange(10 * HOUR))
        for number in range(300)
    ]
    sent = send_raw(broker.service_url, name, messages)
    backup(broker, name, bucket, "--window_by=event_time")
    stored = messages_in(bucket, by_event_time=True)
    assert_holds(stored, {name: [each.position for each in sent]})
    assert [record["event_time"] for record in stored[name]] == [message.event_time for message in messages]


def test_messages_without_an_event_time_fall_back_to_publish_time(broker, topic, bucket):
    name = topic()
    messages = [
        Message(b"%d" % number, publish_time=NOON + number, event_time=None if number % 2 else NOON - 3 * HOUR)
        for number in range(20)
    ]
    sent = send_raw(broker.service_url, name, messages)
    backup(broker, name, bucket, "--window_by=event_time")
    assert_holds(messages_in(bucket, by_event_time=True), {name: [each.position for each in sent]})
    assert {file.name.window for file in read_files(bucket)} == {NOON, NOON - 3 * HOUR}


@pytest.mark.parametrize("options", [["--format=avro"], ["--format=jsonl"]])
def test_event_times_that_are_no_dates_count_as_none(broker, topic, bucket, options):
    name = topic()
    times = [NOON, 1, 253_402_300_799_999, 253_402_300_800_000, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
    messages = [Message(b"%d" % at, publish_time=NOON + at, event_time=time) for at, time in enumerate(times)]
    sent = send_raw(broker.service_url, name, messages)
    backup(broker, name, bucket, "--window_by=event_time", *options)
    stored = messages_in(bucket, by_event_time=True)
    assert_holds(stored, {name: [each.position for each in sent]})
    records = stored[name]
    assert [record["event_time"] for record in records] == [*times[:6], None, None]
    assert [record["unreadable"] for record in records] == [None] * 6 + [["event_time"]] * 2


def test_more_open_windows_than_are_held_open(broker, topic, bucket):
    name = topic()
    # 100 windows in turn, twice round: the oldest are sealed early, and opened again.
    messages = [
        Message(b"%d" % number, publish_time=NOON + number, event_time=NOON - HOUR * 100 + number % 100 * HOUR)
        for number in range(200)
    ]
    sent = send_raw(broker.service_url, name, messages)
    backup(broker, name, bucket, "--window_by=event_time")
    assert_holds(messages_in(bucket, by_event_time=True), {name: [each.position for each in sent]})


def test_the_time_zone_is_that_of_folders_and_not_of_names(broker, topic, bucket):
    name = topic()
    (sent,) = send_raw(broker.service_url, name, [Message(b"late", publish_time=NOON + 8 * HOUR)])
    backup(broker, name, bucket, "--timezone=Asia/Shanghai")
    (file,) = read_files(bucket)
    assert positions(file.records) == [sent.position]
    assert file.folder.endswith("/dt=2026-03-02/hh=04/")
    assert file.key.rpartition("/")[2].startswith("20260301T200000Z-300s-")


def test_the_path_is_a_template(broker, topic, bucket):
    name = topic()
    (sent,) = send_raw(broker.service_url, name, [Message(b"one", publish_time=NOON)])
    backup(broker, name, bucket, "--path_template=%Y/{tenant}/{topic}/%m%d/")
    (file,) = read_files(bucket)
    assert positions(file.records) == [sent.position]
    assert file.folder == f"2026/test/{name.rpartition('/')[2]}/0301/"
