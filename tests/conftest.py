"""Fixtures that every test may use. A server that cannot be started fails the test: nothing is skipped."""

from __future__ import annotations

import itertools
import os
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings

from transforms.cos import destination
from transforms.testing.cos_server import TEST_SECRET_ID, TEST_SECRET_KEY
from transforms.testing.flink_workers import Flink, flink_with_workers
from transforms.testing.pulsar_standalone import PulsarStandalone

# Before any of them is imported: their helpers' assertions tell what they compared.
pytest.register_assert_rewrite("tests.pipelines", "tests.torture")

# How long an example takes says more about who else uses the machine than about us.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of make torture."""
    group = parser.getgroup("torture")
    group.addoption("--torture", action="store_true", help="tests/torture in full, not the small counts of make test")
    group.addoption("--seed", type=int, default=1, help="of all that tests/torture does at random")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep in one test process what shares a server: the tests of a file, and all that use the Flink cluster.

    These come first, for they take longest: a process that had them last would leave the other without work.
    """
    on_flink = {item for item in items if "flink" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item not in on_flink)
    for item in items:
        item.add_marker(pytest.mark.xdist_group("flink" if item in on_flink else item.path.name))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse versions of pytest and pytest-xdist that do not fit: groups that are not made would go unnoticed."""
    if hasattr(session.config, "workerinput"):
        ungrouped = [item.nodeid for item in session.items if "@" not in item.nodeid]
        assert not ungrouped, f"pytest-xdist has put these tests into no group: {ungrouped[:3]}"


_run = uuid.uuid4().hex[:6]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def broker() -> Iterator[PulsarStandalone]:
    """The broker that all tests share, started by the first that asks. Do not stop it or change its own settings."""
    with PulsarStandalone() as server:
        server.admin.create_tenant("test")
        yield server


@pytest.fixture(scope="session")
def secured_broker() -> Iterator[PulsarStandalone]:
    """A second shared broker, with tokens, authorization and TLS."""
    with PulsarStandalone(authentication=True, tls=True) as server:
        server.admin.create_tenant("test")
        yield server


@pytest.fixture(scope="session")
def flink() -> Iterator[Flink]:
    """The cluster that all tests share, with four slots; its workers run the code under test. Leave no job behind."""
    secrets = {"COS_SECRET_ID": TEST_SECRET_ID, "COS_SECRET_KEY": TEST_SECRET_KEY}
    with flink_with_workers(environment=secrets) as started:
        yield started


@pytest.fixture
def topic(broker: PulsarStandalone) -> Callable[..., str]:
    """Gives names of new topics on ``broker``: ``topic()`` is created by its first use, ``topic(partitions=3)`` now.

    All topics of one test are in a namespace of its own, which keeps its messages for ever.
    """
    namespace = f"test/ns-{_run}-{next(_numbers)}"
    created = False

    def make(name: str = "topic", *, partitions: int | None = None) -> str:
        nonlocal created
        if not created:
            broker.admin.create_namespace(namespace)
            created = True
        full = f"persistent://{namespace}/{name}-{next(_numbers)}"
        if partitions is not None:
            broker.admin.create_partitioned_topic(full, partitions)
        return full

    return make


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person who runs the tests has set for real clusters and buckets must not reach a test."""
    for name in list(os.environ):
        if name.startswith(("COS_", "PULSAR_", "TDMQ_BACKUP_", "PG")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _forgotten_stores() -> Iterator[None]:
    """A process keeps the stores that it has opened, with their connections: those to a test's own server end here."""
    yield
    destination.forget_stores()


@dataclass(frozen=True)
class Torture:
    """How much a test of tests/torture does, and by which dice."""

    full: bool
    random: random.Random
    """Seeded by ``--seed`` and the test's name: the same in each run."""
    say: Callable[[str], None]
    """Prints a line of progress while the test runs; nothing in make test."""

    def count(self, few: int, many: int) -> int:
        """How often: ``few`` in make test, ``many`` in make torture."""
        return many if self.full else few


@pytest.fixture
def torture(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Torture:
    """The scale of this run."""
    full, seed = bool(request.config.getoption("--torture")), request.config.getoption("--seed")

    def say(text: str) -> None:
        if full:
            with capsys.disabled():
                print(f"\n  {request.node.name}: {text}", end="", flush=True)

    return Torture(full, random.Random(f"{seed} {request.node.name}"), say)
