from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest

from pipelines.rules.store import RuleStore
from transforms.testing.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The Postgres that all tests of rules share. Do not stop it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """An empty database on it."""
    return postgres.url(postgres.new_database())


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A file that is not there yet."""
    return f"sqlite:///{tmp_path}/store/rules.sqlite3"


@pytest.fixture(scope="session")
def emptied_database(postgres: PostgresServer) -> str:
    """A database whose store is emptied for each test: to make one takes a third of a second."""
    url = postgres.url(postgres.new_database())
    RuleStore(url).close()
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """An empty store; each test that asks for it runs on SQLite and on Postgres."""
    if request.param == "sqlite":
        found: str = request.getfixturevalue("sqlite_url")
        return found
    url: str = request.getfixturevalue("emptied_database")
    with psycopg.connect(url) as on:
        on.execute("TRUNCATE rule, revision, position, run, lease")
    return url


@pytest.fixture
def open_store(store_url: str) -> Iterator[Callable[..., RuleStore]]:
    """Opens ``store_url``, as often as it is called, and closes all in the end."""
    opened: list[RuleStore] = []

    def make(**options: object) -> RuleStore:
        opened.append(RuleStore(store_url, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def store(open_store: Callable[..., RuleStore]) -> RuleStore:
    """An empty store."""
    return open_store()


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's store and the logs of runs are in this test; in subprocesses too."""
    folder = tmp_path / "data"
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    monkeypatch.delenv("TDMQ_BACKUP_STORE", raising=False)
    return folder / "tdmq-backup"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **time: float) -> datetime:
        """Move it by so many ``hours=``, ``minutes=`` or ``seconds=``."""
        self.now += timedelta(**time)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()
