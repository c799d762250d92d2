"""Stores that cannot be opened, read or written, and addresses that are none: each told in a sentence."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from pipelines.rules import database
from pipelines.rules.errors import StoreError
from pipelines.rules.records import RunState
from pipelines.rules.store import RuleStore
from tests.pipelines.rules.stored import a_rule, begin, reached, succeed
from transforms.testing.postgres_server import PostgresServer

ROOT = Path(__file__).parents[3]


def said(url: str | None) -> str:
    """What is said of a store that cannot be opened."""
    with pytest.raises(StoreError) as found:
        RuleStore(url)
    (sentence,) = found.value.problems
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    "url",
    [
        "rules.sqlite3",
        "mysql://user@host/base",
        "sqlite://",
        "sqlite:///:memory:",
        "http://host/base",
        "postgresql//host",
        "postgresql://user@host:port/base",
        "://",
        "\0",
        "/var/lib/rules.sqlite3",
    ],
)
def test_what_is_no_store_is_told_with_the_forms_of_one(url):
    assert "sqlite:////FOLDER/rules.sqlite3" in said(url)
    assert said(url).startswith("--store: ")


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@host/base", "postgresql://me@host/base?password=s3cret", "postgres://a:s3cret@h/b"]
)
def test_a_password_on_a_command_line_is_refused_and_not_repeated(url):
    with pytest.raises(StoreError) as found:
        database.refuse_password(url)
    assert "s3cret" not in str(found.value)


@pytest.mark.parametrize("url", [None, "", "sqlite:////tmp/x", "postgresql://me@host/base", "postgresql:///base"])
def test_an_address_without_a_password_may_stand_on_a_command_line(url):
    database.refuse_password(url)


def test_without_an_address_the_store_is_the_users_own_or_the_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with RuleStoreClosing(None) as store:
        store.create(a_rule())
    own = tmp_path / "data" / "tdmq-backup"
    assert (own / "rules.sqlite3").exists()
    assert own.stat().st_mode & 0o077 == 0, "for nobody else"
    monkeypatch.setenv("TDMQ_BACKUP_STORE", f"sqlite:///{tmp_path}/other.sqlite3")
    with RuleStoreClosing(None) as store:
        assert store.all() == []
    assert (tmp_path / "other.sqlite3").exists()


def test_a_file_of_something_else_is_told(tmp_path):
    path = tmp_path / "rules.sqlite3"
    path.write_bytes(b"name,rule\n" * 1000)
    before = path.read_bytes()
    sentence = said(f"sqlite:///{path}")
    assert f"The store sqlite:///{path} failed: file is not a database." in sentence
    assert "The file is damaged, or of something else." in sentence
    assert path.read_bytes() == before


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / "rules.sqlite3"
    with RuleStoreClosing(f"sqlite:///{path}") as store:
        for number in range(50):
            store.create(a_rule(f"rule{number}"))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    sentence = said(f"sqlite:///{path}")
    assert "The file is damaged, or of something else. Put a copy of the store back" in sentence


def test_a_folder_in_place_of_the_file_is_told(tmp_path):
    assert "unable to open database file. Check that it is a file" in said(f"sqlite:///{tmp_path}")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    sentence = said(f"sqlite:///{tmp_path}/file/inner/rules.sqlite3")
    assert sentence == f"The store's folder {tmp_path}/file/inner cannot be created (Not a directory). Give --store."


def test_a_file_that_another_process_does_not_let_go_is_told_and_free_it_works(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.2)
    path = tmp_path / "rules.sqlite3"
    with RuleStoreClosing(f"sqlite:///{path}") as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"database is locked. Another process has not let go of it for 0.2 s"):
            store.create(a_rule())
        assert store.all() == [], "it can be read"
        other.execute("ROLLBACK")
        other.close()
        store.create(a_rule())


def test_writers_wait_for_each_other(tmp_path):
    path = tmp_path / "rules.sqlite3"
    with RuleStoreClosing(f"sqlite:///{path}") as store:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        waits = threading.Timer(0.5, other.execute, ["ROLLBACK"])
        waits.start()
        store.create(a_rule())
        waits.join()
        other.close()


#: $1: the folder; $2: how it is mounted. Creates rules until it is full, or tries to write one.
MOUNTED = """
mount -t tmpfs -o size=1m tmpfs "$1" || exit 99
"$3" -c "$4" "$1" make || exit 98
case $2 in
    read-only) mount -o remount,ro "$1" || exit 99; "$3" -c "$4" "$1" one ;;
    full) "$3" -c "$4" "$1" many; mount -o remount,size=20m "$1" || exit 99; "$3" -c "$4" "$1" check ;;
