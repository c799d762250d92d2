from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pulsar
import pytest

from tests.pipelines.backups import SECRETS, Bucket, Folder
from tests.pipelines.producing import connected
from transforms.pulsar.positions import Position
from transforms.testing.cos_server import CosServer
from transforms.testing.producers import produce
from transforms.testing.pulsar_standalone import PulsarStandalone


@pytest.fixture(scope="session")
def client(broker: PulsarStandalone) -> Iterator[pulsar.Client]:
    """A client of the tests' own, for what they produce."""
    shared = connected(broker.service_url)
    yield shared
    shared.close()


@pytest.fixture(autouse=True)
def secrets_of_the_bucket(_clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def new_bucket(tmp_path: Path) -> Iterator[Callable[[], Bucket]]:
    """Gives empty buckets, each of a server of its own."""
    servers: list[CosServer] = []
    numbers = itertools.count(1)

    def make() -> Bucket:
        server = CosServer(tmp_path / f"cos-{next(numbers)}")
        server.start()
        servers.append(server)
        return Bucket(server)

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def bucket(new_bucket: Callable[[], Bucket]) -> Bucket:
    """An empty bucket."""
    return new_bucket()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder."""
    path = tmp_path / "folder"
    path.mkdir()
    return Folder(path)


@pytest.fixture
def backlog(broker: PulsarStandalone, topic: Callable[..., str]) -> tuple[str, dict[str, list[Position]]]:
    """A topic of 4 partitions with 20,000 messages, and the ids of what each partition holds."""
    name = topic(partitions=4)
    sent = produce(broker.service_url, name, 20_000, partitions=4)
    partitions = {index: f"{name}-partition-{index}" for index in range(4)}
    return name, {each: [one.position for one in sent if one.partition == at] for at, each in partitions.items()}
