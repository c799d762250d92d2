"""The records of runs in the store, read; and the database that they are in, with its transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from sqlalchemy import Connection, Engine, delete, func, select

from pipelines.rules import database, rows
from pipelines.rules.errors import NoSuchRunError
from pipelines.rules.model import Rule, read_rule
from pipelines.rules.records import RunRecord, RunState, Trigger
from pipelines.rules.schedule import parse_days
from pipelines.rules.tables import Moment, revisions, rules, runs
from pipelines.rules.tables import leases as lease_rows

#: A run whose process has not been heard of for so long is lost, and another may take its rule over.
LEASE_SECONDS = 60.0


def utc_now() -> datetime:
    """The moment by this machine's clock."""
    return datetime.now(timezone.utc)


class RunLog:
    """What ``store.RuleStore`` tells of runs."""

    def __init__(
        self, url: str | None = None, *, clock: Callable[[], datetime] = utc_now, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._engine: Engine = database.open_database(url)
        self._clock = clock
        self._lease = timedelta(seconds=lease_seconds)
        self.lease_seconds = lease_seconds

    def close(self) -> None:
        """Give connections back."""
        self._engine.dispose()

    def run(self, run_id: str) -> RunRecord:
        """A run by its id, or by the beginning of it. Raises NoSuchRunError."""
        query = rows.RUNS.where(runs.c.id.startswith(run_id, autoescape=True)).order_by(runs.c.id)
        with self._read() as on:
            found = on.execute(query.limit(2)).all()
        if not found or (len(found) > 1 and found[0].id != run_id):
            many = f"There is no run {run_id}" if not found else f"Several runs begin with {run_id}"
            raise NoSuchRunError(f"{many}. tdmq-backup log NAME lists the runs of a rule.")
        return rows.record(found[0])

    def rule_of(self, record: RunRecord) -> Rule:
        """The rule as it was when a run began, whatever became of it since."""
        query = select(revisions.c.document).where(
            revisions.c.rule_id == record.rule_id, revisions.c.revision == record.revision
        )
        with self._read() as on:
            return read_rule(on.execute(query).scalar_one())

    def log(self, name: str, *, last: int | None = None, failed: bool = False) -> list[RunRecord]:
        """Runs of the rule of that name, deleted ones too, the newest first. Raises NoSuchRuleError."""
        query = rows.RUNS.where(rules.c.name == name).order_by(runs.c.started.desc(), runs.c.id.desc())
        if failed:
            query = query.where(runs.c.state.in_([RunState.FAILED.value, RunState.LOST.value]))
        with self._read() as on:
            if on.execute(select(rules.c.id).where(rules.c.name == name)).first() is None:
                raise rows.no_such_rule(on, name)
            return [rows.record(row) for row in on.execute(query.limit(last) if last is not None else query)]

    def running(self) -> dict[str, RunRecord]:
        """The run that has each rule's lease, by the rule's name."""
        with self._read() as on:
            found = on.execute(rows.RUNS.where(runs.c.id.in_(select(lease_rows.c.run_id)))).all()
        return {row.rule_name: rows.record(row) for row in found}

    def last_runs(self) -> dict[str, RunRecord]:
        """The newest run of each rule that has any, by the rule's id; runs of a stretch of history do not count."""
        counted = runs.c.trigger != Trigger.REPROCESS.value
        newest = select(runs.c.rule_id, func.max(runs.c.started).label("started")).where(counted)
        of_rule = newest.group_by(runs.c.rule_id).subquery()
        query = rows.RUNS.join(
            of_rule, (of_rule.c.rule_id == runs.c.rule_id) & (of_rule.c.started == runs.c.started)
        ).where(counted)
        with self._read() as on:
            found = on.execute(query.order_by(runs.c.id)).all()
        return {row.rule_id: rows.record(row) for row in found}

    def last_successes(self) -> dict[str, tuple[datetime, datetime]]:
        """When the last run of each rule that succeeded was started, and when it ended, by the rule's id.

        Runs of a stretch of history do not count.
        """
        started, ended = (func.max(each, type_=Moment()) for each in (runs.c.started, runs.c.ended))
        counted = (runs.c.state == RunState.SUCCEEDED.value) & (runs.c.trigger != Trigger.REPROCESS.value)
        with self._read() as on:
            found = on.execute(select(runs.c.rule_id, started, ended).where(counted).group_by(runs.c.rule_id)).all()
        return {rule_id: (start, end) for rule_id, start, end in found}

    def forget_old_runs(self) -> list[str]:
        """Drop records that are older than their rule keeps them; gives their log files."""
        with self._read() as on:
            readable = filter(None, map(rows.if_readable, on.execute(rows.RULES)))
            kept = {each.id: each.rule.keep_log for each in readable}
        files: list[str | None] = []
        for rule_id, days in kept.items():
            old = (runs.c.rule_id == rule_id) & (runs.c.ended < self._clock() - parse_days(days))
            with self._write() as on:
                files += on.execute(select(runs.c.log_file).where(old)).scalars().all()
                on.execute(delete(runs).where(old))
        return [file for file in files if file]

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with database.explained(self._engine), self._engine.connect() as on:
            yield on

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with database.explained(self._engine), database.writing(self._engine) as on:
            yield on