esac
"""
PROGRAM = """
import sys
from pipelines.rules.errors import StoreError
from pipelines.rules.model import read_rule
from pipelines.rules.store import RuleStore
folder, what = sys.argv[1:]
try:
    store = RuleStore(f"sqlite:///{folder}/rules.sqlite3")
    if what == "check":
        names = [each.rule.name for each in store.all()]
        assert names == sorted(names) and len(names) > 1, names
        store.create(read_rule({"name": "last"}))
        print(len(names), "rules are whole")
    else:
        for number in range({"make": 1, "one": 1, "many": 10000}[what]):
            store.create(read_rule({"name": f"{what}{number:05}", "description": "x" * 5000}))
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("fault", "sentences"),
    [
        ("full", ["database or disk is full. Check that", "rules are whole"]),
        ("read-only", ["Check that it is a file, that it and its folder may be read and written"]),
    ],
)
def test_a_disk_that_cannot_be_written_is_told_and_what_was_kept_stays(tmp_path, fault, sentences):
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNTED, "sh", str(tmp_path), fault]
    done = subprocess.run(
        [*command, sys.executable, PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(sentences), lines
    for line, sentence in zip(lines, sentences, strict=True):
        assert sentence in line


def test_a_store_of_a_newer_version_is_refused_and_left_alone(store, store_url):
    store.create(a_rule())
    with store._engine.begin() as on:
        on.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert "was written by a newer version of tdmq-backup (its schema is 9999). Install that one here." in said(
        store_url
    )
    with store._engine.begin() as on:
        on.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{database.NEWEST}'")
    assert [each.rule.name for each in store.all()] == ["orders"]


def test_a_wrong_password_is_told_and_not_repeated(postgres):
    url = postgres.url().replace(postgres.password, "wr0ng")
    sentence = said(url)
    assert "password authentication failed" in sentence
    assert "TDMQ_BACKUP_STORE, PGPASSWORD, ~/.pgpass" in sentence
    assert "wr0ng" not in sentence
    assert f"The store postgresql://postgres:***@127.0.0.1:{postgres.port}/postgres failed" in sentence


def test_the_password_may_be_in_the_environment(postgres, postgres_url, monkeypatch):
    bare = postgres_url.replace(f":{postgres.password}", "")
    assert "no password supplied" in said(bare)
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    with RuleStoreClosing(bare) as store:
        assert store.all() == []


def test_a_password_in_the_query_is_not_repeated(postgres):
    assert "wr0ng" not in said(f"{postgres.url(password=False)}?password=wr0ng")


def test_a_database_that_is_missing_is_told(postgres):
    assert 'database "none" does not exist' in said(postgres.url("none"))


def test_a_user_who_may_not_create_tables_is_told(postgres, postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as on:
        on.execute("DROP ROLE IF EXISTS reader")
        on.execute("CREATE ROLE reader LOGIN PASSWORD 'reads'")
    sentence = said(postgres_url.replace(f"postgres:{postgres.password}", "reader:reads"))
    assert "permission denied for schema public" in sentence
    assert "Let its user create tables in the schema public" in sentence


def test_a_server_that_is_not_there_is_told():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        sentence = said(f"postgresql://me@127.0.0.1:{port}/base")
    assert "Connection refused" in sentence
    assert "Check its address, that it runs" in sentence


def test_a_server_that_does_not_answer_is_told_in_time(monkeypatch):
    monkeypatch.setattr(database, "_CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sentence = said(f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/base")
    assert "timeout" in sentence


def test_a_rule_that_another_transaction_does_not_let_go_is_told(postgres_url, monkeypatch):
    monkeypatch.setattr(database, "_BUSY_SECONDS", 1)
    with RuleStoreClosing(postgres_url) as store, psycopg.connect(postgres_url) as other:
        store.create(a_rule())
        other.execute("SELECT * FROM rule FOR UPDATE")
        with pytest.raises(StoreError, match="Another process has not let go of a rule for 1 s"):
            store.edit(a_rule(codec="null"), 1)
        other.rollback()
        assert store.edit(a_rule(codec="null"), 1).revision == 2


def test_a_server_that_goes_away_and_comes_back_is_told_and_used_again():
    with PostgresServer() as server, RuleStoreClosing(server.url(server.new_database())) as store:
        rule = store.create(a_rule())
        run = begin(store)
        server.stop()
        for call in (store.all, lambda: store.renew(run.id), lambda: succeed(store, run, 5)):
            with pytest.raises(StoreError, match="Check its address, that it runs"):
                call()
        server.start()
        store.renew(run.id, messages=3)
        assert succeed(store, run, 5).state is RunState.SUCCEEDED
        assert store.positions(rule.id) == reached(5)


def test_no_secret_is_in_the_store(sqlite_url, monkeypatch):
    monkeypatch.setenv("ORDERS_TOKEN", "tok3n-in-the-environment")
    with RuleStoreClosing(sqlite_url) as store:
        store.create(a_rule(role_key="env:ORDERS_TOKEN", cos_credentials="env", address="pulsar://127.0.0.1:6650"))
        run = begin(store)
        store.end(run.id, RunState.FAILED, exit_code=3, error="The role's key env:ORDERS_TOKEN is refused.")
        folder = Path(sqlite_url.removeprefix("sqlite:///")).parent
        content = b"".join(each.read_bytes() for each in folder.iterdir())
    secrets = ["tok3n-in-the-environment", *(os.environ[each] for each in ("COS_SECRET_ID", "COS_SECRET_KEY"))]
    assert b"env:ORDERS_TOKEN" in content
    for secret in secrets:
        assert secret.encode() not in content


def test_a_process_that_is_killed_in_a_transaction_leaves_nothing_of_it(store, store_url):
    store.create(a_rule())
    program = """
import os, sys
from pipelines.rules.store import RuleStore
from pipelines.rules import rows
from tests.pipelines.rules.stored import a_rule
store = RuleStore(os.environ["TDMQ_BACKUP_STORE"])
keep = rows.keep_revision
def keep_and_wait(*given, **named):
    keep(*given, **named)
    print("in the middle", flush=True)
    sys.stdin.read()
rows.keep_revision = keep_and_wait
store.edit(a_rule(codec="null"), 1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "TDMQ_BACKUP_STORE": store_url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "in the middle\n"
        process.send_signal(signal.SIGKILL)
    assert [each.revision for each in store.revisions("orders")] == [1]
    assert store.edit(a_rule(codec="null"), 1).revision == 2


class RuleStoreClosing(RuleStore):
    """A store that is closed at the end of a block."""

    def __enter__(self) -> RuleStoreClosing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
