from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from transforms.testing.postgres_server import PostgresServer

ROOT = Path(__file__).parents[3]
#: Starts a server, tells where, and waits to be ended.
PROGRAM = """
import sys
from transforms.testing.postgres_server import PostgresServer
with PostgresServer() as server:
    print(server.pid, server.directory, server.url(), flush=True)
    sys.stdin.read()
"""


def of_server(pid: int) -> list[int]:
    """The process and its children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if pid in (parent, int(entry.name)):
                found.append(int(entry.name))
    return found


def wait_for_end(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "some of them still run"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("ordinary", "number"), [(False, signal.SIGKILL), (True, None)], ids=["killed", "closed, as an ordinary user"]
)
def test_a_server_leaves_nothing_behind(tmp_path, ordinary, number):
    as_ordinary = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if ordinary else []
    users = pwd.getpwall()
    with subprocess.Popen(
        [*as_ordinary, sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        pid, directory, url = process.stdout.readline().split()
        with psycopg.connect(url) as on:
            assert on.execute("SELECT 1").fetchone() == (1,)
        pids = of_server(int(pid))
        assert len(pids) > 1
        if number is None:
            process.stdin.close()
        else:
            process.send_signal(number)
        process.wait(30)
    wait_for_end(pids)
    assert Path(directory).exists() == (number is not None)  # its folder is all that stays of one that was killed
    assert pwd.getpwall() == users


def test_a_server_wants_a_password_and_is_started_again_with_its_data():
    with PostgresServer() as server:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url(password=False))
        url = server.url(server.new_database())
        with psycopg.connect(url) as on:
            on.execute("CREATE TABLE kept (number int)")
        with psycopg.connect(url) as left_open:
            server.stop()
            with pytest.raises(psycopg.OperationalError):
                left_open.execute("SELECT 1")
        server.start()
        with psycopg.connect(url) as on:
            assert on.execute("SELECT count(*) FROM kept").fetchone() == (0,)
