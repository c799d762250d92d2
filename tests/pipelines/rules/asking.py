"""``tdmq-backup`` in this process, as a person asks it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from unittest import mock

from typer.testing import CliRunner

from pipelines import cli

#: A rule that is right in itself; nothing of it is there.
RIGHT = {
    "address": "pulsar://127.0.0.1:1",
    "cluster": "public",
    "namespace": "default",
    "topic": "orders",
    "subscription": "backup",
    "bucket": "backup-1250000000",
    "region": "ap-guangzhou",
}


@dataclass(frozen=True)
class Said:
    """What a command gave."""

    code: int
    output: str
    errors: str

    @property
    def sentences(self) -> list[str]:
        """What went wrong, a line each."""
        return [line.removeprefix("error: ") for line in self.errors.splitlines() if line.startswith("error: ")]


def ask(*words: str, text: str | bytes = "", environment: Mapping[str, str] | None = None) -> Said:
    """Run a command; ``text`` is what stdin holds."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # A process hears signals in one way only, and this one is of the tests.
    with mock.patch("pipelines.signals.listen"):
        try:
            found = CliRunner().invoke(cli.app, list(words), input=text, env=environment)
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Said(found.exit_code, found.stdout, found.stderr)


def options(fields: Mapping[str, str]) -> list[str]:
    """Fields as options."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in fields.items()]
