"""The service in this process: what it claims, counts and tells. Its runs are real processes that read nothing."""

from __future__ import annotations

import collections
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest

from pipelines.rules import serve
from pipelines.rules.errors import StoreError
from pipelines.rules.listening import listen_address, listening
from pipelines.rules.metrics import Metrics, seconds_behind
from pipelines.rules.model import Rule
from pipelines.rules.processes import Launch
from pipelines.rules.records import RunState, StoredRule, Trigger
from pipelines.rules.serve import Service
from pipelines.rules.store import RuleStore
from tests.pipelines.rules.fast_service import FastClock
from transforms.errors import BackupError, ConfigurationError

_CHILD = (sys.executable, "-m", "tests.pipelines.rules.quick_child")


def _launch(url: str, log: Path | None = None, **options: str) -> Launch:
    environment = {"TDMQ_BACKUP_STORE": url, "PYTHONPATH": os.pathsep.join(sys.path)}
    return Launch(command=_CHILD, environment={**environment, **({"QUICK_LOG": str(log)} if log else {})}, **options)


@contextmanager
def _serving(*services: Service) -> Iterator[None]:
    threads = [threading.Thread(target=each.serve) for each in services]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for each in services:
            each.stop()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()


def _until(reached: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_services_on_one_store_never_overlap_and_skip_no_turn(store_url, open_store, tmp_path):
    now = time.time()
    clock = FastClock(f"{now} {now} 120 30")  # a minute is half a second
    stores = [open_store(clock=clock) for _ in range(3)]
    names = ["minutely", "often", "cron"]
    for name, schedule in zip(names, ("every 1m", "every 40s", "*/2 * * * *"), strict=True):
        stores[0].create(Rule(name=name, schedule=schedule))
    first = {each.rule.name: each.next_turn for each in stores[0].all()}
    log = tmp_path / "quick.log"
    services = [Service(each, _launch(store_url, log), clock=clock, poll_seconds=0.05) for each in stores[1:]]
    with _serving(*services):
        _until(lambda: all(len(stores[0].log(name)) >= 3 for name in names))
    standing: collections.Counter[str] = collections.Counter()
    for word, name in map(str.split, log.read_text().splitlines()):
        # One that was broken off by the stop has no end.
        standing[name] += 1 if word == "begin" else -1
        assert standing[name] in (0, 1), f"two runs of {name} at once"
    for found in stores[0].all():
        runs = stores[0].log(found.rule.name)[::-1]
        assert all(run.state in (RunState.SUCCEEDED, RunState.INTERRUPTED) for run in runs)
        for before, after in itertools.pairwise(runs):
            assert before.ended <= after.started
        # From the first turn on, each is taken once, and the next is behind them.
        turn = first[found.rule.name]
        for run in [each for each in runs if each.trigger is Trigger.SCHEDULE]:
            last, count = _turns(found.rule, turn, run.due)
            assert (run.due, run.turns) == (last, count)
            turn = _next_turn(found.rule, run.due)
        assert found.next_turn == turn


def _turns(rule: Rule, first: datetime, upto: datetime) -> tuple[datetime, int]:
    """Turns from the first on, counted one by one."""
    count, last = 1, first
    while last < upto:
        last, count = _next_turn(rule, last), count + 1
    return last, count


def _next_turn(rule: Rule, moment: datetime) -> datetime:
    step = {"every 1m": 60, "every 40s": 40, "*/2 * * * *": 120}[rule.schedule]
    return moment + timedelta(seconds=step)


def test_turns_that_were_missed_are_caught_up_by_one_run(store_url, open_store, clock):
    store = open_store(clock=clock)
    store.create(Rule(name="hourly", schedule="every 1h"))
    clock.move(hours=5)
    service = Service(store, _launch(store_url), clock=clock, poll_seconds=0.05)
    assert service.once() == 0
    (run,) = store.log("hourly")
    assert (run.turns, run.due, run.state) == (5, datetime(2026, 3, 1, 17, tzinfo=timezone.utc), RunState.SUCCEEDED)
    assert service.once() == 0
    assert len(store.log("hourly")) == 1


def test_once_makes_each_rule_that_is_due_and_gives_the_worst_exit_code(sqlite_url, clock, capsys):
    store = RuleStore(sqlite_url, clock=clock)
    for name, what in {"good": "", "refused": "fail 3", "broken": "fail 5"}.items():
        store.create(Rule(name=name, schedule="every 1h", description=what or None))
    store.create(Rule(name="later", schedule="every 1d"))
    store.create(Rule(name="off", schedule="every 1h", enabled=False))
    store.create(Rule(name="endless", schedule="continuous"))
    clock.move(hours=1)
    metrics = Metrics()
    assert Service(store, _launch(sqlite_url), metrics=metrics, clock=clock, poll_seconds=0.05).once() == 5
    assert {name: len(store.log(name)) for name in ("good", "refused", "broken", "later", "off", "endless")} == {
        **{"good": 1, "refused": 1, "broken": 1},
        **{"later": 0, "off": 0, "endless": 0},
    }
    metrics.look(store, clock())
    page = metrics.page().decode().splitlines()
    assert 'tdmq_backup_runs_total{rule="good",state="succeeded"} 1.0' in page
    assert 'tdmq_backup_runs_total{rule="broken",state="failed"} 1.0' in page
    assert 'tdmq_backup_messages_total{rule="good"} 7.0' in page
    assert 'tdmq_backup_bytes_total{rule="good"} 100.0' in page
    assert 'tdmq_backup_files_total{rule="good"} 2.0' in page
    assert 'tdmq_backup_trouble{rule="good"} 0.0' in page
    assert 'tdmq_backup_trouble{rule="broken"} 1.0' in page
    assert 'tdmq_backup_enabled{rule="off"} 0.0' in page
    told = dict(line.rsplit(" ", 1) for line in page if line[0] != "#")
    ended = store.log("good")[0].ended
    assert float(told['tdmq_backup_last_success_timestamp_seconds{rule="good"}']) == ended.timestamp()
    assert float(told['tdmq_backup_last_success_timestamp_seconds{rule="broken"}']) == 0
    assert 'tdmq_backup_behind_seconds{rule="good"} 0.0' in page
    assert 'tdmq_backup_behind_seconds{rule="broken"} 60.0' in page  # 13:00 is a minute ago
    assert "tdmq_backup_leases 0.0" in page
    assert "good: I am good" in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [("kill", 137, "was killed (SIGKILL)"), ("silent 1", 1, "ended with exit code 1, and did not say why")],
)
def test_a_run_that_dies_without_a_word_is_lost_at_once(sqlite_url, clock, what, code, said):
    store = RuleStore(sqlite_url, clock=clock, lease_seconds=3600)
    store.create(Rule(name="orders", schedule="every 1h", description=what))
    clock.move(hours=1)
    assert Service(store, _launch(sqlite_url), clock=clock, poll_seconds=0.05).once() == code
    (run,) = store.log("orders")
    assert (run.state, run.exit_code) == (RunState.LOST, code)
    assert said in run.error
    assert store.running() == {}
    assert store.get("orders").retry_at == clock() + timedelta(seconds=30)


