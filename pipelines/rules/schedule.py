"""When a rule runs: by hand only, every so often, by cron, or continuously."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

_EVERY = re.compile(r"every (\d{1,6})([smhd])")
_DAYS = re.compile(r"(\d{1,5})d")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WEEKDAYS = re.compile(
    rf"(?P<first>\*|\d|{'|'.join(_DAY_NAMES)})(-(?P<last>\d|{'|'.join(_DAY_NAMES)}))?(/(?P<step>\d))?"
)
_LEAST_SECONDS = 10
_FIELDS = 5
#: The first turns of all schedules "every …" are counted from here, so that turns fall on whole hours.
_EPOCH = datetime(2020, 1, 1, tzinfo=timezone.utc)
_HINT = 'Write "every 15m", cron with five fields as "0 * * * *", or "continuous"'
_MOST_TURNS = 10_000
#: What a rule waits at most before it is tried again.
LONGEST_DELAY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Turns: moments at which a run is due."""

    every: timedelta | None = None
    cron: str | None = None
    zone: str = "UTC"
    continuous: bool = False

    @property
    def has_turns(self) -> bool:
        """Whether there are any."""
        return self.every is not None or self.cron is not None

    def next_turn(self, after: datetime) -> datetime | None:
        """The first turn behind a moment, in UTC; None where there is none."""
        if self.every is not None:
            return _EPOCH + ((after - _EPOCH) // self.every + 1) * self.every
        if self.cron is None:
            return None
        triggers = _cron_triggers(self.cron, ZoneInfo(self.zone))
        found = [each.get_next_fire_time(None, after + timedelta(microseconds=1)) for each in triggers]
        return min((each.astimezone(timezone.utc) for each in found if each is not None), default=None)

    def turns(self, first: datetime, upto: datetime) -> tuple[datetime, int]:
        """The last turn that is not behind ``upto``, from the turn ``first`` on, and how many there are.

        More than 10,000 are not counted further.
        """
        if self.every is not None:
            count = max((upto - first) // self.every, 0)
            return first + count * self.every, count + 1
        last, count = first, 1
        while count < _MOST_TURNS and (following := self.next_turn(last)) is not None and following <= upto:
            last, count = following, count + 1
        return last, count


def parse_schedule(text: str, zone: str) -> Schedule:
    """Read a rule's schedule. Raises ValueError with what is wrong."""
    if text == "":
        return Schedule()
    if text == "continuous":
        return Schedule(continuous=True)
    if found := _EVERY.fullmatch(text):
        every = timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
        if every < timedelta(seconds=_LEAST_SECONDS):
            raise ValueError(f"turns are at least {_LEAST_SECONDS} s apart")
        return Schedule(every=every)
    if len(text.split()) != _FIELDS:
        raise ValueError(f"not a schedule. {_HINT}")
    try:
        _cron_triggers(text, timezone.utc)
    except ValueError as error:
        raise ValueError(f"not a schedule ({error}). {_HINT}") from None
    schedule = Schedule(cron=text, zone=zone)
    if schedule.next_turn(datetime.now(timezone.utc)) is None:
        raise ValueError("no day is ever like that")
    return schedule


def _cron_triggers(text: str, zone: tzinfo) -> list[CronTrigger]:
    """Cron's own meaning: Sunday is 0 and 7, and of a day of the month and one of the week, either will do."""
    minute, hour, day, month, weekday = text.split()
    days = ",".join(_DAY_NAMES[each] for each in sorted(_weekdays(weekday)))
    if weekday == "*":
        either = [(day, "*")]
    elif day == "*":
        either = [("*", days)]
    else:
        either = [(day, "*"), ("*", days)]
    return [
        CronTrigger(minute=minute, hour=hour, day=of_month, month=month, day_of_week=of_week, timezone=zone)
        for of_month, of_week in either
    ]


def _weekdays(field: str) -> set[int]:
    """The days of the week that a field names, Sunday as 0. Raises ValueError."""
    found: set[int] = set()
    for part in field.lower().split(","):
        matched = _WEEKDAYS.fullmatch(part)
        if matched is None:
            raise ValueError(f"{part!r} is no day of the week")
        first, last, step = matched["first"], matched["last"], matched["step"]
        begin = 0 if first == "*" else _weekday(first)
        end = 6 if first == "*" or (step and not last) else _weekday(last or first)
        if begin > end or step == "0":
            raise ValueError(f"{part!r} is no range of days of the week")
        found |= {day % 7 for day in range(begin, end + 1, int(step or 1))}
    return found


def _weekday(text: str) -> int:
    number = _DAY_NAMES.index(text) if text in _DAY_NAMES else int(text)
    if number > len(_DAY_NAMES):
        raise ValueError(f"{text!r} is no day of the week")
    return number


def parse_days(text: str) -> timedelta:
    """Read a time in days. Raises ValueError with what is wrong."""
    found = _DAYS.fullmatch(text)
    if found is None or int(found[1]) < 1:
        raise ValueError("write days, at least one, as 90d")
    return timedelta(days=int(found[1]))


def retry_delay(failures: int) -> timedelta:
    """How long a rule waits after so many failures in a row: 30 s, then twice as long each time, up to an hour."""
    return min(timedelta(seconds=30 * 2 ** min(failures - 1, 10)), LONGEST_DELAY)
