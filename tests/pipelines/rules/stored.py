"""Rules and runs as the tests of the store make them."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone
from typing import Any

from pipelines.rules.model import Rule, read_rule
from pipelines.rules.records import Reached, RunRecord, RunState, Trigger
from pipelines.rules.store import RuleStore

PARTITION = "persistent://pulsar-x/shop/orders-partition-0"
_numbers = itertools.count(1)


def a_rule(name: str = "orders", **fields: Any) -> Rule:
    """A rule whose fields fit; every 15 minutes unless told otherwise."""
    values = {"schedule": "every 15m", "cluster": "pulsar-x", "namespace": "shop", "topic": "orders"}
    return read_rule({"name": name, **values, **fields})


def reached(entry: int, ledger: int = 1) -> dict[str, Reached]:
    """All of PARTITION up to before an entry."""
    found = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
    return {PARTITION: Reached("-1:-1:-1", f"{ledger}:{entry}:-1", found)}


def begin(store: RuleStore, name: str = "orders", trigger: Trigger = Trigger.MANUAL) -> RunRecord:
    """Begin a run by hand."""
    return store.begin(
        name, trigger, run_id=f"run-{next(_numbers):04}", holder="here:1", command=f"tdmq-backup run {name}"
    )


def claim(store: RuleStore, **options: Any) -> RunRecord | None:
    """Begin a run that is due."""
    return store.claim(run_id=f"run-{next(_numbers):04}", holder="here:1", **options)


def succeed(store: RuleStore, run: RunRecord, entry: int | None = None) -> RunRecord:
    """End a run well, having come to an entry."""
    where = None if entry is None else reached(entry)
    return store.end(run.id, RunState.SUCCEEDED, exit_code=0, reached=where)


def fail(store: RuleStore, run: RunRecord, *, lasting: bool = False) -> RunRecord:
    """End a run badly."""
    return store.end(run.id, RunState.FAILED, exit_code=4, error="The broker is away. Start it.", lasting=lasting)
