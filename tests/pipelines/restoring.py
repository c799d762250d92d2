"""Restores as a person starts them, and what they are held against: two backups, field by field."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.restore import main
from tests.pipelines.backups import SECRETS, Destination, Run, assert_sentences_only
from tests.pipelines.reading_back import Record
from transforms.restore.origin import NAMES
from transforms.testing.pulsar_standalone import PulsarStandalone

_ROOT = Path(__file__).parents[2]
#: What a restored message has of its own.
NEW = ("topic", "partition", "ledger_id", "entry_id", "batch_index", "publish_time", "producer_name")


def restore_arguments(
    broker: PulsarStandalone, destination: Destination, target: str, options: Sequence[str] = ()
) -> list[str]:
    """The command line of a restore."""
    backup = [option.replace("--destination=", "--backup=") for option in destination.options]
    return [*backup, f"--service_url={broker.service_url}", f"--target_topic={target}", *options]


def run_restore(argv: Sequence[str], *, summary: bool = True) -> Run:
    """Run a restore in this process; without ``summary`` the options stay as they are."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(io.StringIO()) as errors,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        written = Path(folder, "summary.json")
        try:
            code = main([*argv, f"--summary_file={written}"] if summary else argv)
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        return Run(code, errors.getvalue(), json.loads(written.read_bytes()) if written.exists() else {})


def restore(broker: PulsarStandalone, destination: Destination, target: str, *options: str) -> Run:
    """Run a restore in this process that must succeed."""
    run = run_restore(restore_arguments(broker, destination, target, options))
    assert run.code == 0, run.errors
    return run


def restore_refused(broker: PulsarStandalone, destination: Destination, target: str, *options: str) -> Run:
    """Run a restore in this process that must fail with sentences of ours."""
    run = run_restore(restore_arguments(broker, destination, target, options))
    assert run.code != 0
    assert run.summary == {}
    assert_sentences_only(run.errors)
    return run


def start_restore(argv: Sequence[str], out: Path, environment: Mapping[str, str] = SECRETS) -> subprocess.Popen[bytes]:
    """Start a restore as a process of its own; what it says goes to a file."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COS_")}
    with out.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.restore", *argv],
            cwd=_ROOT,
            env={**clean, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def as_sent(record: Record) -> dict[str, Any]:
    """What of a record must come back: all but what is new, and the origin."""
    properties = {name: value for name, value in record["properties"].items() if name not in NAMES}
    return {**{name: value for name, value in record.items() if name not in NEW}, "properties": properties}


def origins(records: Sequence[Record]) -> list[str]:
    """The original ids that restored messages carry."""
    return [record["properties"]["tdmq-backup-message-id"] for record in records]
