"""``tdmq-backup rule check``, ``export`` and ``import``: what is done with several rules at once."""

# Only what runs imports what takes long to load, so that help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.runs import StoreUrl, opened
from pipelines.commands.shown import confirm, told

if TYPE_CHECKING:
    from pipelines.rules.records import StoredRule
    from pipelines.rules.store import RuleStore

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME ...]", help="Names of rules.")]


def check(
    names: Names = None,
    every: Annotated[bool, typer.Option("--all", help="All rules.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    store: StoreUrl = None,
) -> None:
    """Check rules as their next runs would: cluster, key, topic, subscription, bucket; and say what would be read.

    Nothing is created, written or acknowledged. The exit code is the highest: 0 all is well, 1 unexpected,
    2 configuration, 3 authentication or permission, 4 source, 5 destination.
    """
    from pipelines import signals

    signals.listen()
    from pipelines import logs

    logs.set_up("WARNING", "text")
    with told():
        from transforms.errors import ConfigurationError

        if bool(names) == every:
            raise ConfigurationError("Name the rules to be checked, or give --all.")
        on = opened(store)
        found = [on.get(name) for name in dict.fromkeys(names)] if names else on.all()
        results = [_check(on, each, as_json=as_json) for each in found]
        if as_json:
            print(json.dumps(results, indent=2, ensure_ascii=False))
    raise typer.Exit(max((each["exit_code"] for each in results), default=0))


def _check(store: RuleStore, found: StoredRule, *, as_json: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from pipelines import ending, logs
    from pipelines.check import print_plan
    from pipelines.commands.rule_views import print_daily
    from pipelines.display import result_console
    from pipelines.rules.checking import check_in_place

    name = found.rule.name
    try:
        plan, daily = check_in_place(found.rule, store.positions(found.id))
    except Exception as error:
        said, code = ending.explained(error)
        if not as_json:
            sys.stdout.flush()
            for line in said.splitlines():
                logs.tell(f"{name}: {line}", code)
        return {"name": name, "exit_code": code, "error": said, "plan": None, "daily": None}
    if not as_json:
        print(f"{name}: all is well.")
        print_plan(plan, result_console())
        print_daily(daily)
    return {"name": name, "exit_code": 0, "error": None, "plan": asdict(plan), "daily": asdict(daily)}


def export_rules(
    names: Names = None,
    output: Annotated[str, typer.Option(metavar="FOLDER", help="A file for each rule, or - for stdout.")] = "-",
    store: StoreUrl = None,
) -> None:
    """Write rules as YAML: the fields that were given, in a fixed order, to be kept in git. All unless named."""
    with told():
        from pipelines.rules.documents import file_name, strangers, written
        from transforms.errors import ConfigurationError

        on = opened(store)
        found = [each.rule for each in ([on.get(name) for name in dict.fromkeys(names)] if names else on.all())]
        if output == "-":
            print("---\n".join(map(written, found)), end="")
            return
        folder = Path(output)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for rule in found:
                (folder / file_name(rule)).write_text(written(rule), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"--output={output}: cannot be written ({error.strerror}).") from None
        print(f"{len(found)} {'rule' if len(found) == 1 else 'rules'} in {output}.")
        for path in strangers(folder, found) if not names else ():
            print(f"{path} is of no rule in the store; import would create it again.", file=sys.stderr)


def import_rules(
    places: Annotated[list[str], typer.Argument(metavar="PLACE ...", help="YAML or JSON files, folders, - for stdin.")],
    prune: Annotated[bool, typer.Option("--prune", help="Delete the rules that are not there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before rules are deleted.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What is done as JSON.")] = False,
    store: StoreUrl = None,
) -> None:
    """Create and edit rules as files say. Nothing is done unless all files are right.

    Neither cluster nor bucket is asked: rule check --all does that afterwards.
    """
    with told():
        from pipelines.rules.documents import read_files
        from pipelines.rules.importing import read_rules, steps, take

        wanted = read_rules(read_files(places))
        on = opened(store)
        found = steps(on.all(), wanted, prune=prune)
        if as_json:
            print(json.dumps([{"rule": each.name, "step": each.verb} for each in found], indent=2))
        else:
            for line in [line for each in found for line in each.lines()] or ["Nothing to change."]:
                print(line, flush=True)
        if dry_run or not found:
            return
        gone = [each.name for each in found if each.after is None]
        if gone:
            confirm(f"Delete {', '.join(gone)}?", yes=yes)
        for each in found:
            take(on, each)
        if not as_json:
            print(f"Done: {len(found)} {'rule is' if len(found) == 1 else 'rules are'} changed.")
