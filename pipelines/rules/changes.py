"""What an edit changes of a rule, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.rules.model import Rule

_PLACE = ("bucket", "region", "destination_path", "cos_endpoint", "path_template")
_TOPICS = ("cluster", "namespace", "topic", "topic_pattern")
_CUT = ("granularity", "window_by", "format")
#: Fields that do not touch what is read and written.
_OF_TURNS = {"schedule", "enabled", "description", "retries", "keep_log"}


def difference(before: Rule, after: Rule) -> list[str]:
    """A line for each field that differs: ``granularity: 5m -> 15m``."""
    return [
        f"{name}: {_shown(getattr(before, name))} -> {_shown(getattr(after, name))}" for name in changed(before, after)
    ]


def changed(before: Rule, after: Rule) -> list[str]:
    """The fields that differ, in their order."""
    return [name for name in Rule.model_fields if getattr(before, name) != getattr(after, name)]


def effects(
    before: Rule, after: Rule, *, has_positions: bool, forgets: bool = False, running: bool = False
) -> list[str]:
    """What to know of an edit, a sentence each: of what runs now, and of where the next run goes on."""
    return list(_effects(before, after, set(changed(before, after)), has_positions and not forgets, forgets, running))


def _effects(before: Rule, after: Rule, fields: set[str], goes_on: bool, forgets: bool, running: bool) -> Iterator[str]:
    if running and before.continuous:
        yield (
            "The job that runs is stopped with a savepoint, and the next one has what is new: tdmq-backup serve does "
            "that."
        )
    elif running:
        yield "The run that goes on keeps the rule as it was when it began; the next one has what is new."
    if fields & set(_PLACE):
        yield f"New files go to {_place(after)}. Those that were stored before stay in {_place(before)}."
    if fields & set(_CUT):
        yield "From the next run on files are cut or written otherwise. What is stored stays as it is" + (
            ", and what is still on the broker is stored a second time." if forgets else ", and is not stored again."
        )
    if fields & set(_TOPICS):
        start = "the beginning of what the broker still has" if goes_on else f"the start point, {after.start_point}"
        yield (
            f"Partitions that are new to the rule are read from {start}. Of those that it no longer names nothing more "
            f"is read, and the subscription {before.subscription} stays on them, its backlog growing."
        )
    if "subscription" in fields:
        yield (
            f"The subscription {before.subscription} stays, its backlog growing, until somebody deletes it. "
            + (
                f"{after.subscription} has to be there, or the next run is refused: run it once with "
                "--recreate-subscription."
                if goes_on
                else f"{after.subscription} is created by the next run if it is not there."
            )
        )
    if fields & {"address", "admin_url"} and goes_on:
        yield (
            "The next run goes on where the last one ended, so the address has to be of the same cluster. If it is "
            "another one, give --forget-positions."
        )
    if "start_point" in fields and goes_on:
        yield (
            "The start point is of the first run only: this rule goes on where its last run ended. --forget-positions "
            "lets it begin there."
        )
    if forgets:
        known = "" if fields & set(_CUT + _PLACE) else " What the destination already has is not stored again."
        yield f"The next run begins at the start point, {after.start_point}.{known}"
    elif goes_on and not fields <= _OF_TURNS:
        yield "The next run goes on where the last one ended."
    if "enabled" in fields:
        yield "Its schedule runs it." if after.enabled else "Its schedule runs it no more; by hand it may be run."


def _place(rule: Rule) -> str:
    bucket = rule.bucket or ""
    return f"{bucket.rstrip('/')}/{rule.destination_path}" if bucket else "nowhere"


def _shown(value: Any) -> str:
    if value in (None, "", (), {}):
        return "(not given)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
