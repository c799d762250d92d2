"""How commands show what rules hold."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import typer

from pipelines import logs
from transforms.errors import BackupError, ConfigurationError


@contextmanager
def told() -> Iterator[None]:
    """Errors of ours as sentences on stderr, with their exit code."""
    try:
        yield
    except BackupError as error:
        for line in str(error).splitlines():
            logs.tell(line, error.exit_code)
        raise typer.Exit(error.exit_code) from None


def moment(value: datetime | None) -> str:
    """In UTC, to the second."""
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M:%S}Z"


def took(started: datetime, ended: datetime | None) -> str:
    """How long, as a person says it."""
    if ended is None:
        return "–"
    seconds = max((ended - started) / timedelta(seconds=1), 0.0)
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal, and end the command unless the answer is yes. Raises ConfigurationError elsewhere."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Nobody can be asked here: give --yes if you mean it.")
    # Not input(): stdout is for results.
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        print("Nothing is changed.", file=sys.stderr)
        raise typer.Exit(1)
