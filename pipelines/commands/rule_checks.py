"""What commands that make and change rules have in common: their help, and the check of a rule."""

# Only what runs imports what takes long to load, so that help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from pipelines.commands.shown import moment

if TYPE_CHECKING:
    import argparse

    from pipelines.rules.model import Rule
    from pipelines.rules.records import Reached, StoredRule


def helped(context: typer.Context, parser: Callable[[], argparse.ArgumentParser]) -> bool:
    """Show the help of a parser, if it is asked for; tells whether."""
    if "--help" not in context.args and "-h" not in context.args:
        return False
    print(parser().format_help(), end="")
    return True


def checked(
    rule: Rule, *, check: bool, as_json: bool, positions: Mapping[str, Reached] = MappingProxyType({})
) -> dict[str, Any]:
    """Check a rule as a run would, and show what was found; gives it as JSON can hold it. Raises BackupError."""
    from pipelines.rules.arguments import check_rule

    check_rule(rule, elsewhere=not check)
    if not check:
        return {}
    from dataclasses import asdict

    from pipelines import logs
    from pipelines.check import print_plan
    from pipelines.commands.rule_views import print_daily
    from pipelines.display import result_console
    from pipelines.rules.checking import check_in_place

    logs.set_up("WARNING", "text")
    plan, daily = check_in_place(rule, positions)
    if not as_json:
        print_plan(plan, result_console())
        print_daily(daily)
    return {"plan": asdict(plan), "daily": asdict(daily)}


def first_turn(found: StoredRule) -> dict[str, Any]:
    """The turn that its schedule runs it next, as JSON can hold it."""
    return {"next_turn": found.next_turn and found.next_turn.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


def when(found: StoredRule) -> str:
    """When it will run, in a sentence."""
    rule = found.rule
    if not rule.enabled:
        return f"It is disabled: tdmq-backup rule enable {rule.name} lets its schedule run it."
    if rule.continuous:
        return "tdmq-backup serve submits it to Flink at once, and watches it."
    if found.next_turn is None:
        return f"It has no schedule: tdmq-backup run {rule.name} runs it."
    return f"Its next turn is {moment(found.next_turn)}, as long as tdmq-backup serve runs."
