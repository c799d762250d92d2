"""Runs in the store: begun, claimed by a schedule, renewed, ended, lost. Each test runs on SQLite and on Postgres."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from pipelines.rules.errors import LeaseLostError, NoSuchRunError, RuleBusyError
from pipelines.rules.records import PartitionRecord, RunState, Trigger
from tests.pipelines.rules.stored import PARTITION, a_rule, begin, claim, fail, reached, succeed


def at(hour: int, minute: int = 0, *, day: int = 1) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=timezone.utc)


def test_a_run_is_a_record_from_its_first_second(open_store, clock):
    store = open_store(clock=clock)
    rule = store.create(a_rule())
    run = begin(store)
    assert store.run(run.id) == run
    assert store.log("orders") == [run]
    assert store.running() == {"orders": run}
    assert (run.rule_id, run.rule_name, run.revision, run.trigger) == (rule.id, "orders", 1, Trigger.MANUAL)
    assert (run.state, run.started, run.seen, run.ended) == (RunState.RUNNING, clock(), clock(), None)
    assert (run.holder, run.command, run.due, run.turns, run.attempt) == (
        "here:1",
        "tdmq-backup run orders",
        None,
        0,
        1,
    )


def test_progress_and_the_end_are_kept(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule())
    run = begin(store)
    gap = {"start": "1:0:-1", "stop": "1:4:-1", "certain": True}
    partitions = {PARTITION: PartitionRecord("1:0:-1", "1:9:-1", 5, 1, 4_000_000_000, (gap,))}
    seen = clock.move(seconds=15)
    store.renew(run.id, messages=5, bytes=5_000_000_000, partitions=partitions, holder="there:2", log_file="/x.log")
    going = store.run(run.id)
    assert (going.seen, going.messages, going.bytes, going.partitions) == (seen, 5, 5_000_000_000, partitions)
    assert (going.state, going.holder, going.log_file) == (RunState.RUNNING, "there:2", "/x.log")
    ended = clock.move(seconds=15)
    warnings = ("The clock is 3 s off.", "Ein Satz mit Umlauten: äöü.")
    record = store.end(run.id, RunState.SUCCEEDED, exit_code=0, files=2, gaps=1, retries=3, warnings=warnings)
    assert record == store.run(run.id)
    assert (record.state, record.exit_code, record.ended, record.warnings) == (RunState.SUCCEEDED, 0, ended, warnings)
    assert (record.messages, record.files, record.gaps, record.retries) == (5, 2, 1, 3)
    assert record.partitions == partitions
    assert store.running() == {}


def test_a_rule_runs_once_at_a_time(open_store):
    one, other = open_store(), open_store()
    one.create(a_rule())
    one.create(a_rule("others"))
    run = begin(one)
    with pytest.raises(RuleBusyError, match=run.id):
        begin(other)
    begin(other, "others")
    succeed(one, run)
    begin(other)


def test_what_is_not_due_is_not_claimed(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule("by-hand", schedule=""))
    store.create(a_rule("disabled", enabled=False))
    store.create(a_rule("later"))
    store.create(a_rule("deleted"))
    store.delete("deleted", 1)
    assert claim(store) is None
    clock.move(minutes=14)
    run = claim(store)
    assert (run.rule_name, run.due, run.turns) == ("later", at(12, 15), 1)
    assert claim(store) is None
    succeed(store, run)
    assert claim(store) is None


def test_a_turn_is_claimed_once_and_the_next_one_is_the_next(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule())
    clock.now = at(12, 15)
    run = claim(store)
    assert (run.trigger, run.due, run.turns, run.attempt) == (Trigger.SCHEDULE, at(12, 15), 1, 1)
    assert run.command == "tdmq-backup run orders"
    assert store.get("orders").next_turn == at(12, 30)
    clock.now = at(12, 40)
    assert claim(store) is None, "it runs still"
    succeed(store, run)
    assert claim(store).due == at(12, 30), "its turn came while it ran"


def test_turns_that_were_missed_are_one_run(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule("interval"))
    store.create(a_rule("cron", schedule="0 * * * *"))
    clock.now = at(9, 20, day=2)
    runs = {run.rule_name: run for run in (claim(store), claim(store))}
    assert claim(store) is None
    assert (runs["interval"].due, runs["interval"].turns) == (at(9, 15, day=2), 85)
    assert (runs["cron"].due, runs["cron"].turns) == (at(9, day=2), 21)
    assert store.get("interval").next_turn == at(9, 30, day=2)
    assert store.get("cron").next_turn == at(10, day=2)


def test_later_turns_are_left_alone(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule())
    clock.now = at(14)
    assert claim(store, upto=at(12, 14)) is None
    run = claim(store, upto=at(13, 20))
    assert (run.due, run.turns) == (at(13, 15), 5)
    assert store.get("orders").next_turn == at(13, 30)


def test_of_rules_that_are_due_the_one_that_waits_longest_comes_first(open_store, clock):
    store = open_store(clock=clock)
    for name, schedule in (("a", "30 12 * * *"), ("b", "20 12 * * *"), ("c", "10 12 * * *")):
        store.create(a_rule(name, schedule=schedule))
    clock.now = at(13)
    assert [claim(store).rule_name for _ in range(3)] == ["c", "b", "a"]


def test_a_failed_turn_is_tried_again_for_the_turns_it_was_made_for(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule(schedule="every 1h", retries=2))
    clock.now = at(15, 10)
    first = claim(store)
    assert first.turns == 3
    fail(store, first)
    assert claim(store) is None
    clock.move(seconds=30)
    second = claim(store)
    assert (second.trigger, second.due, second.turns, second.attempt) == (Trigger.RETRY, at(15), 3, 2)
    fail(store, second)
    clock.move(seconds=59)
    assert claim(store) is None
    clock.move(seconds=1)
    third = claim(store)
    assert (third.trigger, third.due, third.turns, third.attempt) == (Trigger.RETRY, at(15), 3, 3)
    fail(store, third)
    clock.now = at(15, 59)
    assert claim(store) is None, "it has been tried as often as its rule says"
    assert store.get("orders").trouble == "The broker is away. Start it."
    clock.now = at(16)
    fourth = claim(store)
    assert (fourth.trigger, fourth.attempt) == (Trigger.SCHEDULE, 1)
    succeed(store, fourth)
    assert (store.get("orders").trouble, store.get("orders").trouble_since) == (None, None)


def test_a_run_by_hand_that_succeeds_makes_a_retry_needless(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule())
    clock.now = at(12, 15)
    fail(store, claim(store))
    succeed(store, begin(store))
    clock.move(minutes=5)
    assert claim(store) is None


def test_continuous_rules_are_for_those_who_ask_for_them(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule(schedule="continuous"))
    assert claim(store, continuous=False) is None
    run = claim(store)
    assert (run.trigger, run.due, run.turns) == (Trigger.SCHEDULE, None, 0)
    fail(store, run)
    assert claim(store) is None
    clock.move(seconds=30)
    assert claim(store) is not None


def test_a_continuous_rule_that_cannot_run_is_tried_each_hour_or_when_it_is_mended(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule(schedule="continuous"))
    fail(store, claim(store), lasting=True)
    clock.move(minutes=59)
    assert claim(store) is None
    clock.move(minutes=1)
    fail(store, claim(store), lasting=True)
    store.edit(a_rule(schedule="continuous", codec="null"), 1)
    assert claim(store) is not None


def test_a_run_whose_process_died_is_lost_and_its_rule_is_taken_over(open_store, clock):
    store, dead = open_store(clock=clock), open_store(clock=clock, lease_seconds=0)
    store.create(a_rule())
    clock.now = at(12, 15)
    died = claim(dead)
    last = clock.move(seconds=20)
    (lost,) = store.find_lost()
    assert store.find_lost() == []
    assert lost == store.run(died.id)
    assert (lost.state, lost.ended, lost.seen) == (RunState.LOST, last, died.started)
    assert "(here:1) has not been heard of since 2026-03-01 12:15:00Z" in lost.error
    rule = store.get("orders")
    assert (rule.trouble, rule.trouble_code, rule.failures) == (lost.error, 1, 1)
    assert store.running() == {}
    clock.move(seconds=30)
    again = claim(store)
    assert (again.trigger, again.due, again.attempt) == (Trigger.RETRY, died.due, 2)


@pytest.mark.parametrize("how", ["claim", "begin", "delete", "forget_positions"])
def test_whoever_needs_the_rule_of_a_dead_run_finds_it_lost(open_store, clock, how):
    store, dead = open_store(clock=clock), open_store(clock=clock, lease_seconds=0)
    store.create(a_rule())
    died = begin(dead)
    clock.now = at(12, 15)
    if how == "claim":
        assert claim(store).due == at(12, 15)
    elif how == "begin":
        begin(store)
    elif how == "delete":
        store.delete("orders", 1)
    else:
        store.forget_positions("orders")
    assert store.run(died.id).state is RunState.LOST


def test_who_has_lost_the_lease_changes_nothing_any_more(open_store, clock):
    store, slow = open_store(clock=clock), open_store(clock=clock, lease_seconds=0)
    rule = store.create(a_rule())
    succeed(store, begin(store), 5)
    old = begin(slow)
    new = begin(store)
    before = (store.get("orders"), store.log("orders"), store.positions(rule.id), store.running())
    clock.move(seconds=1)
    for late in (
        lambda: slow.renew(old.id, messages=99, error="late"),
        lambda: slow.end(old.id, RunState.SUCCEEDED, exit_code=0, reached=reached(2), messages=99),
        lambda: slow.end(old.id, RunState.FAILED, exit_code=4, error="late"),
    ):
        with pytest.raises(LeaseLostError, match=f"Run {old.id} was not heard of for .*what it stored stays"):
            late()
    assert (store.get("orders"), store.log("orders"), store.positions(rule.id), store.running()) == before
    succeed(store, new, 7)
    with pytest.raises(LeaseLostError):
        slow.end(old.id, RunState.SUCCEEDED, exit_code=0, reached=reached(2))
    assert store.positions(rule.id) == reached(7)


def test_a_run_is_ended_once(store):
    store.create(a_rule())
    run = begin(store)
    succeed(store, run, 5)
    with pytest.raises(LeaseLostError):
        fail(store, run)
    with pytest.raises(LeaseLostError):
        store.renew(run.id)
    assert store.run(run.id).state is RunState.SUCCEEDED


def test_an_expired_lease_that_nobody_has_taken_over_is_renewed(open_store):
    slow = open_store(lease_seconds=0)
    slow.create(a_rule())
    run = begin(slow)
    slow.renew(run.id, messages=3)
    assert succeed(slow, run, 5).messages == 3


def test_a_lease_that_is_renewed_is_not_lost(open_store):
    lasting, short = open_store(), open_store(lease_seconds=0)
    lasting.create(a_rule())
    run = begin(short)
    lasting.renew(run.id)
    assert lasting.find_lost() == []
    with pytest.raises(RuleBusyError):
        begin(lasting)


def test_runs_are_found_by_the_beginning_of_their_ids(store):
    store.create(a_rule())
    store.create(a_rule("others"))
    ids = ["20260301T120000Z-ab12", "20260301T120000Z-ab13", "20260302T120000Z-ab14", "2026030"]
    for each in ids:
        succeed(store, store.begin("orders", Trigger.MANUAL, run_id=each, holder="h", command="c"))
    for written, meant in (
        (ids[0], ids[0]),
        ("20260302", ids[2]),
        ("20260301T120000Z-ab13", ids[1]),
        ("2026030", ids[3]),
    ):
        assert store.run(written).id == meant
    with pytest.raises(NoSuchRunError, match="Several runs begin with 20260301"):
        store.run("20260301")
    for none in ("20260303", "2026030_", "2026%", "x", "20260301T120000Z-ab123"):
        with pytest.raises(NoSuchRunError, match="There is no run"):
            store.run(none)


def test_the_log_is_the_newest_first_and_can_be_of_failures_alone(open_store, clock):
    store, dead = open_store(clock=clock), open_store(clock=clock, lease_seconds=0)
    store.create(a_rule())
    ids = []
    for end in (succeed, fail, succeed, fail):
        run = begin(store)
        ids.insert(0, run.id)
        end(store, run)
        clock.move(minutes=1)
    lost = begin(dead)
    store.find_lost()
    clock.move(minutes=1)
    ids.insert(0, lost.id)
    assert [each.id for each in store.log("orders")] == ids
    assert [each.id for each in store.log("orders", last=2)] == ids[:2]
    assert store.log("orders", last=0) == []
    assert [each.id for each in store.log("orders", failed=True)] == [ids[0], ids[1], ids[3]]
    assert [each.id for each in store.log("orders", failed=True, last=2)] == [ids[0], ids[1]]


def test_the_last_success_of_each_rule_is_known(open_store, clock):
    store = open_store(clock=clock)
    rule, other = store.create(a_rule()), store.create(a_rule("other"))
    started = clock.move(minutes=1)
    run = begin(store)
    ended = clock.move(minutes=1)
    succeed(store, run)
    clock.move(minutes=1)
    succeed(store, begin(store, trigger=Trigger.REPROCESS))
    fail(store, begin(store))
    fail(store, begin(store, "other"))
    assert store.last_successes() == {rule.id: (started, ended)}
    assert other.id not in store.last_successes()


def test_records_are_forgotten_when_their_rule_no_longer_keeps_them(open_store, clock):
    store = open_store(clock=clock)
    short, long = a_rule("short", keep_log="1d"), a_rule("long", keep_log="9d")
    store.create(short)
    store.create(long)
    for name in ("short", "long"):
        run = begin(store, name)
        store.renew(run.id, log_file=f"/{name}.log")
        succeed(store, run, 5)
        succeed(store, begin(store, name))
    clock.move(hours=23)
    kept = succeed(store, begin(store, "short"))
    clock.move(hours=2)
    running = begin(store, "long")
    assert store.forget_old_runs() == ["/short.log"]
    assert store.forget_old_runs() == []
    assert [each.id for each in store.log("short")] == [kept.id]
    assert len(store.log("long")) == 3
    assert store.positions(store.get("short").id) == reached(5)
    store.delete("short", 1)
    clock.move(hours=24 * 30)
    assert store.forget_old_runs() == ["/long.log"]
    assert store.log("short") == []
    assert [each.id for each in store.log("long")] == [running.id]


def test_moments_keep_their_microseconds_and_their_order(open_store, clock):
    store = open_store(clock=clock)
    clock.now = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=8)))
    store.create(a_rule())
    first = succeed(store, begin(store))
    clock.move(microseconds=1)
    second = succeed(store, begin(store))
    assert store.run(first.id).started == datetime(2026, 3, 1, 15, 59, 59, 999_999, tzinfo=timezone.utc)
    assert [each.id for each in store.log("orders")] == [second.id, first.id]


@pytest.mark.parametrize(
    "document",
    ['{"name": "a", "shiny": 1}', '{"name": "a", "schedule": "0 * * * *", "timezone": "Mars/Base"}'],
    ids=["a field of a newer version", "a time zone that is not here"],
)
def test_a_rule_that_cannot_run_here_does_not_hold_up_the_others(open_store, clock, document):
    store = open_store(clock=clock)
    for name in ("a", "b"):
        store.create(a_rule(name))
    with store._engine.begin() as on:
        on.exec_driver_sql(
            f"UPDATE revision SET document = '{document}' WHERE rule_id = (SELECT id FROM rule WHERE name = 'a')"
        )
    clock.now = at(13)
    assert claim(store).rule_name == "b"
    assert store.find_lost() == []
    assert store.forget_old_runs() == []


def test_the_newest_run_of_each_rule_is_known(open_store, clock):
    store = open_store(clock=clock)
    rule, other = store.create(a_rule()), store.create(a_rule("other"))
    store.create(a_rule("never-run"))
    succeed(store, begin(store))
    only = begin(store, "other")
    clock.move(minutes=1)
    newest = fail(store, begin(store))
    clock.move(minutes=1)
    succeed(store, begin(store, trigger=Trigger.REPROCESS))
    assert store.last_runs() == {rule.id: newest, other.id: only}
