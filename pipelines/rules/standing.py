"""How a rule stands, of what the store keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pipelines.rules.records import RunRecord, RunState, StoredRule
from pipelines.rules.schedule import parse_schedule


class State(str, Enum):
    """In a word."""

    OK = "ok"
    RUNNING = "running"
    RETRYING = "retrying"
    """Its last run did not succeed, and is tried again before its next turn."""
    IN_TROUBLE = "in trouble"
    """Its last run did not succeed."""
    DISABLED = "disabled"
    NEVER_RUN = "never run"


@dataclass(frozen=True, slots=True)
class Standing:
    """A rule, and how it stands."""

    found: StoredRule
    state: State
    last: RunRecord | None
    """Its newest run, the one that goes on included."""


def standing_of(found: StoredRule, last: RunRecord | None) -> Standing:
    """Judge a rule by what is kept of it, and by its newest run."""
    if last is not None and last.state is RunState.RUNNING:
        state = State.RUNNING
    elif not found.rule.enabled:
        state = State.DISABLED
    elif found.trouble is not None:
        state = State.RETRYING if found.retry_at is not None else State.IN_TROUBLE
    else:
        state = State.NEVER_RUN if last is None else State.OK
    return Standing(found, state, last)


def all_standings(found: list[StoredRule], last: Mapping[str, RunRecord]) -> list[Standing]:
    """The same for several; ``last`` has the newest run by the id of the rule."""
    return [standing_of(each, last.get(each.id)) for each in found]


def turns_of(found: StoredRule) -> str:
    """Its schedule in words."""
    rule = found.rule
    if not rule.schedule:
        return "by hand"
    in_zone = parse_schedule(rule.schedule, rule.timezone).cron is not None and rule.timezone != "UTC"
    return f"{rule.schedule} {rule.timezone}" if in_zone else rule.schedule


def as_json(of: Standing) -> dict[str, Any]:
    """As JSON can hold it; moments in UTC. The names are documented in the README, and a contract."""
    from pipelines.rules.history import as_json as run_json  # noqa: PLC0415 - loads the store

    found = of.found
    moments = {name: getattr(found, name) for name in ("next_turn", "retry_at", "trouble_since", "changed", "deleted")}
    return {
        "name": found.rule.name,
        "state": of.state.value,
        "revision": found.revision,
        "changed_by": found.changed_by,
        "failures": found.failures,
        "trouble": found.trouble,
        "trouble_code": found.trouble_code,
        **{name: value and value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for name, value in moments.items()},
        "rule": found.rule.model_dump(mode="json"),
        "given": found.rule.document(),
        "last_run": None if of.last is None else run_json(of.last),
    }
