"""Where rules, the record of their runs and their positions are kept: SQLite, or Postgres for several machines.

Everything that two processes could do at once is one transaction here, which first locks the row of the rule that it is
about: a rule is edited only by who has seen its newest revision, and run by one process at a time, which has its lease.
"""

from __future__ import annotations

import getpass
import logging
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from pipelines.rules import judging, leases, rows
from pipelines.rules.errors import RuleBusyError, changed_meanwhile, taken
from pipelines.rules.model import Rule, read_rule
from pipelines.rules.records import Reached, RunRecord, RunState, StoredRule, Trigger
from pipelines.rules.run_log import LEASE_SECONDS, RunLog, utc_now
from pipelines.rules.tables import leases as lease_rows
from pipelines.rules.tables import positions, revisions, rules, runs
from transforms.errors import ConfigurationError

__all__ = ["LEASE_SECONDS", "RuleStore", "this_holder", "this_user", "utc_now"]

_log = logging.getLogger("pipelines.rules")


def this_holder() -> str:
    """Who runs: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def this_user() -> str:
    """Who edits: user and host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container, a user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:255]


class RuleStore(RunLog):
    """A store; may be used by several threads, and by several processes and machines at once.

    ``clock`` tells the time of schedules and records. Leases go by the clock of Postgres, or of the one machine.
    All methods raise StoreError where the database fails.
    """

    # --- rules ---

    def create(self, rule: Rule) -> StoredRule:
        """Keep a new rule. Raises RuleExistsError."""
        now = self._clock()
        rule_id, turn = uuid.uuid4().hex, judging.first_turn(rule, now)
        with self._write() as on:
            try:
                on.execute(insert(rules).values(id=rule_id, name=rule.name, revision=1, next_turn=turn))
            except IntegrityError:
                raise taken(rule.name) from None
            rows.keep_revision(on, rule_id, 1, rule, changed=now, changed_by=this_user())
            return rows.find_rule(on, rule.name)

    def get(self, name: str) -> StoredRule:
        """The rule of that name. Raises NoSuchRuleError."""
        with self._read() as on:
            return rows.find_rule(on, name)

    def all(self) -> list[StoredRule]:
        """All rules, by name."""
        with self._read() as on:
            found = on.execute(rows.RULES.where(rules.c.deleted.is_(None))).all()
        # Databases order texts differently.
        return sorted(map(rows.stored, found), key=lambda each: each.rule.name)

    def edit(self, rule: Rule, seen: int, *, forget_positions: bool = False) -> StoredRule:
        """Replace a rule of which revision ``seen`` is known.

        ``forget_positions``: its next run begins at the start point. Raises NoSuchRuleError, RuleChangedError where it
        has a newer revision, and RuleBusyError where it runs and its positions shall be forgotten.
        """
        now = self._clock()
        with self._write() as on:
            before = self._lock_seen(on, rule.name, seen)
            if forget_positions:
                self._refuse_busy(on, before)
                on.execute(delete(positions).where(positions.c.rule_id == before.id))
            values = {"revision": seen + 1} | judging.edited(before, rule, now)
            rows.keep_revision(on, before.id, seen + 1, rule, changed=now, changed_by=this_user())
            on.execute(update(rules).where(rules.c.id == before.id).values(**values))
            return rows.find_rule(on, rule.name)

    def revisions(self, name: str) -> list[StoredRule]:
        """A rule as it was, the newest revision first; of the rest of the record only the present is known."""
        with self._read() as on:
            present = rows.find_rule(on, name)
            query = select(revisions).where(revisions.c.rule_id == present.id)
            found = on.execute(query.order_by(revisions.c.revision.desc())).all()
        return [
            replace(
                present,
                rule=read_rule(each.document),
                revision=each.revision,
                changed=each.changed,
                changed_by=each.changed_by,
            )
            for each in found
        ]

    def delete(self, name: str, seen: int, *, purge: bool = False) -> None:
        """Delete a rule of which revision ``seen`` is known; its log stays, unless ``purge``.

        Raises NoSuchRuleError, RuleChangedError, and RuleBusyError while it runs.
        """
        with self._write() as on:
            before = self._lock_seen(on, name, seen)
            self._refuse_busy(on, before)
            if purge:
                _purge(on, before.id)
            else:
                on.execute(delete(positions).where(positions.c.rule_id == before.id))
                on.execute(
                    update(rules)
                    .where(rules.c.id == before.id)
                    .values(deleted=self._clock(), next_turn=None, retry_at=None)
                )

    def purge(self, name: str) -> int:
        """Forget the log of deleted rules of that name; gives how many there were."""
        query = select(rules.c.id).where(rules.c.name == name, rules.c.deleted.is_not(None)).order_by(rules.c.id)
        with self._write() as on:
            found = on.execute(query.with_for_update()).scalars().all()
            for rule_id in found:
                _purge(on, rule_id)
            return len(found)

    # --- positions ---

    def positions(self, rule_id: str) -> dict[str, Reached]:
        """What is stored of each partition; the next run goes on behind it."""
        with self._read() as on:
            found = on.execute(select(positions).where(positions.c.rule_id == rule_id)).all()
        return {row.partition: Reached(row.origin, row.upto, row.found) for row in found}

    def forget_positions(self, name: str) -> None:
        """Let the next run begin at the start point. Raises NoSuchRuleError, and RuleBusyError while it runs."""
        with self._write() as on:
            found = rows.lock_named(on, name)
            self._refuse_busy(on, found)
            on.execute(delete(positions).where(positions.c.rule_id == found.id))

    def leave_positions(self, run_id: str) -> None:
        """Forget them because the run that has the lease goes by the subscription. Raises LeaseLostError."""
        with self._write() as on:
            rule_id = leases.lock_held(on, run_id, self._lease)
            on.execute(delete(positions).where(positions.c.rule_id == rule_id))

    # --- runs ---

    def begin(self, name: str, trigger: Trigger, *, run_id: str, holder: str, command: str) -> RunRecord:
        """Take the lease of a rule, and begin the record of a run of it.

        Raises NoSuchRuleError, and RuleBusyError where another run has the lease.
        """
        with self._write() as on:
            found = rows.lock_named(on, name)
            self._refuse_busy(on, found)
            return self._begin(on, found, trigger, id=run_id, holder=holder, command=command)

    def claim(
        self, *, run_id: str, holder: str, continuous: bool = True, upto: datetime | None = None
    ) -> RunRecord | None:
        """Take the lease of a rule that is due, and begin the record of its run; None where none is.

        A turn is taken together with those before it that were missed. ``upto``: later turns are left alone.
        """
        self.find_lost()
        now = self._clock() if upto is None else min(self._clock(), upto)
        for rule_id in self._due(now):
            with self._write() as on:
                found = rows.lock(on, rule_id, wait=False)
                if found is None or found.deleted is not None or leases.holder(on, rule_id) is not None:
                    continue
                try:
                    turn = None if found.rule.continuous and not continuous else judging.due_turn(found, now)
                except ConfigurationError as error:
                    _log.warning("Rule %s cannot run here: %s", found.rule.name, error)
                    continue
                if turn is None:
                    continue
                values = {"next_turn": turn.next_turn, "retry_at": None}
                on.execute(update(rules).where(rules.c.id == rule_id).values(values))
                last = rows.last_of_schedule(on, rule_id) if turn.trigger is Trigger.RETRY else None
                return self._begin(
                    on,
                    found,
                    turn.trigger,
                    id=run_id,
                    holder=holder,
                    command=f"tdmq-backup run {found.rule.name}",
                    due=last.due if last else turn.due,
                    turns=last.turns if last else turn.turns,
                    attempt=turn.attempt,
                )
        return None

    def renew(self, run_id: str, **progress: Any) -> None:
        """Say that a run lives, and how far it is. Raises LeaseLostError where it has lost its lease.

        ``progress`` are fields of RunRecord; ``partitions`` too.
        """
        with self._write() as on:
            leases.lock_held(on, run_id, self._lease)
            leases.renew(on, run_id, self._lease)
            values = {"seen": self._clock(), **rows.changed_columns(progress)}
            on.execute(update(runs).where(runs.c.id == run_id).values(**values))

    def end(
        self,
        run_id: str,
        state: RunState,
        *,
        exit_code: int,
        error: str | None = None,
        reached: Mapping[str, Reached] | None = None,
        lasting: bool = False,
        **progress: Any,
    ) -> RunRecord:
        """End a run, give its lease back, and keep where it has come to, all at once.

        ``reached`` is by partition what is stored now, behind which the next run goes on. ``lasting``: trying again
        soon is of no use. Raises LeaseLostError where the run has lost its lease; nothing is changed then.
        """
        now = self._clock()
        with self._write() as on:
            found = rows.locked(on, leases.lock_held(on, run_id, self._lease))
            leases.give_back(on, run_id)
            values = {"state": state.value, "ended": now, "seen": now, "exit_code": exit_code, "error": error}
            record = self._finish(on, found, run_id, values | rows.changed_columns(progress), lasting=lasting)
            for partition, place in (reached or {}).items():
                of_partition = (positions.c.rule_id == found.id) & (positions.c.partition == partition)
                on.execute(delete(positions).where(of_partition))
                on.execute(
                    insert(positions).values(rule_id=found.id, partition=partition, run_id=run_id, **asdict(place))
                )
        return record

    def find_lost(self) -> list[RunRecord]:
        """Mark runs whose process died without a word, and give them."""
        with self._read() as on:
            expired = leases.expired(on)
        lost = []
        for rule_id in expired:
            with self._write() as on:
                found = rows.lock(on, rule_id)
                record = None if found is None else self._mark_lost(on, found)
            lost += [] if record is None else [record]
        return lost

    # --- inside a transaction ---

    def _lock_seen(self, on: Connection, name: str, seen: int) -> StoredRule:
        found = rows.lock_named(on, name)
        if found.revision != seen:
            raise changed_meanwhile(found, seen)
        return found

    def _refuse_busy(self, on: Connection, found: StoredRule) -> None:
        self._mark_lost(on, found)
        held = leases.holder(on, found.id)
        if held is not None:
            run = rows.find_run(on, held)
            raise RuleBusyError(
                f"Rule {found.rule.name} is running: {run.id}, by {run.holder}, since "
                f"{run.started:%Y-%m-%d %H:%M:%S}Z. Wait for it, or stop it there. If that process has died, its lease "
                f"expires within {self.lease_seconds:.0f} s."
            )

    def _begin(self, on: Connection, found: StoredRule, trigger: Trigger, **values: Any) -> RunRecord:
        now = self._clock()
        record = RunRecord(
            rule_id=found.id,
            rule_name=found.rule.name,
            revision=found.revision,
            trigger=trigger,
            state=RunState.RUNNING,
            started=now,
            seen=now,
            **values,
        )
        on.execute(insert(runs).values(rows.columns(record)))
        leases.take(on, found.id, record.id, self._lease)
        return record

    def _mark_lost(self, on: Connection, found: StoredRule) -> RunRecord | None:
        """End the run whose lease of a locked rule has expired."""
        run_id = leases.expired_holder(on, found.id)
        if run_id is None:
            return None
        leases.give_back(on, run_id)
        record = rows.find_run(on, run_id)
        said = (
            f"The process of this run ({record.holder}) has not been heard of since "
            f"{record.seen or record.started:%Y-%m-%d %H:%M:%S}Z: it was killed, or its machine went down. What it "
            "stored stays, and the next run completes it."
        )
        values = {"state": RunState.LOST.value, "ended": self._clock(), "error": said}
        return self._finish(on, found, run_id, values, lasting=False)

    def _finish(
        self, on: Connection, found: StoredRule, run_id: str, values: dict[str, Any], *, lasting: bool
    ) -> RunRecord:
        """Write how a run has ended, and what follows from it for its rule."""
        on.execute(update(runs).where(runs.c.id == run_id).values(**values))
        record = rows.find_run(on, run_id)
        follows = judging.judged(found, record, self._clock(), lasting=lasting)
        if follows:
            on.execute(update(rules).where(rules.c.id == found.id).values(**follows))
        return record

    def _due(self, now: datetime) -> list[str]:
        free = rules.c.id.not_in(select(lease_rows.c.rule_id))
        due = (rules.c.next_turn <= now) | (rules.c.retry_at <= now)
        query = select(rules.c.id).where(rules.c.deleted.is_(None), free, due).order_by(rules.c.next_turn, rules.c.name)
        with self._read() as on:
            return list(on.execute(query).scalars())


def _purge(on: Connection, rule_id: str) -> None:
    for table in (lease_rows, positions, runs, revisions):
        on.execute(delete(table).where(table.c.rule_id == rule_id))
    on.execute(delete(rules).where(rules.c.id == rule_id))
