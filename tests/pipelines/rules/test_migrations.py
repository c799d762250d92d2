"""What older versions left is read by this one, and the tables in the code are those in the database."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from pipelines.rules import database, migrations
from pipelines.rules.arguments import check_rule
from pipelines.rules.records import PartitionRecord, Reached, RunState, Trigger
from pipelines.rules.store import RuleStore
from pipelines.rules.tables import metadata
from tests.pipelines.rules.stored import begin, claim, reached, succeed

FIRST = (Path(__file__).with_name("first_schema.sql")).read_text()
#: The rows alone, for a database whose tables were made otherwise.
FIRST_ROWS = FIRST[FIRST.index("INSERT INTO rule ") :]
P = "persistent://pulsar-x/shop/orders-partition-0"


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2026, 3, 1, hour, minute, second, tzinfo=timezone.utc)


@pytest.fixture(params=["sqlite", "postgres"])
def first_url(request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path) -> str:
    """A store as the first version left it."""
    if request.param == "sqlite":
        path = Path(sqlite_url.removeprefix("sqlite:///"))
        path.parent.mkdir()
        with sqlite3.connect(path) as on:
            on.executescript(FIRST)
        on.close()
        return sqlite_url
    url: str = request.getfixturevalue("postgres_url")
    engine = database._open_postgres(database._parsed(url))
    with database.writing(engine) as writing:
        migrations.upgrade(writing, "0001")
    engine.dispose()
    with psycopg.connect(url) as connection:
        connection.execute(FIRST_ROWS.encode())
    return url


@pytest.fixture
def first(first_url, clock):
    clock.now = at(13, 1)
    store = RuleStore(first_url, clock=clock)
    yield store
    store.close()


def test_rules_of_the_first_schema_are_read(first):
    rules = {each.rule.name: each for each in first.all()}
    assert list(rules) == ["by-hand", "disabled", "failing", "orders", "streaming"]
    orders = rules["orders"]
    assert (orders.revision, orders.changed, orders.changed_by) == (2, at(12, 2), "backup@host-1")
    rule = orders.rule
    assert (rule.description, rule.topic) == ("all fields, 'quoted' ü", ("orders", "returns"))
    assert (rule.tags, rule.runner_options) == ({"team": "shop"}, ("--flink_master=127.0.0.1:8081",))
    assert (rule.schedule, rule.timezone, rule.retries, rule.codec) == ("*/15 * * * *", "Asia/Shanghai", 5, "zstd")
    assert [each.rule.codec for each in first.revisions("orders")] == ["zstd", "gzip"]
    assert rules["disabled"].rule.enabled is False
    failing = rules["failing"]
    assert (failing.failures, failing.retry_at, failing.next_turn) == (2, at(13, 1, 36), at(14, 0))
    assert (failing.trouble_code, failing.trouble_since) == (4, at(13, 0, 5))
    assert failing.trouble == "127.0.0.1:6650 did not answer within 5 s. Check host and port of address."


def test_every_field_of_a_rule_of_the_first_schema_is_there_as_it_was_given(first):
    given = first.get("orders").rule.document()
    # A field that is not here came later, or was left at its default.
    assert len(given) == 43
    assert all(str(value) in FIRST for value in given.values() if isinstance(value, str) and "'" not in value)
    for name in ("by-hand", "disabled", "failing"):
        check_rule(first.get(name).rule)


def test_runs_and_positions_of_the_first_schema_are_read(first):
    runs = first.log("orders")
    assert [each.state for each in runs] == [RunState.SUCCEEDED, RunState.INTERRUPTED, RunState.SUCCEEDED]
    assert [each.trigger for each in runs] == [Trigger.SCHEDULE, Trigger.REPROCESS, Trigger.SCHEDULE]
    oldest = runs[-1]
    gap = {"start": "17:0:-1", "stop": "17:4:-1", "certain": True}
    assert oldest.partitions == {P: PartitionRecord("17:0:-1", "17:90:-1", 86, 2, 4_000_000_000, (gap,))}
    assert (oldest.due, oldest.turns, oldest.ended) == (at(12, 30), 2, at(12, 40, 40))
    assert (oldest.messages, oldest.bytes, oldest.files, oldest.already_stored) == (86, 4_000_000_000, 2, 1)
    assert (oldest.gaps, oldest.retries, oldest.exit_code, oldest.holder) == (1, 2, 0, "host-1:18")
    assert oldest.warnings == ("The clock of the broker is 3 s ahead.",)
    assert oldest.log_file == "/var/lib/tdmq-backup/logs/orders/x.log"
    assert first.positions(runs[0].rule_id) == {
        P: Reached("-1:-1:-1", "17:120:-1", at(13, 0, 5)),
        P.replace("-0", "-1"): Reached("17:0:-1", "18:120:3", at(13, 0, 5)),
    }
    assert [each.state for each in first.log("by-hand")] == [RunState.LOST]
    assert [each.attempt for each in first.log("failing", failed=True)] == [2, 1]
    assert len(first.log("gone")) == 1, "a deleted rule keeps its log"
    going = first.running()["streaming"]
    assert (going.flink_job, going.messages) == ("0f3b5c7d9e1f2a4b6c8d0e2f4a6b8c0d", 12)
    assert going.savepoint == "file:/savepoints/savepoint-0f3b5c"


def test_a_store_of_the_first_schema_runs_on(first, clock):
    (lost,) = first.find_lost()
    assert (lost.rule_name, first.running()) == ("streaming", {})
    clock.now = at(13, 20)
    claimed = [claim(first) for _ in range(4)]
    assert claimed.pop() is None
    assert Counter((each.rule_name, each.trigger) for each in claimed) == Counter(
        [("orders", Trigger.SCHEDULE), ("failing", Trigger.RETRY), ("streaming", Trigger.SCHEDULE)]
    )
    (orders,) = (each for each in claimed if each.rule_name == "orders")
    (failing,) = (each for each in claimed if each.rule_name == "failing")
    assert (orders.due, failing.attempt) == (at(13, 15), 3)
    succeed(first, orders, 7)
    assert first.positions(orders.rule_id)[P] == reached(7)[P]
    by_hand = first.get("by-hand")
    edited = first.edit(by_hand.rule.model_copy(update={"codec": "null"}), by_hand.revision)
    assert edited.revision == 2
    first.create(by_hand.rule.model_copy(update={"name": "gone"}))
    succeed(first, begin(first, "gone"))
    assert len(first.log("gone")) == 2
    assert first.purge("gone") == 1
    clock.move(hours=24 * 91)
    assert first.forget_old_runs() == ["/var/lib/tdmq-backup/logs/orders/x.log"]


def test_the_newest_schema_is_that_of_the_last_step():
    assert migrations.scripts().get_heads() == [database.NEWEST]


def test_the_tables_are_those_that_the_steps_make(store):
    with store._engine.connect() as on:
        context = MigrationContext.configure(on, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert on.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [database.NEWEST]


def test_a_step_that_fails_leaves_the_store_as_it_was(first_url, monkeypatch):
    def upgrade_half(on: Connection) -> None:
        on.execute(text("ALTER TABLE rule ADD COLUMN half VARCHAR(3)"))
        on.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        raise OSError("the machine went down")

    monkeypatch.setattr(database, "NEWEST", "9999")
    monkeypatch.setattr(migrations, "upgrade", upgrade_half)
    with pytest.raises(OSError, match="the machine went down"):
        RuleStore(first_url)
    monkeypatch.undo()
    store = RuleStore(first_url, clock=lambda: at(13, 1) + timedelta(hours=1))
    assert len(store.all()) == 5
    with store._engine.connect() as on:
        assert "half" not in [each["name"] for each in inspect(on).get_columns("rule")]
    store.close()


def test_what_is_installed_carries_the_steps(tmp_path):
    root, source, built = Path(__file__).parents[3], tmp_path / "source", tmp_path / "built"
    for name in ("pipelines", "transforms"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "setup.py", source)
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(built)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    steps = sorted((root / "pipelines/rules/migrations/versions").glob("*.py"))
    assert len(steps) >= 2
    for step in steps:
        assert (built / step.relative_to(root)).read_bytes() == step.read_bytes()
