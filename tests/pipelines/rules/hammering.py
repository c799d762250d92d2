"""A process that does all at random to a store for a while, with several threads. Ends badly on what may not happen.

``python -m tests.pipelines.rules.hammering NUMBER SEED SECONDS EPOCH``, with TDMQ_BACKUP_STORE set.

What it does can be proved afterwards from the store alone: who reads, adds one and writes under a lease or a revision
loses nothing, whoever else writes. So of each rule the position counts the runs that succeeded, the description counts
the edits, and the turns of its runs are all that there were.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
import traceback
from datetime import datetime, timedelta, timezone

from pipelines.rules.errors import (
    LeaseLostError,
    NoSuchRuleError,
    NoSuchRunError,
    RuleBusyError,
    RuleChangedError,
    RuleExistsError,
)
from pipelines.rules.records import RunRecord, RunState, Trigger
from pipelines.rules.store import RuleStore
from tests.pipelines.rules.stored import PARTITION, a_rule, reached

RACES = 15
TURNING = ("turning-a", "turning-b")
THREADS = 3
#: So many seconds of the schedule pass in one.
SPEED = 100
FIRST = datetime(2026, 3, 1, tzinfo=timezone.utc)
_EXPECTED = (LeaseLostError, NoSuchRuleError, NoSuchRunError, RuleBusyError, RuleChangedError, RuleExistsError)


class Hammer:
    """One thread of it."""

    def __init__(self, name: str, seed: str, epoch: float) -> None:
        self._name, self._source, self._epoch, self._count = name, random.Random(seed), epoch, 0
        # Short enough that some are lost by who works on.
        self._store = RuleStore(clock=self._clock, lease_seconds=0.1)

    def _clock(self) -> datetime:
        return FIRST + timedelta(seconds=(time.time() - self._epoch) * SPEED)

    def _id(self) -> str:
        self._count += 1
        return f"{self._name}-{os.getpid()}-{self._count:06}"

    def race(self) -> None:
        """Begin each of the rules that all others begin too."""
        lasting = RuleStore(clock=self._clock, lease_seconds=3600)  # longer than it takes
        for number in range(RACES):
            with contextlib.suppress(RuleBusyError):
                lasting.begin(f"race-{number}", Trigger.MANUAL, run_id=self._id(), holder=self._name, command="-")
        lasting.close()

    def once(self) -> None:
        """Do something."""
        what = self._source.choice(
            [self._edit, self._run, self._run, self._claim, self._claim, self._come_and_go, self._look]
        )
        with contextlib.suppress(*_EXPECTED):
            what()

    def _edit(self) -> None:
        seen = self._store.get(self._source.choice([*TURNING, "by-hand"]))
        count = int(seen.rule.description or 0) + 1
        self._store.edit(seen.rule.model_copy(update={"description": str(count)}), seen.revision)

    def _run(self) -> None:
        name = self._source.choice([*TURNING, "by-hand"])
        self._work(self._store.begin(name, Trigger.MANUAL, run_id=self._id(), holder=self._name, command="-"))

    def _claim(self) -> None:
        run = self._store.claim(run_id=self._id(), holder=self._name)
        if run is not None:
            self._work(run)

    def _work(self, run: RunRecord) -> None:
        place = self._store.positions(run.rule_id).get(PARTITION)
        done = 0 if place is None else int(place.upto.split(":")[1])
        if self._source.random() < 0.2:
            time.sleep(self._source.uniform(0, 0.2))
        if self._source.random() < 0.3:
            self._store.renew(run.id, messages=done)
        if self._source.random() < 0.1:
            return  # as if it had died
        state = self._source.choice([RunState.SUCCEEDED, RunState.SUCCEEDED, RunState.FAILED, RunState.INTERRUPTED])
        good = state is RunState.SUCCEEDED
        self._store.end(run.id, state, exit_code=0 if good else 4, reached=reached(done + 1) if good else None)

    def _come_and_go(self) -> None:
        name = "coming-and-going"
        try:
            self._store.create(a_rule(name))
        except RuleExistsError:
            seen = self._store.get(name)
            self._store.delete(name, seen.revision, purge=self._source.random() < 0.3)
        if self._source.random() < 0.2:
            self._store.purge(name)

    def _look(self) -> None:
        self._store.find_lost()
        self._store.running()
        self._store.all()
        self._store.forget_old_runs()
        self._store.log("by-hand", last=3)
        self._store.revisions("by-hand")


def main(number: str, seed: str, seconds: str, epoch: str) -> int:
    """Hammer; 1 where something happened that may not."""
    failed = threading.Event()
    started = threading.Barrier(THREADS)

    def work(thread: int) -> None:
        try:
            hammer = Hammer(f"{number}.{thread}", f"{seed} {number} {thread}", float(epoch))
            started.wait()
            if thread == 0:
                print("opened", flush=True)
                sys.stdin.readline()
            hammer.race()
            until = time.monotonic() + float(seconds)
            while time.monotonic() < until and not failed.is_set():
                hammer.once()
        except Exception:
            traceback.print_exc()
            failed.set()

    threads = [threading.Thread(target=work, args=(each,)) for each in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return int(failed.is_set())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
