"""Which run has a rule: one at a time, by a lease that it renews. Within a transaction that has locked the rule."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, delete, insert, select, update

from pipelines.rules import database, rows
from pipelines.rules.errors import LeaseLostError
from pipelines.rules.tables import leases, runs


def take(on: Connection, rule_id: str, run_id: str, lasts: timedelta) -> None:
    """Give a rule that is free to a run."""
    on.execute(insert(leases).values(rule_id=rule_id, run_id=run_id, expires=database.now(on) + lasts))


def lock_held(on: Connection, run_id: str, lasts: timedelta) -> str:
    """Lock the rule that a run has; gives its id. Raises LeaseLostError where the run has it no more."""
    rule_id: str | None = on.execute(select(runs.c.rule_id).where(runs.c.id == run_id)).scalar()
    if rule_id is None or not rows.take_lock(on, rule_id) or holder(on, rule_id) != run_id:
        raise LeaseLostError(
            f"Run {run_id} was not heard of for {lasts.total_seconds():.0f} s, and has lost its rule to another one. "
            "It ends here; what it stored stays."
        )
    return rule_id


def renew(on: Connection, run_id: str, lasts: timedelta) -> None:
    """Put the end of a lease off."""
    on.execute(update(leases).where(leases.c.run_id == run_id).values(expires=database.now(on) + lasts))


def give_back(on: Connection, run_id: str) -> None:
    """Make the rule free."""
    on.execute(delete(leases).where(leases.c.run_id == run_id))


def holder(on: Connection, rule_id: str) -> str | None:
    """The run that has the rule, expired or not."""
    return on.execute(select(leases.c.run_id).where(leases.c.rule_id == rule_id)).scalar()


def expired_holder(on: Connection, rule_id: str) -> str | None:
    """The run whose lease of the rule has expired."""
    query = select(leases.c.run_id).where(leases.c.rule_id == rule_id, leases.c.expires <= database.now(on))
    return on.execute(query).scalar()


def expired(on: Connection) -> list[str]:
    """The rules whose leases have expired. Needs no lock, and promises nothing of the next moment."""
    query = select(leases.c.rule_id).where(leases.c.expires <= database.now(on)).order_by(leases.c.rule_id)
    return list(on.execute(query).scalars())