def test_a_run_that_was_told_to_end_before_it_could_listen_is_interrupted(sqlite_url, clock):
    store = RuleStore(sqlite_url, clock=clock)
    store.create(Rule(name="orders", schedule="every 1h", description="silent 143"))
    due = clock.move(hours=1)
    clock.move(seconds=1)
    # By its own clock the service sees what is due a second before: what comes later is left to the next one.
    assert Service(store, _launch(sqlite_url), clock=lambda: due, poll_seconds=0.05).once() == 143
    assert len(store.log("orders")) == 1
    assert store.log("orders")[0].state is RunState.INTERRUPTED
    assert store.get("orders").retry_at == clock()


def test_a_stop_ends_the_runs_and_the_next_service_goes_on_with_them(sqlite_url, clock, tmp_path):
    store = RuleStore(sqlite_url, clock=clock)
    found = store.create(Rule(name="orders", schedule="every 1h", description="hang"))
    clock.move(hours=1)
    log = tmp_path / "quick.log"
    with _serving(Service(store, _launch(sqlite_url, log), clock=clock, poll_seconds=0.05)):
        _until(lambda: log.exists() and "begin" in log.read_text())
        assert list(store.running()) == ["orders"]
    (first,) = store.log("orders")
    assert (first.state, first.exit_code) == (RunState.INTERRUPTED, 143)
    store.edit(found.rule.model_copy(update={"description": None}), 1)
    clock.move(seconds=1)
    assert Service(store, _launch(sqlite_url), clock=clock, poll_seconds=0.05).once() == 0
    second, _ = store.log("orders")
    assert (second.trigger, second.due, second.state) == (Trigger.RETRY, first.due, RunState.SUCCEEDED)


