from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from pipelines.rules.model import read_rule
from pipelines.rules.records import RunState, Trigger
from pipelines.rules.store import RuleStore
from tests.pipelines.rules.serving import ROOT

_LEASE = 3.0
_KEEP = f"""
import sys, time
from pipelines.rules.keeping import kept
from pipelines.rules.store import RuleStore
store = RuleStore(sys.argv[1], lease_seconds={_LEASE})
with kept(store, "run", lambda: {{"messages": 7}}):
    print("kept", flush=True)
    sys.stdin.readline()
print("ended", flush=True)
"""


def _keeping(url: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _KEEP, url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "kept\n"
    return process


def _ended_by_itself(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.wait(60)
    assert process.stdout is not None and process.stderr is not None
    return process.stdout.read(), process.stderr.read()


def _begun(url: str) -> RuleStore:
    store = RuleStore(url, lease_seconds=_LEASE)
    store.create(read_rule({"name": "orders"}))
    store.begin("orders", Trigger.MANUAL, run_id="run", holder="test", command="")
    return store


def test_a_lease_is_renewed_as_long_as_the_run_lasts(sqlite_url):
    store = _begun(sqlite_url)
    with _keeping(sqlite_url) as process:
        deadline = time.monotonic() + 3 * _LEASE
        while time.monotonic() < deadline:
            assert store.find_lost() == []
            time.sleep(0.2)
        assert store.run("run").messages == 7
        assert process.communicate("\n", timeout=60)[0] == "ended\n"
    store.close()


def test_a_process_whose_store_does_not_answer_ends_before_its_lease_has_expired(sqlite_url):
    store = _begun(sqlite_url)
    with _keeping(sqlite_url) as process:
        # Who writes now makes all others wait, for longer than a lease.
        silent = sqlite3.connect(Path(sqlite_url.removeprefix("sqlite:///")), isolation_level=None)
        silent.execute("BEGIN IMMEDIATE")
        output, errors = _ended_by_itself(process)
        assert (process.returncode, output) == (1, ""), errors
        assert "error: The lease of run run could not be renewed: the store does not answer, or refuses." in errors
        expires = silent.execute("SELECT expires FROM lease").fetchone()[0]
        assert expires > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        silent.execute("ROLLBACK")
        silent.close()
    store.close()


def test_a_process_that_has_lost_its_lease_ends_at_once(sqlite_url):
    store = _begun(sqlite_url)
    with _keeping(sqlite_url) as process:
        store.end("run", RunState.LOST, exit_code=1)
        output, errors = _ended_by_itself(process)
        assert (process.returncode, output) == (1, ""), errors
        assert "error: Run run was not heard of for 3 s, and has lost its rule to another one." in errors
    store.close()
