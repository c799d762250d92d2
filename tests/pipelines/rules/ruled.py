"""Rules for topics of a test, and their runs as a person starts them."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from typing import Any

from pipelines.rules.configure import RunOptions
from pipelines.rules.model import Rule
from pipelines.rules.perform import perform
from pipelines.rules.records import RunRecord
from pipelines.rules.store import RuleStore, this_holder, utc_now
from pipelines.run_names import new_name
from tests.pipelines.backups import SECRETS, Bucket, Folder
from tests.pipelines.rules.serving import ROOT, rule_for
from transforms.testing.pulsar_standalone import PulsarStandalone


def new_rule(store: RuleStore, broker: PulsarStandalone, topic: str, destination: Bucket | Folder, **more: Any) -> Rule:
    """A rule that the store keeps."""
    return store.create(rule_for(broker, topic, destination, **{"subscription": "backup", **more})).rule


def run_rule(store: RuleStore, name: str = "orders", **options: Any) -> tuple[RunRecord, str]:
    """Run a rule in this process; gives its record, and its standard error."""
    given = RunOptions(**options)
    record = store.begin(
        name, given.trigger, run_id=new_name(utc_now()), holder=this_holder(), command=given.command(name)
    )
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            perform(store, record, given)
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
    return store.run(record.id), errors.getvalue()


def command(*words: str) -> subprocess.Popen[str]:
    """Start tdmq-backup as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *words],
        cwd=ROOT,
        env={**os.environ, **SECRETS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(*words: str, seconds: float = 120) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command that ends by itself."""
    with command(*words) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, output, errors
