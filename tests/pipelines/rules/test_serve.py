"""``tdmq-backup serve`` as a process, with a real broker."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipelines.rules.records import RunState, Trigger
from pipelines.rules.store import RuleStore
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in
from tests.pipelines.rules.serving import Serving, port_of, rule_for, runs_of

SERVE = ["pipelines.cli", "serve", "--listen=127.0.0.1:0"]


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.sqlite3"


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_what_is_due_is_run_and_told_and_a_stop_is_clean(broker, client, topic, folder, tmp_path, store_url):
    name = topic()
    first = send(client, name, numbered(30))
    store = RuleStore(store_url)
    store.create(rule_for(broker, name, folder, schedule="every 10s"))
    serving = Serving([*SERVE, "--log-format=json"], store_url, tmp_path)
    try:
        serving.until(lambda: any(run.state is RunState.SUCCEEDED for run in store.log("orders")))
        second = send(client, name, numbered(12, "later"))
        serving.until(lambda: sum(run.messages for run in store.log("orders")) == 42)
        serving.until(
            lambda: 'tdmq_backup_messages_total{rule="orders"} 42.0' in _get(port_of(serving.log), "/metrics")[1]
        )
        port = port_of(serving.log)
        assert _get(port, "/healthz") == (200, "ok\n")
        assert _get(port, "/")[0] == 404
        page = _get(port, "/metrics")[1]
        assert 'tdmq_backup_runs_total{rule="orders",state="succeeded"}' in page
        assert 'tdmq_backup_trouble{rule="orders"} 0.0' in page
        assert "tdmq_backup_store_up 1.0" in page
        assert serving.stop() == 143
    finally:
        serving.close()
    assert runs_of(store_url) == []
    assert store.running() == {}
    assert_holds(messages_in(folder), {name: [*first, *second]})
    runs = [run for run in store.log("orders") if run.state is RunState.SUCCEEDED]
    assert {run.trigger for run in runs} <= {Trigger.SCHEDULE, Trigger.RETRY}
    lines = [json.loads(line) for line in serving.log.splitlines()]
    assert {line["rule"] for line in lines if line["logger"] == "transforms.cos.sink"} == {"orders"}
    assert lines[-1]["message"].startswith("terminated while ")
