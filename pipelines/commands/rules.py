"""``tdmq-backup rule``: rules are made, changed, shown and deleted."""

# Only what runs imports what takes long to load, so that help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import argparse
import json
import sys
from typing import Annotated

import typer

from pipelines.commands import rule_changes, rule_files, words
from pipelines.commands.runs import RuleName, StoreUrl, opened
from pipelines.commands.shown import confirm, told

app = typer.Typer(help="Rules: backups with a name, a schedule and a log.", no_args_is_help=True, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _create_parser() -> argparse.ArgumentParser:
    from pipelines.commands.rule_options import create_parser

    return create_parser()


def _edit_parser() -> argparse.ArgumentParser:
    from pipelines.commands.rule_options import edit_parser

    return edit_parser()


@app.command(cls=words.taken_by(_create_parser), **words.ALL_WORDS)
def create(context: typer.Context) -> None:
    """Make a new rule; --help lists its fields."""
    from pipelines.commands.rule_checks import checked, first_turn, helped, when

    if helped(context, _create_parser):
        return
    from pipelines import logs, signals

    signals.listen()
    logs.set_up("WARNING", "text", client=False)
    with told():
        from pipelines.commands.rule_options import create_parser, read_words
        from pipelines.rules.documents import read_file
        from pipelines.rules.errors import taken
        from pipelines.rules.model import read_rule

        asked = read_words(create_parser(), context.args)
        values = {**(read_file(asked.options.file) if asked.options.file else {}), **asked.values, "name": asked.name}
        store = opened(asked.options.store)
        # Before the cluster is asked, which takes its time.
        if any(each.rule.name == asked.name for each in store.all()):
            raise taken(asked.name)
        if asked.options.interactive:
            from pipelines.commands.interactive import ask

            values = {**ask(asked.name, values), "name": asked.name}
        rule = read_rule(values)
        plan = checked(rule, check=not asked.options.no_check, as_json=asked.options.json)
        found = store.create(rule)
        if asked.options.json:
            print(json.dumps({"name": rule.name, "revision": found.revision, **first_turn(found), **plan}, indent=2))
            return
        print(f"Rule {rule.name} is created. {when(found)}")


app.command(cls=words.taken_by(_edit_parser), **words.ALL_WORDS)(rule_changes.edit)
app.command()(rule_changes.enable)
app.command()(rule_changes.disable)
app.command()(rule_files.check)
app.command("export")(rule_files.export_rules)
app.command("import")(rule_files.import_rules)


@app.command("list")
def list_rules(as_json: AsJson = False, store: StoreUrl = None) -> None:
    """Show all rules, how they stand, and what troubles them."""
    from pipelines.rules.standing import all_standings
    from pipelines.rules.standing import as_json as json_of

    with told():
        on = opened(store)
        on.find_lost()
        found = all_standings(on.all(), on.last_runs())
        if as_json:
            print(json.dumps([json_of(each) for each in found], indent=2))
            return
        from pipelines.commands.rule_views import print_rules
        from pipelines.display import result_console

        print_rules(found, result_console())


@app.command()
def show(
    name: RuleName,
    revision: Annotated[int | None, typer.Option(metavar="N", min=1, help="As it was in that revision.")] = None,
    revisions: Annotated[bool, typer.Option("--revisions", help="All revisions, and what each changed.")] = False,
    command: Annotated[
        bool, typer.Option("--command", help="The command line of tdmq-backup backup that does the same.")
    ] = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
) -> None:
    """Show a rule: its fields, how it stands, and how far it has come."""
    with told():
        from pipelines.commands import rule_views
        from pipelines.rules.arguments import backup_command
        from pipelines.rules.standing import as_json as json_of
        from pipelines.rules.standing import standing_of

        on = opened(store)
        on.find_lost()
        if revisions:
            all_of = on.revisions(name)
            if as_json:
                print(json.dumps([json_of(standing_of(each, None)) for each in all_of], indent=2))
            else:
                rule_views.print_revisions(all_of)
            return
        found = on.get(name)
        if revision is not None:
            found = rule_views.pick_revision(on.revisions(name), revision)
        if command:
            print(backup_command(found.rule))
            return
        standing = standing_of(found, on.last_runs().get(found.id))
        positions = on.positions(found.id)
        if as_json:
            from dataclasses import asdict

            reached = {partition: asdict(each) for partition, each in positions.items()}
            print(json.dumps({**json_of(standing), "positions": reached}, indent=2, default=str))
        else:
            rule_views.print_rule(standing, positions)


@app.command()
def delete(
    name: RuleName,
    yes: Yes = False,
    unsubscribe: Annotated[
        bool, typer.Option("--unsubscribe", help="Delete its subscription too: the broker then keeps nothing for it.")
    ] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Forget its log too, also that of a deleted rule.")] = False,
    store: StoreUrl = None,
) -> None:
    """Delete a rule. What it stored stays, and so does its log unless told otherwise."""
    from pipelines import logs, signals

    signals.listen()
    logs.set_up("WARNING", "text", client=False)
    with told():
        from pipelines.rules import deleting
        from pipelines.rules.errors import NoSuchRuleError

        on = opened(store)
        try:
            found = on.get(name)
        except NoSuchRuleError:
            if purge and (count := on.purge(name)):
                print(f"The log of {count} deleted {'rule' if count == 1 else 'rules'} {name} is forgotten.")
                return
            raise
        for line in deleting.stays(found.rule, unsubscribe=unsubscribe, purge=purge):
            print(line, file=sys.stderr)
        confirm(f"Delete rule {name}?", yes=yes)
        on.delete(name, found.revision, purge=purge)
        print(f"Rule {name} is deleted.")
        if unsubscribe:
            for partition in deleting.unsubscribe(found.rule):
                print(f"{partition}: subscription {found.rule.subscription} is deleted.")
