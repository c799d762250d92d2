from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.rules.schedule import parse_days, parse_schedule, retry_delay


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


#: A schedule, its timezone, a moment, and the turns behind it; 2026-03-01 is a Sunday.
TURNS = [
    ("every 10s", "UTC", "2026-03-01T00:00:00", ["2026-03-01T00:00:10", "2026-03-01T00:00:20"]),
    ("every 15m", "UTC", "2026-03-01T00:14:59", ["2026-03-01T00:15:00", "2026-03-01T00:30:00"]),
    ("every 7d", "UTC", "2026-03-01T00:00:00", ["2026-03-04T00:00:00", "2026-03-11T00:00:00"]),
    ("0 * * * *", "UTC", "2026-03-01T00:00:00", ["2026-03-01T01:00:00", "2026-03-01T02:00:00"]),
    ("*/20 3 * * *", "UTC", "2026-03-01T03:20:00", ["2026-03-01T03:40:00", "2026-03-02T03:00:00"]),
    ("30 4 * * 0", "UTC", "2026-03-01T04:30:00", ["2026-03-08T04:30:00", "2026-03-15T04:30:00"]),
    ("30 4 * * 7", "UTC", "2026-03-01T04:30:00", ["2026-03-08T04:30:00"]),
    ("0 0 * * 1", "UTC", "2026-03-01T00:00:00", ["2026-03-02T00:00:00", "2026-03-09T00:00:00"]),
    ("0 0 * * MON-FRI", "UTC", "2026-03-06T00:00:00", ["2026-03-09T00:00:00", "2026-03-10T00:00:00"]),
    (
        "0 0 * * 5-7",
        "UTC",
        "2026-03-05T12:00:00",
        ["2026-03-06T00:00:00", "2026-03-07T00:00:00", "2026-03-08T00:00:00"],
    ),
    (
        "0 0 * * */2",
        "UTC",
        "2026-03-01T00:00:00",
        ["2026-03-03T00:00:00", "2026-03-05T00:00:00", "2026-03-07T00:00:00"],
    ),
    # A day of the month and one of the week: either will do.
    ("0 0 10 * 1", "UTC", "2026-03-08T00:00:00", ["2026-03-09T00:00:00", "2026-03-10T00:00:00", "2026-03-16T00:00:00"]),
    ("0 0 31 * *", "UTC", "2026-03-31T00:00:00", ["2026-05-31T00:00:00", "2026-07-31T00:00:00"]),
    ("0 0 29 2 *", "UTC", "2026-03-01T00:00:00", ["2028-02-29T00:00:00"]),
    ("0 12 1 1,7 *", "UTC", "2026-03-01T00:00:00", ["2026-07-01T12:00:00", "2027-01-01T12:00:00"]),
    ("0 9 * * *", "Asia/Shanghai", "2026-03-01T00:00:00", ["2026-03-01T01:00:00", "2026-03-02T01:00:00"]),
    # The clock goes from 2:00 to 3:00 on 2026-03-29, and from 3:00 back to 2:00 on 2026-10-25.
    ("0 12 * * *", "Europe/Berlin", "2026-03-28T12:00:00", ["2026-03-29T10:00:00", "2026-03-30T10:00:00"]),
    ("0 12 * * *", "Europe/Berlin", "2026-10-24T12:00:00", ["2026-10-25T11:00:00", "2026-10-26T11:00:00"]),
    ("0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00", ["2026-03-29T00:00:00", "2026-03-29T01:00:00"]),
]


@pytest.mark.parametrize(("text", "zone", "after", "turns"), TURNS)
def test_turns_are_those_of_the_table(text: str, zone: str, after: str, turns: list[str]) -> None:
    schedule, moment, found = parse_schedule(text, zone), _utc(after), []
    for _ in turns:
        moment = schedule.next_turn(moment)
        assert moment is not None
        found.append(moment)
    assert found == [_utc(each) for each in turns]


@pytest.mark.parametrize("text", ["0 * * * *", "30 2 * * *", "*/15 * * * *"])
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_turns_go_forward_where_the_clock_is_changed(text: str, day: str) -> None:
    schedule, moment = parse_schedule(text, "Europe/Berlin"), _utc(f"{day}T00:00:00") - timedelta(hours=3)
    end = moment + timedelta(days=2)
    while moment < end:
        following = schedule.next_turn(moment)
        assert following is not None
        assert moment < following
        assert following - moment <= timedelta(days=1, hours=2)
        moment = following


def test_each_hour_has_its_turn_on_the_days_on_which_the_clock_is_changed() -> None:
    for day in ("2026-03-29", "2026-10-25"):
        schedule, moment = parse_schedule("0 * * * *", "Europe/Berlin"), _utc(f"{day}T00:00:00") - timedelta(hours=3)
        for _ in range(12):
            following = schedule.next_turn(moment)
            assert following == moment + timedelta(hours=1)
            moment = following


def test_by_hand_and_continuous_have_no_turns() -> None:
    for text in ("", "continuous"):
        schedule = parse_schedule(text, "UTC")
        assert not schedule.has_turns
        assert schedule.next_turn(_utc("2026-03-01T00:00:00")) is None


@pytest.mark.parametrize(
    "text",
    [
        *("every", "every 5", "every 9s", "every 0m", "every -5m", "every 5 m", "every 1w", "hourly", "@daily", "15m"),
        *("* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8"),
        *("0 0 30 2 *", "0 0 * * 5-1", "0 0 * * 1/0", "0 0 * * xyz", "0 0 * * 1-", "x * * * *", "0 0 L * *x"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_schedule(text, "UTC")


@given(
    st.sampled_from(["every 10s", "every 7m", "every 1d", "0 * * * *", "*/7 * * * 1-5", "0 3 1 * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Shanghai", "America/New_York"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 - in UTC below
    st.integers(0, 20),
)
def test_missed_turns_are_all_those_up_to_now_and_the_next_is_behind_them(text, zone, moment, missed) -> None:
    schedule = parse_schedule(text, zone)
    first = last = schedule.next_turn(moment.replace(tzinfo=timezone.utc))
    for _ in range(missed):
        last = schedule.next_turn(last)
    assert schedule.turns(first, last) == (last, missed + 1)
    following = schedule.next_turn(last)
    assert schedule.turns(first, following - timedelta(microseconds=1)) == (last, missed + 1)


def test_days_are_read_and_all_else_is_refused() -> None:
    assert parse_days("90d") == timedelta(days=90)
    for text in ("0d", "90", "d", "1.5d", "-1d", "12h"):
        with pytest.raises(ValueError, match="write days"):
            parse_days(text)


def test_retries_come_later_each_time_up_to_an_hour() -> None:
    delays = [retry_delay(failures).total_seconds() for failures in range(1, 12)]
    assert delays[:4] == [30, 60, 120, 240]
    assert delays == sorted(delays)
    assert delays[-1] == 3600
