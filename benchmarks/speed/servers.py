"""The servers of a run, each in a process of its own, and the topics on the broker."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.bare_loop import PARTITIONS
from benchmarks.speed.processes import used
from transforms.files.naming import parse_name
from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY
from transforms.testing.producers import produce
from transforms.testing.pulsar_standalone import PulsarStandalone

SECRETS = {"COS_SECRET_ID": TEST_SECRET_ID, "COS_SECRET_KEY": TEST_SECRET_KEY}
_NAMESPACE = "test/speed"
#: Of payloads, their keys and properties: they are kept until they are sent.
_PIECE_BYTES = 100_000_000


@dataclass(frozen=True)
class StoredObject:
    """A file of messages at the COS server."""

    key: str
    messages: int
    stored: float
    """When: seconds since 1970, by the server's clock."""
    path: Path
    """Its content."""


class CosProcess:
    """A COS server in a process of its own."""

    def __init__(self, pid: int, endpoint: str, folder: Path) -> None:
        self.pid = pid
        self._endpoint = endpoint
        self._folder = folder

    @property
    def options(self) -> list[str]:
        """Of the job: where to write."""
        place = f"cos://{TEST_BUCKET}/speed/"
        return [f"--destination={place}", f"--cos_endpoint={self._endpoint}", "--cos_region=ap-guangzhou"]

    def stored(self) -> list[StoredObject]:
        """All files of messages, without asking the server, which has other things to do."""
        # Looked up in the folder that the server keeps; reading does not lock it.
        address = f"file:{self._folder / 'names.sqlite'}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as database:
            rows = database.execute("SELECT key, file, modified FROM objects").fetchall()
        found = []
        for key, file, stored in rows:
            name = parse_name(key.decode().rpartition("/")[2])
            if name is not None and "/_spool/" not in key.decode():
                path = self._folder / "contents" / file
                found.append(StoredObject(key.decode(), name.run.messages, stored, path))
        return found


@contextmanager
def cos_process() -> Iterator[CosProcess]:
    """Start a COS server; what it keeps is deleted when the body has ended."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "transforms.testing.cos_server", f"--directory={folder}"]
        server = subprocess.Popen(
            [*command, f"--bucket={TEST_BUCKET}"], env={**os.environ, **SECRETS}, stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            yield CosProcess(server.pid, server.stdout.readline().strip(), Path(folder))
        finally:
            server.terminate()
            server.wait()


class Broker:
    """A broker and its topics, which are filled when they are first asked for."""

    def __init__(self, server: PulsarStandalone) -> None:
        self._server = server
        self._topics: dict[tuple[int, int], str] = {}
        server.admin.create_tenant("test")
        server.admin.create_namespace(_NAMESPACE)

    @property
    def service_url(self) -> str:
        return self._server.service_url

    @property
    def admin_url(self) -> str:
        return self._server.admin_url

    @property
    def pid(self) -> int:
        assert self._server.pid is not None
        return self._server.pid

    @property
    def cpu_seconds(self) -> float:
        """So far."""
        return used(self.pid).own

    def new_topic(self, name: str) -> str:
        """An empty topic; gives its full name."""
        topic = f"persistent://{_NAMESPACE}/{name}"
        self._server.admin.create_partitioned_topic(topic, PARTITIONS)
        return topic

    def topic(self, payload: int, count: int) -> str:
        """A topic of so many messages with payloads of so many bytes."""
        if (payload, count) not in self._topics:
            topic = self.new_topic(f"bytes-{payload}-messages-{count}")
            print(f"  producing {count:,} messages of {payload:,} B", end="", flush=True)
            began = time.monotonic()
            piece = max(_PIECE_BYTES // (payload + 400), PARTITIONS)
            for seed, begin in enumerate(range(0, count, piece)):
                few = min(piece, count - begin)
                produce(self.service_url, topic, few, partitions=PARTITIONS, size=payload, seed=seed)
            print(f" ({time.monotonic() - began:.0f} s)", flush=True)
            self._topics[payload, count] = topic
        return self._topics[payload, count]

    def forget(self, payload: int) -> None:
        """Delete the topics with payloads of that size."""
        for size, count in [each for each in self._topics if each[0] == payload]:
            self._server.admin.delete_topic(self._topics.pop((size, count)), partitioned=True)


@contextmanager
def broker() -> Iterator[Broker]:
    """Start one; it ends with the body."""
    with PulsarStandalone() as server:
        yield Broker(server)
