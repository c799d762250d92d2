"""``tdmq-backup run`` and ``tdmq-backup log``."""

# Beam takes seconds to load: only what runs imports it, so that help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from pipelines.commands.shown import moment, told, took
from pipelines.terminal import console

if TYPE_CHECKING:
    from pipelines.rules.configure import RunOptions
    from pipelines.rules.records import RunRecord
    from pipelines.rules.store import RuleStore

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="The store of rules: sqlite:////PATH or postgresql://USER@HOST/DATABASE; TDMQ_BACKUP_STORE, or a file of "
        "this user's, unless given.",
    ),
]
RuleName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the rule.")]

_PIPED_WIDTH = 160
_NARROW = 100
_FOLLOW_SECONDS = 1.0


def opened(url: str | None) -> RuleStore:
    """The store. Raises StoreError."""
    from pipelines.rules.database import refuse_password
    from pipelines.rules.store import RuleStore

    refuse_password(url)
    return RuleStore(url)


def run(
    name: RuleName,
    start: Annotated[
        str | None, typer.Option("--from", metavar="POINT", help="Reprocess from here: a date-time, earliest, an id.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="POINT", help="Reprocess up to here.")] = None,
    repeat: Annotated[
        str | None, typer.Option(metavar="RUN", help="Reprocess what that run read, as the log names it.")
    ] = None,
    destination_path: Annotated[
        str | None, typer.Option(metavar="PATH/", help="Reprocess into this prefix of the bucket.")
    ] = None,
    recreate_subscription: Annotated[
        bool, typer.Option("--recreate-subscription", help="If the subscription is gone, create it again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and say what a run would do.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result, and each line on stderr, as JSON.")] = False,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    store: StoreUrl = None,
) -> None:
    """Run a rule now: go on where its last run ended.

    With --from, --to, --repeat or --destination-path it reprocesses a stretch of history: what the prefix holds already
    is left out, and neither the schedule's place nor the subscription is moved.

    Exit codes: 0 done, 1 unexpected, or the rule is running, or Flink or a worker process failed, 2 configuration,
    3 authentication or permission, 4 source, 5 destination, 130 interrupted, 143 terminated.
    """
    from pipelines import signals

    # Before what takes seconds to load.
    signals.listen()
    from pipelines import logs
    from pipelines.rules.configure import RunOptions

    log_format = "json" if as_json else "text"
    logs.set_up("INFO", log_format)
    with told():
        _check_level(log_level)
        logs.set_up(log_level, log_format)
        options = RunOptions(start, end, destination_path, repeat, recreate_subscription, log_level, log_format)
        on = opened(store)
        if dry_run:
            _tell_what_it_would_do(on, name, options)
            return
        _run(on, name, options)


def _check_level(level: str) -> None:
    from transforms.errors import ConfigurationError

    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ConfigurationError(f"--log-level={level}: choose one of DEBUG, INFO, WARNING, ERROR.")


def _run(store: RuleStore, name: str, options: RunOptions) -> NoReturn:
    from functools import partial

    from pipelines import logs, signals
    from pipelines.rules.perform import perform
    from pipelines.rules.store import this_holder, utc_now
    from pipelines.run_names import new_name
    from pipelines.summary import Summary, print_summary, summary_json
    from pipelines.terminal import give_out

    record = store.begin(
        name,
        options.trigger,
        run_id=new_name(utc_now()),
        holder=this_holder(),
        command=options.command(name),
    )
    code, summary = perform(store, record, options)

    def show(found: Summary) -> None:
        if options.log_format == "json":
            print(summary_json(found))
        else:
            print_summary(found, console(piped_width=_PIPED_WIDTH))

    with signals.unbroken(code):
        if summary is not None:
            code = give_out(partial(show, summary), done="the run is done")
        elif options.log_format == "text":
            print(f"tdmq-backup log {name} {record.id} shows this run.", file=sys.stderr)
        logs.finish()
        sys.stderr.flush()
    sys.exit(code)


def _tell_what_it_would_do(store: RuleStore, name: str, options: RunOptions) -> None:
    from pipelines import backup
    from pipelines.check import plan_json, print_plan
    from pipelines.rules.configure import configured

    found = store.get(name)
    repeated = store.run(options.repeat) if options.repeat else None
    plan = backup.check(configured(found.rule, options, store.positions(found.id), repeated))
    if options.log_format == "json":
        print(plan_json(plan))
    else:
        print_plan(plan, console(piped_width=_PIPED_WIDTH))


def log(
    name: RuleName,
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Show this run in full.")] = None,
    last: Annotated[int, typer.Option(metavar="N", min=1, help="Show so many runs, the newest first.")] = 20,
    failed: Annotated[bool, typer.Option("--failed", help="Only runs that failed, or were lost.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing what is new, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON; with --follow one object a line.")] = False,
    store: StoreUrl = None,
) -> None:
    """Show the runs of a rule, or one of them in full.

    Runs whose process died without a word are found here, and shown as lost. Deleted rules keep their log.
    """
    from pipelines.rules.history import as_json as json_of

    with told():
        on = opened(store)
        on.find_lost()
        if follow:
            _follow(on, name, run_id, as_json)
        elif run_id is not None:
            found = on.run(run_id)
            print(json.dumps(json_of(found), indent=2)) if as_json else _print_run(found, console())
        else:
            runs = on.log(name, last=last, failed=failed)
            if as_json:
                print(json.dumps([json_of(each) for each in runs], indent=2))
            else:
                print_log(runs, console(piped_width=_PIPED_WIDTH))


def _follow(store: RuleStore, name: str, run_id: str | None, as_json: bool) -> None:
    from pipelines.rules.history import Following
    from pipelines.rules.history import as_json as json_of

    store.log(name, last=1)
    following = Following(store, name, run_id)
    try:
        while True:
            for each in following.changes():
                print(json.dumps(json_of(each)) if as_json else _line(each), flush=True)
                if run_id is not None and each.ended is not None:
                    raise typer.Exit(each.exit_code or 0)
            time.sleep(_FOLLOW_SECONDS)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _line(run: RunRecord) -> str:
    from pipelines.rules.history import first_sentence

    said = first_sentence(run)
    return (
        f"{moment(run.ended or run.seen)} {run.id} {run.state.value}: {run.messages:,} messages in {run.files:,} files"
        + (f"; {said}" if said else "")
    )


def print_log(runs: list[RunRecord], place: Console) -> None:
    """A table, a row a run; fewer columns where the terminal is narrow."""
    from pipelines.rules.history import first_sentence
    from pipelines.sizes import human_size

    if not runs:
        place.print("No run yet.")
        return
    wide = place.width >= _NARROW
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for column in ("took", "messages", "files", *(("size", "gaps", "retries") if wide else ())):
        table.add_column(column, justify="right")
    if wide:
        table.add_column("why")
    for each in runs:
        cells = [each.id, each.state.value, took(each.started, each.ended), f"{each.messages:,}", f"{each.files:,}"]
        if wide:
            cells += [human_size(each.bytes), f"{each.gaps:,}", f"{each.retries:,}", _why(each)]
        table.add_row(*cells)
    place.print(table)
    for each in runs:
        said = first_sentence(each)
        if said:
            place.print(f"{each.id}: {said}", soft_wrap=False)


def _why(run: RunRecord) -> str:
    if run.due is None:
        return run.trigger.value
    many = f", {run.turns} turns" if run.turns > 1 else ""
    tried = f", attempt {run.attempt}" if run.attempt > 1 else ""
    return f"{run.trigger.value} of {moment(run.due)}{many}{tried}"


def _print_run(run: RunRecord, place: Console) -> None:
    from pipelines.rules.history import repeating
    from pipelines.sizes import human_size

    facts = {
        "run": run.id,
        "rule": f"{run.rule_name}, revision {run.revision}",
        "state": run.state.value if run.exit_code is None else f"{run.state.value}, exit code {run.exit_code}",
        "why": _why(run),
        "started": moment(run.started),
        "ended": moment(run.ended) if run.ended else f"it goes on; heard of at {moment(run.seen)}",
        "took": took(run.started, run.ended),
        "by": run.holder,
        "messages": f"{run.messages:,}, of which {run.already_stored:,} were stored already",
        "files": f"{run.files:,}, {human_size(run.bytes)}",
        "gaps": f"{run.gaps:,}",
        "retries": f"{run.retries:,} requests were tried again",
        "Flink job": run.flink_job,
        "savepoint": run.savepoint,
        "log file": run.log_file,
        "repeat it": repeating(run),
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        if value is not None:
            place.print(f"{name:<{width}}  {value}", soft_wrap=True)
    if run.partitions:
        table = Table(box=None, pad_edge=False)
        table.add_column("partition", overflow="fold")
        for column in ("messages", "files", "from", "to before"):
            table.add_column(column, justify="right")
        for partition, each in run.partitions.items():
            table.add_row(
                partition.removeprefix("persistent://"), f"{each.messages:,}", f"{each.files:,}", each.start, each.stop
            )
        place.print(table)
        for partition, each in run.partitions.items():
            for gap in each.gaps:
                word = "GAP" if gap["certain"] else "POSSIBLE GAP"
                place.print(f"{word}: {partition} from {gap['start']} up to before {gap['stop']}.")
    for warning in run.warnings:
        place.print(f"warning: {warning}")
    for line in (run.error or "").splitlines():
        place.print(f"error: {line}")