def test_no_more_runs_at_once_than_were_asked_for(sqlite_url, clock, tmp_path):
    store = RuleStore(sqlite_url, clock=clock)
    for number in range(4):
        store.create(Rule(name=f"rule-{number}", schedule="every 1h", description="hang"))
    clock.move(hours=1)
    log = tmp_path / "quick.log"
    with _serving(Service(store, _launch(sqlite_url, log), runs=2, clock=clock, poll_seconds=0.05)):
        _until(lambda: log.exists() and log.read_text().count("begin") == 2)
        time.sleep(1)
        assert len(store.running()) == 2
    assert sum(len(store.log(f"rule-{number}")) for number in range(4)) == 2


def test_a_store_that_is_away_is_told_and_outlived(postgres, monkeypatch, caplog):
    monkeypatch.setattr(serve, "UNWELL_SECONDS", 1.0)
    database = postgres.new_database()
    url = postgres.url(database)
    store = RuleStore(url)
    store.create(Rule(name="orders", schedule="every 10s"))
    metrics = Metrics()
    service = Service(store, _launch(url), metrics=metrics, poll_seconds=0.05)

    def allow(allowed: bool) -> None:
        with psycopg.connect(postgres.url(), autocommit=True) as on:
            on.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS {str(allowed).lower()}')
            on.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])

    with _serving(service), listening(("127.0.0.1", 0), metrics, service.unwell) as port:
        _until(lambda: b"store_up 1.0" in metrics.page())
        assert _status(port) == 200
        allow(False)
        _until(lambda: _status(port) == 503)
        assert b"tdmq_backup_store_up 0.0" in metrics.page()
        assert b"tdmq_backup_store_failures_total 0.0" not in metrics.page()
        assert [each for each in caplog.messages if "Trying again" in each][1:] == []
        allow(True)
        _until(lambda: _status(port) == 200)
        _until(lambda: any(run.state is RunState.SUCCEEDED for run in store.log("orders")))
    store.close()


def _status(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_old_runs_are_forgotten_daily_with_their_log_files_and_nothing_else_is_deleted(
    sqlite_url, clock, data_folder, tmp_path
):
    store = RuleStore(sqlite_url, clock=clock)
    store.create(Rule(name="orders", keep_log="1d"))
    logs = data_folder / "logs" / "orders"
    logs.mkdir(parents=True)
    inside, outside = logs / "a.log", tmp_path / "b.log"
    for path in (inside, outside, logs / "c.log"):
        path.write_text("x")
        store.begin("orders", Trigger.MANUAL, run_id=path.stem, holder="h", command="c")
        store.renew(path.stem, log_file=str(path if path.stem != "b" else logs / ".." / ".." / ".." / ".." / "b.log"))
        store.end(path.stem, RunState.SUCCEEDED, exit_code=0)
        if path.stem == "b":
            clock.move(hours=25)
    service = Service(store, _launch(sqlite_url), clock=clock, poll_seconds=0.05)
    assert service.once() == 0
    assert [run.id for run in store.log("orders")] == ["c"]
    assert not inside.exists()
    assert outside.exists()
    clock.move(hours=25)
    assert service.once() == 0
    assert store.log("orders") == []


def test_lines_of_runs_have_the_rules_name_in_json_too(sqlite_url, clock, capsys):
    store = RuleStore(sqlite_url, clock=clock)
    store.create(Rule(name="orders", schedule="every 1h"))
    clock.move(hours=1)
    launch = _launch(sqlite_url, log_format="json")
    assert Service(store, launch, clock=clock, poll_seconds=0.05).once() == 0
    (line,) = [json.loads(each) for each in capsys.readouterr().err.splitlines() if each.startswith("{")]
    assert (line["rule"], line["message"], line["run"]) == ("orders", "I am orders", store.log("orders")[0].id)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-01T{text}:00+00:00")


@pytest.mark.parametrize(
    ("fields", "last", "now", "behind"),
    [
        ({"schedule": "every 1h"}, "12:00", "12:59", 0),
        ({"schedule": "every 1h"}, "12:00", "13:00", 0),
        ({"schedule": "every 1h"}, "12:00", "13:10", 600),
        ({"schedule": "every 1h"}, "12:00", "16:00", 3 * 3600),
        ({"schedule": "every 1h"}, None, "11:30", 1800),
        ({"schedule": "0 * * * *"}, "12:30", "13:01", 60),
        ({"schedule": "every 1h", "enabled": False}, "12:00", "16:00", 0),
        ({"schedule": ""}, "12:00", "16:00", 0),
        ({"schedule": "continuous"}, None, "16:00", 0),
    ],
)
def test_a_rule_is_behind_by_the_age_of_the_oldest_turn_that_is_not_covered(fields, last, now, behind):
    stored = StoredRule("1", Rule(name="orders", **fields), 1, _at("10:30"), "me")
    assert seconds_behind(stored, None if last is None else _at(last), _at(now)) == behind


@pytest.mark.parametrize("text", ["", "127.0.0.1", ":9099", "127.0.0.1:x", "127.0.0.1:99999", "http://a:1", "a:1/b"])
def test_what_is_no_address_to_listen_on_is_refused(text):
    with pytest.raises(ConfigurationError, match="write HOST:PORT"):
        listen_address(text)


def test_a_port_that_is_taken_is_told():
    assert listen_address("[::1]:9099") == ("::1", 9099)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=f"--listen=127.0.0.1:{port}: cannot be listened on"),
            listening(("127.0.0.1", port), Metrics(), lambda: None),
        ):
            pass


