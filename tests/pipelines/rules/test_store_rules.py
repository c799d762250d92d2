"""Rules in the store: made, read, edited, deleted. Each test runs on SQLite and on Postgres."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from pipelines.rules.errors import LeaseLostError, NoSuchRuleError, RuleBusyError, RuleChangedError, RuleExistsError
from pipelines.rules.model import Rule
from pipelines.rules.records import RunState, Trigger
from pipelines.rules.store import RuleStore, this_user
from tests.pipelines.rules.stored import PARTITION, a_rule, begin, claim, fail, reached, succeed
from transforms.errors import ConfigurationError


def test_a_rule_is_read_as_it_was_written(store):
    rule = a_rule(
        description="Bestellungen für 北京, 'quoted' \"twice\" \\ %s {x} 🙂",
        topic=["orders", "returns"],
        tags={"team": "shop", "käse": "ja"},
        runner_options=["--parallelism=4"],
        retries=7,
        enabled=False,
    )
    made = store.create(rule)
    assert made == store.get("orders")
    assert made.rule == rule
    assert (made.revision, made.changed_by, made.failures, made.trouble, made.deleted) == (
        1,
        this_user(),
        0,
        None,
        None,
    )


def test_every_field_survives_the_store(store):
    texts = {
        name: f"{name}-x"
        for name, field in Rule.model_fields.items()
        if field.annotation in (str, str | None) and name not in ("name", "schedule", "keep_log", "timezone")
    }
    rule = a_rule("all", **{"schedule": "0 * * * *", "keep_log": "9d", "retries": 0, "tags": {"a": "b"}, **texts})
    store.create(rule)
    assert store.get("all").rule == rule


@pytest.mark.parametrize("zone", ["Mars/Base", "/etc", "Asia"])
def test_a_time_zone_that_is_not_known_is_told(store, zone):
    with pytest.raises(ConfigurationError, match=f"timezone={zone}: no such time zone"):
        store.create(a_rule(schedule="0 * * * *", timezone=zone))
    assert store.all() == []


def test_rules_are_listed_by_name_and_deleted_ones_are_not(store):
    names = ["b", "a", "B", "a-b", "a_b", "ab", "Z"]
    for name in [*names, "gone"]:
        store.create(a_rule(name))
    store.delete("gone", 1)
    assert [each.rule.name for each in store.all()] == sorted(names)


def test_a_name_is_taken_once(store):
    made = store.create(a_rule())
    with pytest.raises(RuleExistsError, match="There is a rule orders already"):
        store.create(a_rule(description="another"))
    assert store.get("orders") == made


def test_a_rule_that_is_not_there_is_named_with_the_nearest(store):
    store.create(a_rule())
    with pytest.raises(NoSuchRuleError, match=r"There is no rule ordres. Did you mean orders\?"):
        store.get("ordres")
    with pytest.raises(NoSuchRuleError, match="rule list shows those there are"):
        store.get("x")


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get("none"),
        lambda store: store.revisions("none"),
        lambda store: store.edit(a_rule("none"), 1),
        lambda store: store.delete("none", 1),
        lambda store: store.forget_positions("none"),
        lambda store: store.log("none"),
        lambda store: begin(store, "none"),
    ],
    ids=["get", "revisions", "edit", "delete", "forget_positions", "log", "begin"],
)
def test_nothing_is_done_of_a_rule_that_is_not_there(store, call):
    with pytest.raises(NoSuchRuleError):
        call(store)
    assert store.all() == []


def test_an_edit_makes_a_revision_and_all_of_them_are_kept(store):
    first = store.create(a_rule())
    second = store.edit(a_rule(codec="snappy"), 1)
    third = store.edit(a_rule(codec="null"), 2)
    assert [first.revision, second.revision, third.revision] == [1, 2, 3]
    assert store.get("orders") == third
    assert [each.rule for each in store.revisions("orders")] == [third.rule, second.rule, first.rule]
    assert [each.revision for each in store.revisions("orders")] == [3, 2, 1]
    assert [each.changed for each in store.revisions("orders")] == [third.changed, second.changed, first.changed]


def test_of_two_who_edit_the_second_is_told_and_nothing_is_lost(open_store):
    one, other = open_store(), open_store()
    one.create(a_rule())
    seen = other.get("orders").revision
    one.edit(a_rule(codec="snappy"), 1)
    with pytest.raises(RuleChangedError, match=f"was changed by {this_user()} at .*while you worked on revision 1"):
        other.edit(a_rule(codec="null"), seen)
    assert other.get("orders").rule.codec == "snappy"
    assert other.get("orders").revision == 2


def test_deleting_what_another_has_just_edited_is_refused(open_store):
    one, other = open_store(), open_store()
    one.create(a_rule())
    one.edit(a_rule(codec="snappy"), 1)
    with pytest.raises(RuleChangedError):
        other.delete("orders", 1)
    other.delete("orders", 2)
    assert one.all() == []


def test_a_new_schedule_has_turns_of_its_own_and_another_edit_leaves_them(open_store, clock):
    store = open_store(clock=clock)
    assert store.create(a_rule()).next_turn == datetime(2026, 3, 1, 12, 15, tzinfo=timezone.utc)
    clock.move(hours=2)
    assert store.edit(a_rule(codec="null"), 1).next_turn == datetime(2026, 3, 1, 12, 15, tzinfo=timezone.utc)
    assert store.edit(a_rule(schedule="0 * * * *"), 2).next_turn == datetime(2026, 3, 1, 15, tzinfo=timezone.utc)
    changed = store.edit(a_rule(schedule="0 16 * * *", timezone="Asia/Shanghai"), 3)
    assert changed.next_turn == datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
    assert store.edit(a_rule(schedule=""), 4).next_turn is None
    assert store.edit(a_rule(schedule="continuous"), 5).next_turn == clock()
    assert store.edit(a_rule(enabled=False), 6).next_turn is None
    assert store.edit(a_rule(), 7).next_turn == datetime(2026, 3, 1, 14, 15, tzinfo=timezone.utc)


def test_a_rule_that_is_disabled_is_not_tried_again(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule())
    clock.move(minutes=15)
    fail(store, claim(store))
    assert store.get("orders").retry_at is not None
    assert store.edit(a_rule(enabled=False), 1).retry_at is None
    clock.move(hours=9)
    assert claim(store) is None


def test_a_rule_that_runs_is_edited_and_its_run_keeps_the_revision_it_began_with(open_store, clock):
    store = open_store(clock=clock)
    store.create(a_rule())
    run = begin(store)
    store.edit(a_rule(codec="null"), 1)
    assert succeed(store, run).revision == 1
    assert begin(store).revision == 2


def test_a_rule_that_runs_is_not_deleted_nor_are_its_positions_forgotten(store):
    store.create(a_rule())
    succeed(store, begin(store), 5)
    run = begin(store)
    for refused in (
        lambda: store.delete("orders", 1),
        lambda: store.delete("orders", 1, purge=True),
        lambda: store.forget_positions("orders"),
    ):
        with pytest.raises(RuleBusyError, match=f"Rule orders is running: {run.id}, by here:1, since .*within 60 s"):
            refused()
    assert store.positions(run.rule_id) == reached(5)
    succeed(store, run)
    store.delete("orders", 1)


def test_a_deleted_rule_keeps_its_log_and_a_new_one_of_its_name_begins_anew(store):
    old = store.create(a_rule())
    succeed(store, begin(store), 5)
    store.delete("orders", 1)
    with pytest.raises(NoSuchRuleError):
        store.get("orders")
    (run,) = store.log("orders")
    new = store.create(a_rule())
    assert new.id != old.id
    assert (new.revision, store.positions(new.id), store.positions(old.id)) == (1, {}, {})
    later = begin(store)
    assert [each.id for each in store.log("orders")] == [later.id, run.id]
    assert len(store.revisions("orders")) == 1


def test_a_name_is_used_again_as_often_as_one_likes(store):
    for _ in range(3):
        store.create(a_rule())
        succeed(store, begin(store))
        store.delete("orders", 1)
    assert len(store.log("orders")) == 3
    assert store.purge("orders") == 3
    with pytest.raises(NoSuchRuleError):
        store.log("orders")


def test_purging_forgets_deleted_rules_alone(store):
    old = store.create(a_rule())
    run = succeed(store, begin(store), 5)
    store.delete("orders", 1)
    new = store.create(a_rule())
    kept = succeed(store, begin(store), 7)
    store.create(a_rule("others"))
    assert store.purge("orders") == 1
    assert store.purge("orders") == 0
    assert [each.id for each in store.log("orders")] == [kept.id]
    assert store.positions(new.id) == reached(7)
    assert store.positions(old.id) == {}
    assert run.id not in [each.id for each in store.log("others")]
    assert [each.rule.name for each in store.all()] == ["orders", "others"]


def test_deleting_with_purge_leaves_nothing(store):
    rule = store.create(a_rule())
    succeed(store, begin(store), 5)
    store.delete("orders", 1, purge=True)
    assert store.positions(rule.id) == {}
    assert store.purge("orders") == 0
    with pytest.raises(NoSuchRuleError):
        store.log("orders")


def test_positions_are_by_partition_and_the_newest_stands(store):
    rule = store.create(a_rule())
    first = reached(5) | {"other": reached(3)[PARTITION]}
    run = begin(store)
    store.end(run.id, RunState.SUCCEEDED, exit_code=0, reached=first)
    assert store.positions(rule.id) == first
    succeed(store, begin(store), 9)
    assert store.positions(rule.id) == first | reached(9)
    store.forget_positions("orders")
    assert store.positions(rule.id) == {}


def test_a_run_over_a_stretch_of_history_leaves_the_rule_as_it_was(store):
    store.create(a_rule())
    succeed(store, begin(store), 5)
    before = store.get("orders")
    fail(store, begin(store, trigger=Trigger.REPROCESS))
    succeed(store, begin(store, trigger=Trigger.REPROCESS))
    assert store.get("orders") == before
    assert store.positions(before.id) == reached(5)


def test_the_user_has_a_name_also_where_the_machine_knows_none(monkeypatch):
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert this_user().partition("@")[0].isdecimal()


def test_one_store_is_used_by_several_at_once_without_closing_it_for_others(open_store):
    one, other = open_store(), open_store()
    one.create(a_rule())
    one.close()
    assert isinstance(one, RuleStore)
    assert [each.rule.name for each in other.all()] == ["orders"]
    assert one.get("orders").revision == 1, "it opens again by itself"


def test_an_edit_can_let_the_next_run_begin_anew_but_not_while_one_goes_on(store):
    rule = store.create(a_rule())
    succeed(store, begin(store), 5)
    run = begin(store)
    with pytest.raises(RuleBusyError):
        store.edit(a_rule(topic="returns"), 1, forget_positions=True)
    assert (store.get("orders").revision, store.positions(rule.id)) == (1, reached(5))
    succeed(store, run)
    store.edit(a_rule(topic="returns"), 1, forget_positions=True)
    assert store.positions(rule.id) == {}


def test_a_run_knows_its_rule_as_it_was_when_it_began(store):
    store.create(a_rule(codec="null"))
    run = begin(store)
    store.edit(a_rule(codec="snappy"), 1)
    assert store.rule_of(run).codec == "null"


def test_positions_are_left_by_the_run_that_has_the_lease_alone(open_store):
    store, slow = open_store(), open_store(lease_seconds=0)
    rule = store.create(a_rule())
    succeed(store, begin(store), 5)
    old, new = begin(slow), begin(store)
    with pytest.raises(LeaseLostError):
        slow.leave_positions(old.id)
    assert store.positions(rule.id) == reached(5)
    store.leave_positions(new.id)
    assert store.positions(rule.id) == {}
