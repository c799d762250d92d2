"""The command ``tdmq-backup``: what a person runs, under one name.

``tdmq-backup backup`` and ``tdmq-backup restore`` take the options of ``python -m pipelines.backup`` and
``pipelines.restore`` with hyphens; their exit codes pass through.
"""

# Beam takes seconds to load: only commands that run it import it, so that help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import io
import json
import platform
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands import cat, find, ls, rules, runs, serve, verify, words
from pipelines.commands.shown import told
from pipelines.commands.words import with_hyphens, with_underscores
from pipelines.parser import Parser, job_parser
from pipelines.restore_parser import restore_parser

PACKAGE = "tdmq-backup"

_LIBRARIES = ("apache-beam", "pulsar-client", "cos-python-sdk-v5")

app = typer.Typer(
    help="Back up topics of TDMQ for Apache Pulsar, or of any Pulsar cluster, to Tencent Cloud Object Storage.",
    no_args_is_help=True,
    # Plain text, as that of the job: it fits into narrow terminals and has no escape codes.
    rich_markup_mode=None,
    # A traceback with the values of variables could show a token.
    pretty_exceptions_enable=False,
    # Help is as wide as the terminal: 80 columns cut the sentences behind the commands short.
    context_settings={"max_content_width": 120},
)
stream = typer.Typer(
    help="Look at the jobs of a Flink cluster, and stop one.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(rules.app, name="rule")
app.add_typer(stream, name="stream")
app.command()(runs.run)
app.command()(runs.log)
app.command()(serve.serve)
app.command()(ls.ls)
app.command()(cat.cat)
app.command()(find.find)
app.command()(verify.verify)

FlinkMaster = Annotated[
    str, typer.Option(envvar="FLINK_MASTER", metavar="URL", help="The job manager's REST: http://HOST:8081.")
]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON.")]


def main() -> None:
    """Run the command; ends the process with its exit code."""
    if sys.stdout is not None:
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Stdout(sys.stdout.fileno(), "w", closefd=False)),
            encoding=sys.stdout.encoding,
            errors=sys.stdout.errors,
            line_buffering=sys.stdout.isatty(),
        )
    app(prog_name=PACKAGE)


class _Stdout(io.FileIO):
    """Whoever reads the output may stop early, as ``head`` does: what is left of it goes nowhere."""

    reader_is_gone = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            self.reader_is_gone = True
            return len(data)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"{PACKAGE} {_version(PACKAGE)}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""


def _words_of_job(context: typer.Context, parser: Parser, name: str) -> list[str]:
    """What a job is asked for, in its own spelling; where that is help, it is given, and the command has ended."""
    arguments = [with_underscores(argument) for argument in context.args]
    if "--help" in arguments or "-h" in arguments:
        print(_help_of(parser, name), end="")
        raise typer.Exit
    from pipelines import signals

    # Before what takes seconds to load.
    signals.listen()
    return arguments


@app.command(
    cls=words.taken_by(job_parser),
    **words.ALL_WORDS,
)
def backup(context: typer.Context) -> None:
    """Copy topics to a COS bucket or a folder."""
    arguments = _words_of_job(context, job_parser(), "backup")
    from pipelines import backup as job

    job.run_as_process(arguments)


@app.command(
    cls=words.taken_by(restore_parser),
    **words.ALL_WORDS,
)
def restore(context: typer.Context) -> None:
    """Send what a backup holds of a topic into a topic again."""
    arguments = _words_of_job(context, restore_parser(), "restore")
    from pipelines import restore as job

    job.run_as_process(arguments)


@app.command()
def demo(
    keep: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Leave the objects there, as files.")] = None,
) -> None:
    """Back up three topics on this machine, and check every message. Needs no account."""
    from pipelines import demo as job

    raise typer.Exit(job.main([] if keep is None else [f"--keep={keep}"]))


@stream.command("list")
def list_streams(flink_master: FlinkMaster, as_json: AsJson = False) -> None:
    """Show the jobs of the cluster."""
    from pipelines.flink import FlinkCluster

    with told():
        jobs = FlinkCluster(flink_master).jobs()
        if as_json:
            print(json.dumps([asdict(job) for job in jobs]))
            return
        for job in jobs:
            print(
                f"{job.state:<12} {datetime.fromtimestamp(job.started / 1000, timezone.utc):%Y-%m-%d %H:%M:%S}Z "
                f"{job.id} {job.name}"
            )


@stream.command("stop")
def stop_stream(
    name: Annotated[str, typer.Argument(metavar="JOB", help="Name or id of the job, as stream list shows it.")],
    flink_master: FlinkMaster,
    savepoint: Annotated[bool, typer.Option(help="Make a savepoint, from which a new job goes on.")] = True,
    folder: Annotated[str | None, typer.Option(metavar="URL", help="Keep the savepoint there.")] = None,
    as_json: AsJson = False,
) -> None:
    """End a job, with a savepoint unless told otherwise, and say where that is."""
    from pipelines.flink import FlinkCluster
    from transforms.errors import FlinkError

    with told():
        cluster = FlinkCluster(flink_master)
        job = cluster.find(name)
        if job is None or job.ended:
            state = "has ended already" if job is not None else "is not there: stream list shows what is"
            raise FlinkError(f"{cluster.url}: the job {name} {state}.")
        place = None
        if savepoint:
            place = cluster.stop(job.id, folder)
        else:
            cluster.cancel(job.id)
        if as_json:
            print(json.dumps({"job": job.id, "name": job.name, "savepoint": place}))
        elif place is None:
            print(f"{job.name} was cancelled. A new job goes on with --start=subscription.")
        else:
            print(f"{job.name} has ended with a savepoint. A new job goes on with --savepoint-path={place}")


@app.command()
def version() -> None:
    """Show the versions of this tool and of what it runs on."""
    print(f"{PACKAGE} {_version(PACKAGE)}")
    for name in _LIBRARIES:
        print(f"{name} {_version(name)}")
    print(f"Python {platform.python_version()}")


def _help_of(parser: Parser, command: str) -> str:
    parser.prog = f"{PACKAGE} {command}"
    parser.epilog = (
        f"{parser.epilog} Error texts have the names of options with underscores, as the job has them; both spellings "
        "are accepted here."
    )
    return with_hyphens(parser.format_help())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    main()