def test_a_killed_service_leaves_its_run_alone_and_no_second_one_begins(sqlite_url, tmp_path):
    from tests.pipelines.rules.serving import Serving, fast, runs_of

    environment = fast(time.time(), time.time(), 60, 30)
    store = RuleStore(sqlite_url, clock=FastClock(environment["FAST_CLOCK"]))
    store.create(Rule(name="orders", schedule="every 1m", address="pulsar://192.0.2.1:6650"))
    serving = Serving(["tests.pipelines.rules.fast_service", "serve"], sqlite_url, tmp_path, environment)
    serving.until(lambda: runs_of(sqlite_url))
    serving.process.kill()
    serving.process.wait()
    assert len(runs_of(sqlite_url)) == 1
    # It is refused (the rule lacks fields), and says so in its record though nobody reads its stderr.
    _until(lambda: store.log("orders")[-1].state is not RunState.RUNNING)
    assert store.log("orders")[-1].state is RunState.FAILED
    _until(lambda: runs_of(sqlite_url) == [])


def test_once_says_that_the_store_is_away(postgres, clock):
    database = postgres.new_database()
    store = RuleStore(postgres.url(database), clock=clock)
    with psycopg.connect(postgres.url(), autocommit=True) as on:
        on.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        on.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
    with pytest.raises(StoreError, match=database):
        Service(store, _launch(postgres.url(database)), clock=clock, poll_seconds=0.05).once()


def test_a_run_for_which_there_is_no_process_has_failed_and_is_told(sqlite_url, clock):
    store = RuleStore(sqlite_url, clock=clock)
    store.create(Rule(name="orders", schedule="every 1h"))
    clock.move(hours=1)
    launch = Launch(command=("/nowhere/python",))
    with pytest.raises(BackupError, match="No process could be started"):
        Service(store, launch, clock=clock, poll_seconds=0.05).once()
    (run,) = store.log("orders")
    assert run.state is RunState.FAILED
    assert "No such file" in run.error


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--once"], 0, ""),
        (["--listen=here"], 2, "error: --listen=here: write HOST:PORT"),
        (["--store=postgresql://me:secret@h/d"], 2, "error: --store: a password on a command line"),
        (["--store=mysql://h/d", "--once"], 2, "error: --store: not a store"),
    ],
)
def test_the_command_says_at_once_what_is_wrong_and_loads_no_beam(words, code, said, tmp_path):
    script = (
        "import sys\nfrom pipelines import cli\ntry: cli.main()\n"
        "finally: assert not {'apache_beam', 'pulsar', 'qcloud_cos'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", script, "serve", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said)
    assert "secret" not in done.stderr
