"""What follows for a rule from its schedule and from how its runs end: functions of values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.rules.model import Rule
from pipelines.rules.records import RunRecord, RunState, StoredRule, Trigger
from pipelines.rules.schedule import LONGEST_DELAY, Schedule, parse_schedule, retry_delay
from transforms.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Turn:
    """A run that is due."""

    trigger: Trigger
    next_turn: datetime | None
    """The rule's next one, once this is taken."""
    due: datetime | None = None
    """The last of the turns that it is made for; None for a retry, which is made for those of the run before it."""
    turns: int = 0
    attempt: int = 1


def first_turn(rule: Rule, now: datetime) -> datetime | None:
    """When the schedule runs a rule that is new, or has got another schedule; None for never.

    Raises ConfigurationError where its time zone is not known.
    """
    if not rule.enabled:
        return None
    if rule.continuous:
        return now
    return _schedule(rule).next_turn(now)


def due_turn(found: StoredRule, now: datetime) -> Turn | None:
    """The run that is due, made for all the turns that were missed; None where none is.

    Raises ConfigurationError where its time zone is not known here.
    """
    if not found.rule.enabled:
        return None
    if found.rule.continuous:
        if found.next_turn is None or (found.retry_at is not None and found.retry_at > now):
            return None
        return Turn(Trigger.SCHEDULE, found.next_turn)
    if found.next_turn is not None and found.next_turn <= now:
        schedule = _schedule(found.rule)
        due, turns = schedule.turns(found.next_turn, now)
        return Turn(Trigger.SCHEDULE, schedule.next_turn(due), due, turns)
    if found.retry_at is not None and found.retry_at <= now:
        return Turn(Trigger.RETRY, found.next_turn, attempt=found.failures + 1)
    return None


def edited(before: StoredRule, rule: Rule, now: datetime) -> dict[str, Any]:
    """What changes of a rule's state when it is edited."""
    if _turning(rule) != _turning(before.rule):
        return {"next_turn": first_turn(rule, now), "retry_at": None}
    # One that runs all the time has no turn at which the change would be tried.
    return {"retry_at": None} if rule.continuous else {}


def judged(found: StoredRule, record: RunRecord, now: datetime, *, lasting: bool) -> dict[str, Any]:
    """What changes of a rule's state when a run of it has ended: whether it is in trouble, and when it is tried again.

    ``lasting``: trying again soon is of no use.
    """
    if record.trigger is Trigger.REPROCESS or found.deleted is not None:
        return {}
    by_hand = record.trigger is Trigger.MANUAL
    has_schedule = found.rule.enabled and found.rule.schedule != ""
    if record.state is RunState.SUCCEEDED:
        return {"failures": 0, "retry_at": None, "trouble": None, "trouble_code": 0, "trouble_since": None}
    if record.state is RunState.INTERRUPTED:
        # Stopped by a person, or with its service: gone on with when that is there again.
        return {"retry_at": now} if has_schedule and not by_hand else {}
    trouble = {
        "trouble": record.error,
        "trouble_code": record.exit_code or 1,
        "trouble_since": found.trouble_since or now,
    }
    if by_hand:
        return trouble
    failures = found.failures + 1
    if found.rule.continuous and has_schedule:
        delay = LONGEST_DELAY if lasting else retry_delay(failures)
        return trouble | {"failures": failures, "retry_at": now + delay}
    if has_schedule and not lasting and failures <= found.rule.retries:
        return trouble | {"failures": failures, "retry_at": now + retry_delay(failures)}
    return trouble | {"failures": 0, "retry_at": None}


def _schedule(rule: Rule) -> Schedule:
    try:
        return parse_schedule(rule.schedule, rule.timezone)
    except (KeyError, ValueError, OSError):
        raise ConfigurationError(
            f"timezone={rule.timezone}: no such time zone. Give an IANA name, such as Asia/Shanghai."
        ) from None


def _turning(rule: Rule) -> tuple[str, str, bool]:
    return rule.schedule, rule.timezone, rule.enabled
