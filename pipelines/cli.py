"""The command ``tdmq-backup``: what a person runs, under one name.

``tdmq-backup backup`` takes the options of ``python -m pipelines.backup`` with hyphens; its exit codes pass through.
"""

# Beam takes seconds to load: only commands that run it import it, so that help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

PACKAGE = "tdmq-backup"

_LIBRARIES = ("apache-beam", "pulsar-client", "cos-python-sdk-v5")

app = typer.Typer(
    help="Back up topics of TDMQ for Apache Pulsar, or of any Pulsar cluster, to Tencent Cloud Object Storage.",
    no_args_is_help=True,
    # A traceback with the values of variables could show a token.
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; ends the process with its exit code."""
    app(prog_name=PACKAGE)


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


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
    options_metavar="OPTIONS",
)
def backup(context: typer.Context) -> None:
    """Copy topics to a COS bucket or a folder; --help lists the options."""
    arguments = [with_underscores(argument) for argument in context.args]
    if "--help" in arguments or "-h" in arguments:
        print(_backup_help(), end="")
        return
    from pipelines import signals

    # Before what takes seconds to load.
    signals.listen()
    from pipelines import backup as job

    job.run_as_process(arguments)


@app.command()
def demo(
    keep: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Leave the objects there, as files.")] = None,
) -> None:
    """Back up three topics on this machine, and check every message. Needs no account."""
    from pipelines import demo as job

    raise typer.Exit(job.main([] if keep is None else [f"--keep={keep}"]))


@app.command()
def version() -> None:
    """Show the versions of this tool and of what it runs on."""
    print(f"{PACKAGE} {_version(PACKAGE)}")
    for name in _LIBRARIES:
        print(f"{name} {_version(name)}")
    print(f"Python {platform.python_version()}")


def with_underscores(argument: str) -> str:
    """The job's spelling of an argument: ``--service-url=…`` becomes ``--service_url=…``. Values stay as they are."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def with_hyphens(text: str) -> str:
    """The same text, with the names of options in it in this command's spelling."""
    return re.sub(r"(?<![\w-])--[a-z]+(?:_[a-z]+)+\b", lambda found: found[0].replace("_", "-"), text)


def _backup_help() -> str:
    from pipelines.options import job_parser

    parser = job_parser()
    parser.prog = f"{PACKAGE} backup"
    spelling = "Error texts have these names with underscores, as the job has them; both spellings are accepted here."
    return f"{with_hyphens(parser.format_help())}\n{spelling}\n"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    main()
