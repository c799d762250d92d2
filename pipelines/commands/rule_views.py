"""How rules are shown to a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from pipelines.commands.shown import moment
from pipelines.rules.changes import difference
from pipelines.rules.errors import NoSuchRuleError
from pipelines.rules.model import fields_by_group
from pipelines.rules.records import Reached, StoredRule
from pipelines.rules.standing import Standing, State, turns_of
from pipelines.sizes import human_size

if TYPE_CHECKING:
    from pipelines.rules.preview import Daily

_WIDE = 100


def print_rules(found: Sequence[Standing], place: Console) -> None:
    """A table, a row a rule; fewer columns where the terminal is narrow. Below it what troubles them."""
    if not found:
        place.print("No rule yet. tdmq-backup rule create --help tells how to make one.")
        return
    wide = place.width >= _WIDE
    table = Table(box=None, pad_edge=False)
    table.add_column("rule", overflow="fold")
    if wide:
        table.add_column("schedule")
    table.add_column("state")
    table.add_column("next turn")
    if wide:
        table.add_column("last run")
    for each in found:
        stored = each.found
        turn = "at once" if stored.rule.continuous and stored.next_turn else moment(stored.next_turn)
        cells = [stored.rule.name, _state(each), "–" if each.state is State.DISABLED else turn]
        if wide:
            cells.insert(1, turns_of(stored))
            cells.append(_last(each))
        table.add_row(*cells)
    place.print(table)
    for each in found:
        if each.found.trouble is not None:
            lines = each.found.trouble.splitlines()
            since = f"since {moment(each.found.trouble_since)}"
            place.print(f"{each.found.rule.name}, {since}: {lines[0] if lines else 'no more is known'}")


def _state(of: Standing) -> str:
    if of.state is State.RETRYING:
        return f"retrying at {moment(of.found.retry_at)}"
    if of.state is State.DISABLED and of.found.trouble is not None:
        return "disabled, in trouble"
    return str(of.state.value)


def _last(of: Standing) -> str:
    if of.last is None:
        return "–"
    when = moment(of.last.ended or of.last.started)
    return f"{of.last.state.value} {when}, {of.last.messages:,} messages"


def print_rule(of: Standing, positions: Mapping[str, Reached]) -> None:
    """Its fields that were given, group by group, how it stands, and how far it has come."""
    found = of.found
    print(f"{found.rule.name}, revision {found.revision}, of {moment(found.changed)} by {found.changed_by}")
    given = found.rule.document()
    width = max(map(len, given))
    for title, names in fields_by_group().items():
        shown = [name for name in names if name in given and name != "name"]
        if shown:
            print(f"\n{title}")
        for name in shown:
            print(f"  {name:<{width}}  {_value(given[name])}")
    print(f"\nstate      {_state(of)}")
    print(f"next turn  {moment(found.next_turn)}")
    print(f"last run   {_last(of)}{f', {of.last.id}' if of.last else ''}")
    for place, line in enumerate((found.trouble or "").splitlines()):
        print(f"{'trouble' if not place else '':<10} {line}")
    for partition, reached in positions.items():
        print(
            f"stored     {partition.removeprefix('persistent://')} up to before {reached.upto}, {moment(reached.found)}"
        )


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def print_revisions(found: Sequence[StoredRule]) -> None:
    """Each revision, the newest first, and what it changed."""
    for place, each in enumerate(found):
        print(f"revision {each.revision}, {moment(each.changed)} by {each.changed_by}")
        if place + 1 < len(found):
            for line in difference(found[place + 1].rule, each.rule):
                print(f"  {line}")


def pick_revision(found: Sequence[StoredRule], number: int) -> StoredRule:
    """The revision of that number. Raises NoSuchRuleError."""
    for each in found:
        if each.revision == number:
            return each
    newest = found[0]
    raise NoSuchRuleError(f"Rule {newest.rule.name} has no revision {number}; the newest is {newest.revision}.")


def print_daily(daily: Daily) -> None:
    """What it will store in a day."""
    if daily.files is None and daily.bytes is None:
        print(f"Files and bytes in a day: not known ({daily.why}).")
        return
    files = f"up to {daily.files:,} files" if daily.files is not None else f"files not known ({daily.why})"
    size = (
        f"about {human_size(daily.bytes)} as the broker stores them" if daily.bytes is not None else "bytes not known"
    )
    messages = f", about {daily.messages:,} messages" if daily.messages is not None else ""
    print(f"In a day, if it goes on as it did: {files}{messages}, {size}.")
