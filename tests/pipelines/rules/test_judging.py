"""What follows for a rule from how its runs end, as a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pipelines.rules.judging import due_turn, edited, judged
from pipelines.rules.records import RunRecord, RunState, StoredRule, Trigger
from tests.pipelines.rules.stored import a_rule

NOW = datetime(2026, 3, 1, 12, 1, tzinfo=timezone.utc)
BEFORE = NOW - timedelta(days=1)
CLEAN = {"failures": 0, "retry_at": None, "trouble": None, "trouble_code": 0, "trouble_since": None}
#: What a failed run always leaves.
TROUBLE = {"trouble": "It broke.", "trouble_code": 4, "trouble_since": NOW}


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@dataclass
class Case:
    state: RunState
    wanted: dict[str, Any]
    trigger: Trigger = Trigger.SCHEDULE
    lasting: bool = False
    failures: int = 0
    fields: dict[str, Any] | None = None


S, F, I, L = RunState.SUCCEEDED, RunState.FAILED, RunState.INTERRUPTED, RunState.LOST  # noqa: E741
MANUAL, RETRY, REPROCESS = Trigger.MANUAL, Trigger.RETRY, Trigger.REPROCESS
GIVEN_UP = TROUBLE | {"failures": 0, "retry_at": None}


def tried_again(failures: int, seconds: float) -> dict[str, Any]:
    return TROUBLE | {"failures": failures, "retry_at": after(seconds)}


CASES = {
    "succeeded": Case(S, CLEAN),
    "succeeded after failures": Case(S, CLEAN, failures=3),
    "succeeded as a retry": Case(S, CLEAN, RETRY, failures=1),
    "succeeded by hand": Case(S, CLEAN, MANUAL, failures=2),
    "failed once": Case(F, tried_again(1, 30)),
    "failed twice": Case(F, tried_again(2, 60), RETRY, failures=1),
    "failed three times": Case(F, tried_again(3, 120), RETRY, failures=2),
    "failed more often than it is tried again": Case(F, GIVEN_UP, RETRY, failures=3),
    "failed, never tried again": Case(F, GIVEN_UP, fields={"retries": 0}),
    "failed, tried again for long": Case(F, tried_again(20, 3600), RETRY, failures=19, fields={"retries": 20}),
    "failed for good": Case(F, GIVEN_UP, lasting=True),
    "failed for good after failures": Case(F, GIVEN_UP, RETRY, lasting=True, failures=2),
    "failed by hand": Case(F, TROUBLE, MANUAL),
    "failed by hand for good": Case(F, TROUBLE, MANUAL, lasting=True, failures=2),
    "failed, disabled meanwhile": Case(F, GIVEN_UP, fields={"enabled": False}),
    "failed, without a schedule meanwhile": Case(F, GIVEN_UP, fields={"schedule": ""}),
    "lost": Case(L, tried_again(1, 30)),
    "lost, for the fourth time": Case(L, GIVEN_UP, RETRY, failures=3),
    "lost by hand": Case(L, TROUBLE, MANUAL),
    "interrupted": Case(I, {"retry_at": NOW}),
    "interrupted after failures": Case(I, {"retry_at": NOW}, RETRY, failures=2),
    "interrupted by hand": Case(I, {}, MANUAL),
    "interrupted, disabled meanwhile": Case(I, {}, fields={"enabled": False}),
    "a stretch succeeded": Case(S, {}, REPROCESS, failures=2),
    "a stretch failed": Case(F, {}, REPROCESS),
    "a stretch was lost": Case(L, {}, REPROCESS),
    "a stretch was interrupted": Case(I, {}, REPROCESS),
    "continuous, failed": Case(F, tried_again(1, 30), fields={"schedule": "continuous"}),
    "continuous, failed often": Case(F, tried_again(9, 3600), failures=8, fields={"schedule": "continuous"}),
    "continuous, failed for good": Case(F, tried_again(1, 3600), lasting=True, fields={"schedule": "continuous"}),
    "continuous, lost": Case(L, tried_again(1, 30), fields={"schedule": "continuous"}),
    "continuous, interrupted": Case(I, {"retry_at": NOW}, fields={"schedule": "continuous"}),
    "continuous, disabled meanwhile": Case(F, GIVEN_UP, fields={"schedule": "continuous", "enabled": False}),
}


def stored(failures: int = 0, **fields: Any) -> StoredRule:
    return StoredRule("id", a_rule(**fields), 1, BEFORE, "someone", next_turn=BEFORE, failures=failures)


def ended(state: RunState, trigger: Trigger = Trigger.SCHEDULE) -> RunRecord:
    good = state is RunState.SUCCEEDED
    return RunRecord(
        id="run",
        rule_id="id",
        rule_name="orders",
        revision=1,
        trigger=trigger,
        state=state,
        started=BEFORE,
        holder="here:1",
        command="tdmq-backup run orders",
        exit_code=0 if good else 4,
        error=None if good else "It broke.",
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_follows_from_the_end_of_a_run(case):
    found = stored(case.failures, **case.fields or {})
    assert judged(found, ended(case.state, case.trigger), NOW, lasting=case.lasting) == case.wanted


def test_trouble_is_since_the_first_failure_and_of_the_last():
    found = replace(stored(1), trouble="Another thing.", trouble_code=3, trouble_since=BEFORE)
    values = judged(found, ended(F), NOW, lasting=False)
    assert (values["trouble"], values["trouble_code"], values["trouble_since"]) == ("It broke.", 4, BEFORE)


def test_a_run_without_an_exit_code_leaves_one():
    assert judged(stored(), replace(ended(L), exit_code=None), NOW, lasting=False)["trouble_code"] == 1


def test_a_deleted_rule_has_no_more_turns():
    assert judged(replace(stored(), deleted=NOW), ended(F), NOW, lasting=False) == {}


def test_an_edit_of_what_a_rule_does_leaves_its_turns_and_its_retry():
    found = replace(stored(), retry_at=NOW)
    assert edited(found, a_rule(codec="null"), NOW) == {}
    assert edited(found, a_rule(schedule="every 1h"), NOW)["retry_at"] is None


def test_at_a_turn_that_comes_before_the_retry_the_turn_is_taken():
    turn = due_turn(replace(stored(1), next_turn=NOW, retry_at=BEFORE), NOW)
    assert turn is not None
    assert (turn.trigger, turn.due, turn.turns, turn.attempt) == (Trigger.SCHEDULE, NOW, 1, 1)
