"""What the store keeps, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from pipelines.rules.model import Rule


class RunState(str, Enum):
    """How a run stands. All but the first are final."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """By Ctrl-C or SIGTERM."""
    LOST = "lost"
    """Its process died without a word."""


class Trigger(str, Enum):
    """Why a run was made."""

    SCHEDULE = "schedule"
    RETRY = "retry"
    """A failed run of the schedule, tried again."""
    MANUAL = "manual"
    REPROCESS = "reprocess"
    """A stretch of history; positions stay where they are."""


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule as the store has it."""

    id: str
    rule: Rule
    revision: int
    """1 for a new rule, one more for each edit."""
    changed: datetime
    changed_by: str
    next_turn: datetime | None = None
    """When the schedule runs it next; None where it has no turns, or is disabled."""
    failures: int = 0
    """Attempts in a row that did not succeed."""
    retry_at: datetime | None = None
    """When the last failed run is tried again; None where it waits for its turn."""
    trouble: str | None = None
    """Why its last run did not succeed."""
    trouble_code: int = 0
    """The exit code of that run."""
    trouble_since: datetime | None = None
    deleted: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """What is stored of a partition: all from ``origin`` up to before ``upto``, written ``ledger:entry:batch``."""

    origin: str
    upto: str
    found: datetime
    """When the run that stored the last of it had found its end."""


@dataclass(frozen=True, slots=True)
class PartitionRecord:
    """What a run did of one partition. Positions are written ``ledger:entry:batch``."""

    start: str
    stop: str
    messages: int = 0
    files: int = 0
    bytes: int = 0
    gaps: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run, from its first second on."""

    id: str
    rule_id: str
    rule_name: str
    revision: int
    trigger: Trigger
    state: RunState
    started: datetime
    holder: str
    """Host and process."""
    command: str
    """What repeats it."""
    due: datetime | None = None
    """The turn that it was made for: the last one, where several were missed."""
    turns: int = 0
    """How many turns it was made for."""
    attempt: int = 1
    ended: datetime | None = None
    seen: datetime | None = None
    """When it last said that it lives."""
    exit_code: int | None = None
    error: str | None = None
    """Cause and cure."""
    log_file: str | None = None
    """Its log lines and the traceback, on the host of ``holder``."""
    messages: int = 0
    bytes: int = 0
    files: int = 0
    already_stored: int = 0
    gaps: int = 0
    retries: int = 0
    """Requests that were tried again."""
    partitions: Mapping[str, PartitionRecord] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    flink_job: str | None = None
    savepoint: str | None = None
