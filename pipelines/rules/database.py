"""The database behind the store: opened, brought to the newest schema, and its errors told in sentences."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import platformdirs
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from pipelines.rules.errors import StoreError

#: Names the store where ``--store`` does not; may hold a password, which a command line may not.
STORE_VARIABLE = "TDMQ_BACKUP_STORE"
#: The newest migration.
NEWEST = "0001"
_BUSY_SECONDS = 15
_CONNECT_SECONDS = 10
#: A run must learn in time that it cannot renew its lease, also where the network has gone silent (libpq's options).
_LIVELINESS = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 20_000}
#: For the lock under which one process brings the schema of Postgres up to date: any number, always the same.
_MIGRATION_LOCK = 7_316_201


def data_folder() -> Path:
    """Where this user's store and the log files of runs are, unless told otherwise."""
    return Path(platformdirs.user_data_dir("tdmq-backup", appauthor=False))


def open_database(url: str | None) -> Engine:
    """Open the store at a URL, ``TDMQ_BACKUP_STORE``'s, or the user's own; create it or bring its schema up to date.

    Raises StoreError.
    """
    given = url or os.environ.get(STORE_VARIABLE)
    parsed = _parsed(given) if given else URL.create("sqlite", database=str(data_folder() / "rules.sqlite3"))
    is_file = parsed.get_backend_name() == "sqlite"
    engine = _open_sqlite(parsed) if is_file else _open_postgres(parsed)
    with explained(engine):
        _bring_up_to_date(engine)
    return engine


def refuse_password(url: str | None) -> None:
    """Raise StoreError where a ``--store`` holds a password: others on the machine may read a command line."""
    if not url:
        return
    parsed = _parsed(url)
    if parsed.password is not None or "password" in parsed.query:
        raise StoreError(
            f"--store: a password on a command line is seen by others. Leave it out, and put the whole address in "
            f"{STORE_VARIABLE}, or the password in PGPASSWORD or ~/.pgpass."
        )


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: of a port that is no number
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(
            "--store: not a store. Write sqlite:////FOLDER/rules.sqlite3, or postgresql://HOST/DATABASE?user=NAME."
        )
    return parsed


def _open_sqlite(url: URL) -> Engine:
    path = Path(url.database or "")
    if url.database in (None, "", ":memory:"):
        raise StoreError("--store: name a file, as sqlite:////FOLDER/rules.sqlite3.")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The store's folder {path.parent} cannot be created ({error.strerror}). Give --store."
        ) from None
    engine = create_engine(URL.create("sqlite", database=url.database), connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # Transactions begin where SQLAlchemy says so: sqlite3 itself would begin them too late to be exclusive.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _open_postgres(url: URL) -> Engine:
    given = {name: value for name, value in url.query.items() if name not in _LIVELINESS}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg", query=given),
        # What waits for a lock sees what was there before it: the store's queries count on just that level.
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "tdmq-backup", **_LIVELINESS},
    )

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_BUSY_SECONDS}s'")
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{2 * _BUSY_SECONDS}s'")

    return engine


def now(on: Connection) -> datetime:
    """The moment by the clock of the database: the same for all machines that use it."""
    if on.dialect.name != "postgresql":
        return datetime.now(timezone.utc)
    found: datetime = on.execute(text("SELECT clock_timestamp()")).scalar_one()
    return found


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes; of several on SQLite one at a time."""
    with engine.connect().execution_options(writes=True) as on, on.begin():
        yield on


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """What goes wrong with the database inside, as a StoreError."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        said = " ".join(str(cause).split()).rstrip(".")
        host = {name: value for name, value in engine.url.query.items() if name in ("host", "port")}
        where = engine.url.set(drivername=engine.dialect.name, query=host).render_as_string(hide_password=True)
        hint = _hint_sqlite(said) if engine.dialect.name == "sqlite" else _hint_postgres(cause)
        raise StoreError(f"The store {where} failed: {said}. {hint}") from error


def _hint_sqlite(said: str) -> str:
    if "locked" in said:
        return f"Another process has not let go of it for {_BUSY_SECONDS} s; look for one that hangs."
    if "not a database" in said or "malformed" in said:
        return (
            "The file is damaged, or of something else. Put a copy of the store back, or name another file in --store."
        )
    return "Check that it is a file, that it and its folder may be read and written, and that the disk is not full."


def _hint_postgres(cause: BaseException) -> str:
    state = getattr(cause, "sqlstate", None) or ""
    if state == "42501":  # insufficient_privilege
        return "Let its user create tables in the schema public, or in one of his own."
    if state == "55P03":  # lock_not_available
        return f"Another process has not let go of a rule for {_BUSY_SECONDS} s; look for one that hangs."
    if state and state[:2] not in ("08", "28", "3D", "57"):  # what has to do with being connected
        return "The log of the database may tell more."
    return f"Check its address, that it runs, and user and password ({STORE_VARIABLE}, PGPASSWORD, ~/.pgpass)."


def _bring_up_to_date(engine: Engine) -> None:
    if _schema_of(engine) == NEWEST:
        return
    with writing(engine) as on:
        if engine.dialect.name == "postgresql":
            on.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATION_LOCK})
        # What it says while it is loaded, and of each step, is about itself.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from pipelines.rules.migrations import upgrade  # noqa: PLC0415 - takes long to load, and is seldom needed

        upgrade(on)


def _schema_of(engine: Engine) -> str | None:
    with engine.connect() as on:
        if not inspect(on).has_table("alembic_version"):
            return None
        return on.execute(text("SELECT version_num FROM alembic_version")).scalar()
