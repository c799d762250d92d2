"""The log of a rule: its runs, as a script reads them, and as they change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pipelines.rules.records import RunRecord, RunState, Trigger
from pipelines.rules.store import RuleStore


def as_json(run: RunRecord) -> dict[str, Any]:
    """A run as JSON can hold it; moments in UTC. The names are documented in the README, and a contract."""
    values: dict[str, Any] = asdict(run)
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return values | {"trigger": run.trigger.value, "state": run.state.value, "repeat": repeating(run)}


def repeating(run: RunRecord) -> str:
    """The command that repeats a run: reads the same stretch again, or goes on where it stopped."""
    if run.trigger is Trigger.REPROCESS or run.state is not RunState.SUCCEEDED:
        return run.command
    return f"tdmq-backup run {run.rule_name} --repeat {run.id}"


def first_sentence(run: RunRecord) -> str:
    """Why it did not succeed, in a line; empty where nothing is told."""
    return (run.error or "").partition("\n")[0]


class Following:
    """Tells what is new in the log of a rule."""

    def __init__(self, store: RuleStore, rule: str, run_id: str | None = None) -> None:
        self._store = store
        self._rule = rule
        self._run = run_id
        self._known: dict[str, RunRecord] = {}

    def changes(self) -> Iterator[RunRecord]:
        """Runs that have begun, gone on or ended since the last call; on the first call only those that go on."""
        first = not self._known
        self._store.find_lost()
        found = [self._store.run(self._run)] if self._run else self._store.log(self._rule, last=100)
        for run in reversed(found):
            before = self._known.get(run.id)
            self._known[run.id] = run
            if before is None and first and run.ended is not None and self._run is None:
                continue
            if before is None or _shown(before) != _shown(run):
                yield run


def _shown(run: RunRecord) -> tuple[Any, ...]:
    return run.state, run.messages, run.files, run.retries
