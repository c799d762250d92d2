"""The schedule as a service: claims what is due, and makes each run in a process of its own.

Several services, also on several machines, may work on one store. A service that is killed leaves its runs to
themselves: they go on, hold their leases, and finish their records.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from pipelines.rules.database import data_folder
from pipelines.rules.errors import LeaseLostError, StoreError
from pipelines.rules.metrics import Metrics
from pipelines.rules.processes import Child, Launch
from pipelines.rules.records import RunRecord, RunState
from pipelines.rules.store import RuleStore, this_holder, utc_now
from pipelines.run_names import new_name
from transforms.errors import BackupError

#: Without an answer of the store for so long, a service is unwell.
UNWELL_SECONDS = 180.0
#: How often the store is asked for what is due.
POLL_SECONDS = 1.0
_RENEWALS = 4
_VIEW_SECONDS = 5.0
_WARN_SECONDS = 60.0
_FORGET = timedelta(days=1)
#: A run that was told to end says where it stopped; a Flink job that it has to cancel takes longest.
STOP_SECONDS = 75.0
CLAIM_SECONDS = 30.0
_SIGNALLED = (130, 143)

_log = logging.getLogger("pipelines.rules.serve")


class Service:
    """A service over one store.

    ``runs``: how many at once, beside those that watch a job without an end. ``launch`` starts a run's process.
    ``clock`` tells the time of schedules, and must be that of the store; ``poll_seconds`` are real ones.
    """

    def __init__(
        self,
        store: RuleStore,
        launch: Launch,
        *,
        runs: int = 2,
        metrics: Metrics | None = None,
        clock: Callable[[], datetime] = utc_now,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._store = store
        self._launch = launch
        self._runs = runs
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._poll = poll_seconds
        self._children: list[Child] = []
        #: Held from a claim to the start of its process, by who does not log meanwhile: a stop waits for it.
        self._claiming = threading.Lock()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._answered = time.monotonic()
        self._warned: float | None = None
        self._failure: BackupError | None = None
        self._next_view = 0.0
        self._next_renewal = 0.0
        self._next_forgetting: datetime | None = None
        self._worst = 0

    def serve(self) -> None:
        """Make what is due, until ``stop``."""
        while not self._stopping.is_set():
            self._turn(upto=None)
            self._wake.wait(self._poll)
            self._wake.clear()

    def once(self) -> int:
        """Make what is due now, each rule once, and wait for it; gives the highest exit code of the runs.

        Leaves continuous rules alone. Raises BackupError where the store does not answer, or no process can be started.
        """
        upto = self._clock()
        while not self._stopping.is_set():
            claimed = self._turn(upto=upto)
            if self._failure is not None and (not self._children or self.unwell() is not None):
                raise self._failure
            if not claimed and not self._children:
                break
            self._wake.wait(self._poll)
            self._wake.clear()
        return self._worst

    def stop(self) -> None:
        """End all runs that this service has started, as interrupted; they are gone on with by the next service.

        May be called by any thread, also while the others log no more.
        """
        self._stopping.set()
        self._wake.set()
        held = self._claiming.acquire(timeout=CLAIM_SECONDS)
        try:
            children = list(self._children)
            for child in children:
                child.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            for child in children:
                child.wait(deadline - time.monotonic())
            for child in children:
                try:
                    self._ended(child)
                except BackupError as error:
                    _log.warning("%s", error)
        finally:
            if held:
                self._claiming.release()

    def unwell(self) -> str | None:
        """Why a supervisor should start this service anew; None where it is well."""
        silent = time.monotonic() - self._answered
        return None if silent < UNWELL_SECONDS else f"the store was last heard of {silent:.0f} s ago"

    def standing(self) -> str:
        """What runs at this moment, for a sentence."""
        rules = sorted(child.rule for child in self._children if child.code is None)
        return f"while {', '.join(rules)} ran" if rules else "while nothing ran"

    def _turn(self, upto: datetime | None) -> bool:
        """Do what is to be done now; gives whether a run was started."""
        try:
            self._settle()
            self._find_lost()
            claimed = self._start_due(upto)
            self._renew_beginners()
            self._forget_old_runs()
            self._look()
        except BackupError as error:
            self._failure = error
            if isinstance(error, StoreError):
                self._metrics.store_failed()
            if self._warned is None or time.monotonic() - self._warned > _WARN_SECONDS:
                _log.warning("%s Trying again; runs that have begun go on.", error)
                self._warned = time.monotonic()
            return False
        self._answered, self._warned, self._failure = time.monotonic(), None, None
        self._metrics.store_answered()
        return claimed

    def _start_due(self, upto: datetime | None) -> bool:
        started = []
        while self._bounded() < self._runs and not self._stopping.is_set():
            with self._claiming:
                child = self._start_one(upto)
            if child is None:
                break
            started.append(child)
            _log.info("%s: run %s begins%s", child.rule, child.record.id, _what_for(child.record))
        return bool(started)

    def _bounded(self) -> int:
        """How many runs there are that count; one that only watches a job without an end has no turn."""
        return sum(child.record.due is not None for child in self._children)

    def _start_one(self, upto: datetime | None) -> Child | None:
        if self._stopping.is_set():
            return None
        now = self._clock()
        record = self._store.claim(run_id=new_name(now), holder=this_holder(), continuous=upto is None, upto=upto)
        if record is None:
            return None
        try:
            child = self._launch.start(record, self._wake.set)
        except OSError as error:
            said = (
                f"No process could be started for the run ({error.strerror}). Free memory, or give serve fewer --runs."
            )
            self._store.end(record.id, RunState.FAILED, exit_code=BackupError.exit_code, error=said)
            raise BackupError(said) from None
        self._children.append(child)
        return child

    def _settle(self) -> None:
        for child in [each for each in self._children if each.code is not None]:
            self._ended(child)
            self._children.remove(child)

    def _ended(self, child: Child) -> None:
        """A run's process has ended: see that its record has, too."""
        child.drain()
        record = self._store.run(child.record.id)
        if record.state is RunState.RUNNING:
            state = RunState.INTERRUPTED if child.exit_code in _SIGNALLED else RunState.LOST
            said = None if state is RunState.INTERRUPTED else f"{child.why_ended()} What it stored stays."
            try:
                record = self._store.end(record.id, state, exit_code=child.exit_code, error=said)
            except LeaseLostError:
                record = self._store.run(record.id)
        if child.counted:
            return
        child.counted = True
        self._worst = max(self._worst, record.exit_code if record.exit_code is not None else child.exit_code)
        self._metrics.ended(record)
        _log.log(
            logging.INFO if record.state is RunState.SUCCEEDED else logging.WARNING,
            "%s: run %s %s: %d messages in %d files%s",
            record.rule_name,
            record.id,
            record.state.value,
            record.messages,
            record.files,
            f". {record.error}" if record.error else "",
            extra={"fields": {"rule": record.rule_name, "run": record.id, "state": record.state.value}},
        )

    def _find_lost(self) -> None:
        for record in self._store.find_lost():
            self._metrics.ended(record)
            _log.warning("%s: run %s is lost. %s", record.rule_name, record.id, record.error)

    def _renew_beginners(self) -> None:
        """Hold the leases of processes that still load, and do not hold them themselves yet."""
        if time.monotonic() < self._next_renewal:
            return
        self._next_renewal = time.monotonic() + self._store.lease_seconds / _RENEWALS
        for child in self._children:
            record = self._store.run(child.record.id)
            if child.code is None and record.state is RunState.RUNNING and record.holder == this_holder():
                try:
                    self._store.renew(record.id)
                except LeaseLostError as error:
                    _log.warning("%s", error)

    def _forget_old_runs(self) -> None:
        now = self._clock()
        if self._next_forgetting is not None and now < self._next_forgetting:
            return
        self._next_forgetting = now + _FORGET
        logs = data_folder() / "logs"
        files = [Path(each) for each in self._store.forget_old_runs()]
        for file in files:
            # A record may come from anywhere; only what lies in our folder is ours to delete.
            if logs in file.parents and ".." not in file.parts:
                file.unlink(missing_ok=True)
        if files:
            _log.info("forgot %d old runs", len(files))

    def _look(self) -> None:
        if time.monotonic() < self._next_view:
            return
        self._next_view = time.monotonic() + _VIEW_SECONDS
        self._metrics.look(self._store, self._clock())


def _what_for(record: RunRecord) -> str:
    if record.due is None:
        return ""
    turn = f"the turn of {record.due:%Y-%m-%d %H:%M:%S}Z"
    if record.turns > 1:
        return f", for {record.turns} turns up to {turn}"
    return f", attempt {record.attempt} for {turn}" if record.attempt > 1 else f", for {turn}"
