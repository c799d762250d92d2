"""Several at once at one store: threads, processes, some of them killed. Each test runs on SQLite and on Postgres."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.rules.errors import NoSuchRuleError, RuleBusyError, RuleChangedError, RuleExistsError
from pipelines.rules.records import RunState, Trigger
from pipelines.rules.store import RuleStore
from tests.pipelines.rules import hammering
from tests.pipelines.rules.stored import PARTITION, a_rule, begin, claim, succeed

ROOT = Path(__file__).parents[3]
MANY = 4


@pytest.fixture
def at_once(open_store):
    """Calls something with MANY stores at the same moment; gives what came of each, results and errors."""
    stores = [open_store() for _ in range(MANY)]

    def run(call: Callable[[RuleStore], Any]) -> list[Any]:
        ready = threading.Barrier(MANY)

        def each(store: RuleStore) -> Any:
            ready.wait()
            try:
                return call(store)
            except Exception as error:
                return error

        with ThreadPoolExecutor(MANY) as pool:
            return list(pool.map(each, stores))

    return run


def counted(outcomes: list[Any]) -> dict[type, int]:
    kinds = [type(each) for each in outcomes]
    return {kind: kinds.count(kind) for kind in kinds}


ROUNDS = range(3)


def test_of_many_who_create_a_rule_one_does(at_once):
    for number in ROUNDS:
        kinds = counted(at_once(lambda store, number=number: store.create(a_rule(f"rule{number}"))))
        assert kinds.pop(RuleExistsError) == MANY - 1, kinds
        assert list(kinds.values()) == [1]


def test_of_many_who_edit_a_revision_one_does_and_the_others_are_told(at_once, store):
    store.create(a_rule())
    for number in ROUNDS:
        outcomes = at_once(lambda store, number=number: store.edit(a_rule(description=f"{number}"), number + 1))
        kinds = counted(outcomes)
        assert kinds.pop(RuleChangedError) == MANY - 1, outcomes
        assert list(kinds.values()) == [1]
        assert store.get("orders").revision == number + 2


def test_of_many_who_delete_a_rule_one_does(at_once, store):
    for _ in ROUNDS:
        store.create(a_rule())
        outcomes = at_once(lambda store: store.delete("orders", 1))
        assert counted(outcomes) == {type(None): 1, NoSuchRuleError: MANY - 1}, outcomes


def test_of_many_who_begin_a_run_one_gets_the_lease(at_once, store):
    store.create(a_rule())
    for _ in ROUNDS:
        outcomes = at_once(begin)
        kinds = counted(outcomes)
        assert kinds.pop(RuleBusyError) == MANY - 1, outcomes
        (run,) = (each for each in outcomes if not isinstance(each, Exception))
        assert store.running() == {"orders": run}
        succeed(store, run)


def test_of_many_who_claim_a_turn_one_gets_it(open_store, at_once, store, clock):
    late = open_store(clock=clock)
    late.create(a_rule())
    for _ in ROUNDS:
        clock.move(hours=-24)
        late.edit(a_rule(enabled=False), late.get("orders").revision)
        late.edit(a_rule(), late.get("orders").revision)
        outcomes = at_once(claim)
        kinds = counted(outcomes)
        assert kinds.pop(type(None)) == MANY - 1, outcomes
        (run,) = (each for each in outcomes if each is not None)
        succeed(store, run)


def test_of_many_who_claim_as_many_rules_each_gets_one(open_store, at_once, clock):
    late = open_store(clock=clock)
    names = [f"rule{number}" for number in range(MANY)]
    for name in names:
        late.create(a_rule(name))
    taken: list[str] = []
    while len(taken) < MANY:  # one that was just looked at by another is left to it
        outcomes = [each for each in at_once(claim) if each is not None]
        assert outcomes, "nobody took what was left"
        taken += [each.rule_name for each in outcomes]
    assert sorted(taken) == names


def test_of_many_who_look_for_a_dead_run_one_finds_it(open_store, at_once, store):
    dead = open_store(lease_seconds=0)
    store.create(a_rule())
    for number in ROUNDS:
        run = begin(dead, trigger=Trigger.SCHEDULE)
        found = at_once(lambda store: store.find_lost())
        assert [each.id for lost in found for each in lost] == [run.id]
        assert store.get("orders").failures == (number + 1) % 4, "the fourth is not tried again"


def test_of_many_who_take_over_from_a_dead_run_one_does(open_store, at_once, store):
    dead = open_store(lease_seconds=0)
    store.create(a_rule())
    for _ in ROUNDS:
        lost = begin(dead)
        outcomes = at_once(begin)
        assert counted(outcomes)[RuleBusyError] == MANY - 1, outcomes
        assert store.run(lost.id).state is RunState.LOST
        succeed(store, store.running()["orders"])


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_many_open_a_new_store_at_once(request, kind):
    store_url = request.getfixturevalue(f"{kind}_url")
    ready = threading.Barrier(MANY)

    def opened(_: int) -> list[Any]:
        ready.wait()
        store = RuleStore(store_url)
        try:
            return store.all()
        finally:
            store.close()

    with ThreadPoolExecutor(MANY) as pool:
        assert list(pool.map(opened, range(MANY))) == [[]] * MANY


def test_all_at_once_by_processes_of_which_some_are_killed_and_the_store_stays_right(store_url, torture):
    processes, seconds, kills = torture.count(2, 6), torture.count(2, 30), torture.count(1, 30)
    epoch = time.time()
    store = RuleStore(store_url, clock=lambda: hammering.FIRST)
    for number in range(hammering.RACES):
        store.create(a_rule(f"race-{number}", schedule=""))
    for name in hammering.TURNING:
        store.create(a_rule(name, schedule="every 10s"))
    store.create(a_rule("by-hand", schedule=""))
    store.close()
    numbers = iter(range(10_000))
    until = time.monotonic() + 600
    running = [hammer(store_url, next(numbers), seconds, epoch, torture) for _ in range(processes)]
    for each in running:
        assert each.stdout.readline() == "opened\n", each.communicate()
    for each in running:
        release(each)
    for _ in range(kills):
        time.sleep(torture.random.uniform(0.3, 2 * seconds / kills))
        victim = running.pop(torture.random.randrange(len(running)))
        victim.kill()
        victim.communicate()
        running.append(hammer(store_url, next(numbers), max(1, seconds / 4), epoch, torture))
        release(running[-1])
    for each in running:
        said = each.communicate(timeout=max(1, until - time.monotonic()))
        assert each.returncode == 0, said
    assert_right(store_url)


def hammer(url: str, number: int, seconds: float, epoch: float, torture: Any) -> subprocess.Popen[str]:
    seed = str(torture.random.random())
    return subprocess.Popen(
        [sys.executable, "-m", hammering.__name__, str(number), seed, str(seconds), str(epoch)],
        cwd=ROOT,
        env={**os.environ, "TDMQ_BACKUP_STORE": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def release(process: subprocess.Popen[str]) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def assert_right(url: str) -> None:
    """What must be true of a store to which hammering.py was done."""
    store = RuleStore(url, lease_seconds=0)
    time.sleep(0.2)
    store.find_lost()
    running = store.running()
    for number in range(hammering.RACES):
        runs = store.log(f"race-{number}")
        assert len(runs) == 1, "exactly one got the lease"
        assert running[f"race-{number}"] == runs[0]
    ended = 0
    for name in (*hammering.TURNING, "by-hand"):
        rule, runs = store.get(name), store.log(name)
        assert all(run.state is not RunState.RUNNING for run in runs if name not in running)
        succeeded = sum(run.state is RunState.SUCCEEDED for run in runs)
        place = store.positions(rule.id).get(PARTITION)
        # On a slow machine whose processes are killed, no run of a rule may have come to its end.
        upto = "1:0:-1" if place is None else place.upto
        assert upto == f"1:{succeeded}:-1", "each run went on where the one before it had ended"
        ended += succeeded
        assert int(rule.rule.description) == rule.revision - 1, "no edit was lost"
        assert [each.revision for each in store.revisions(name)] == list(range(rule.revision, 0, -1))
        assert all(run.ended is not None for run in runs if run.state is not RunState.RUNNING)
    assert ended > 0
    for name in hammering.TURNING:
        turns = [run for run in store.log(name) if run.trigger is Trigger.SCHEDULE]
        last = max(run.due for run in turns)
        first = hammering.FIRST + timedelta(seconds=10)
        assert sum(run.turns for run in turns) == (last - first) // timedelta(seconds=10) + 1, "each turn once"
        assert store.get(name).next_turn == last + timedelta(seconds=10)
    store.close()
