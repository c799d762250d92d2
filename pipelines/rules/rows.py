"""Rows of the store's tables as values, found and locked within a transaction."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from pipelines.rules.errors import NoSuchRuleError
from pipelines.rules.model import Rule, read_rule
from pipelines.rules.records import PartitionRecord, RunRecord, RunState, StoredRule, Trigger
from pipelines.rules.tables import revisions, rules, runs
from transforms.errors import ConfigurationError

#: Rules, each with its newest revision.
RULES = select(rules, revisions.c.document, revisions.c.changed, revisions.c.changed_by).join(
    revisions, (revisions.c.rule_id == rules.c.id) & (revisions.c.revision == rules.c.revision)
)
#: Runs, each with the name of its rule.
RUNS = select(runs, rules.c.name.label("rule_name")).join(rules, rules.c.id == runs.c.rule_id)


def find_rule(on: Connection, name: str) -> StoredRule:
    """The rule of that name, unless it is deleted. Raises NoSuchRuleError."""
    row = on.execute(RULES.where(rules.c.name == name, rules.c.deleted.is_(None))).first()
    if row is None:
        raise no_such_rule(on, name)
    return stored(row)


def lock_named(on: Connection, name: str) -> StoredRule:
    """The rule of that name, which nobody else changes or runs until the transaction ends. Raises NoSuchRuleError."""
    query = select(rules.c.id).where(rules.c.name == name, rules.c.deleted.is_(None))
    rule_id = on.execute(query.with_for_update()).scalar()
    if rule_id is None:
        raise no_such_rule(on, name)
    return locked(on, rule_id)


def lock(on: Connection, rule_id: str, *, wait: bool = True) -> StoredRule | None:
    """The same by its id, deleted or not.

    None where there is none, where it cannot be read here, or where another has locked it and ``wait`` is not given.
    """
    if not take_lock(on, rule_id, wait=wait):
        return None
    return if_readable(on.execute(RULES.where(rules.c.id == rule_id)).one())


def take_lock(on: Connection, rule_id: str, *, wait: bool = True) -> bool:
    """Lock the row of a rule; False where that cannot be done.

    Whoever writes locks the row of the one rule that it writes about, and that first: so nobody waits in a circle.
    """
    query = select(rules.c.id).where(rules.c.id == rule_id).with_for_update(skip_locked=not wait)
    return on.execute(query).scalar() is not None


def locked(on: Connection, rule_id: str) -> StoredRule:
    """A rule whose row is locked: a query of its own, for one that waits for a lock sees what was there before."""
    return stored(on.execute(RULES.where(rules.c.id == rule_id)).one())


def find_run(on: Connection, run_id: str) -> RunRecord:
    """The run of that id, which there is."""
    return record(on.execute(RUNS.where(runs.c.id == run_id)).one())


def last_of_schedule(on: Connection, rule_id: str) -> RunRecord | None:
    """The newest run that a schedule made."""
    by_turn = runs.c.trigger.in_([Trigger.SCHEDULE.value, Trigger.RETRY.value])
    query = RUNS.where(runs.c.rule_id == rule_id, by_turn).order_by(runs.c.started.desc(), runs.c.id.desc())
    row = on.execute(query.limit(1)).first()
    return None if row is None else record(row)


def keep_revision(
    on: Connection, rule_id: str, revision: int, rule: Rule, *, changed: datetime, changed_by: str
) -> None:
    """Write a revision of a rule."""
    on.execute(
        insert(revisions).values(
            rule_id=rule_id, revision=revision, document=rule.document(), changed=changed, changed_by=changed_by
        )
    )


def no_such_rule(on: Connection, name: str) -> NoSuchRuleError:
    """The error, with the name that was perhaps meant."""
    names: Sequence[str] = on.execute(select(rules.c.name).where(rules.c.deleted.is_(None))).scalars().all()
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]}?" if near else "tdmq-backup rule list shows those there are."
    return NoSuchRuleError(f"There is no rule {name}. {hint}")


def stored(row: Row[Any]) -> StoredRule:
    """A row of RULES."""
    return StoredRule(
        id=row.id,
        rule=read_rule(row.document),
        revision=row.revision,
        changed=row.changed,
        changed_by=row.changed_by,
        next_turn=row.next_turn,
        failures=row.failures,
        retry_at=row.retry_at,
        trouble=row.trouble,
        trouble_code=row.trouble_code,
        trouble_since=row.trouble_since,
        deleted=row.deleted,
    )


def if_readable(row: Row[Any]) -> StoredRule | None:
    """The same; None for a rule that a newer version has written, with fields that this one does not know."""
    try:
        return stored(row)
    except ConfigurationError:
        return None


def record(row: Row[Any]) -> RunRecord:
    """A row of RUNS."""
    values = dict(row._mapping)
    partitions = {name: _partition(each) for name, each in values.pop("partitions").items()}
    return RunRecord(
        **values
        | {
            "trigger": Trigger(row.trigger),
            "state": RunState(row.state),
            "partitions": partitions,
            "warnings": tuple(row.warnings),
        }
    )


def columns(of: RunRecord) -> dict[str, Any]:
    """A run as the columns of its row."""
    found = {name: value for name, value in asdict(of).items() if name != "rule_name"}
    return found | {"trigger": of.trigger.value, "state": of.state.value, "warnings": list(of.warnings)}


def changed_columns(progress: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of RunRecord that have changed, as columns."""
    found = dict(progress)
    if "partitions" in found:
        found["partitions"] = {name: asdict(each) for name, each in found["partitions"].items()}
    if "warnings" in found:
        found["warnings"] = list(found["warnings"])
    return found


def _partition(values: Mapping[str, Any]) -> PartitionRecord:
    return PartitionRecord(**{**values, "gaps": tuple(values["gaps"])})
