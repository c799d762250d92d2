from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.conftest import bucket, client, new_bucket, secrets_of_the_bucket

__all__ = ["bucket", "client", "new_bucket", "secrets_of_the_bucket"]

PARTITIONS = 3
#: What takes minutes and cannot be done by halves.
TORTURE_ALONE = (
    "test_stream_waits.py",
    "test_stream_resumed.py",
    "test_stream_trouble.py",
    "test_stream_broker_faults.py",
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out of make test what is for make torture alone."""
    return True if collection_path.name in TORTURE_ALONE and not config.getoption("--torture") else None


@pytest.fixture
def ordeal(broker, client, topic, bucket, torture, tmp_path):
    """A topic with a backlog, and a bucket that takes its time."""
    from tests.pipelines.streams import GRANULARITY
    from tests.torture.ordeal import Backlog, Ordeal

    backlog = Backlog(client, topic(partitions=PARTITIONS), PARTITIONS, torture.random)
    backlog.grow()
    bucket.server.latency = 0.02
    return Ordeal(broker, bucket, backlog, tmp_path, granularity=GRANULARITY)


@pytest.fixture
def stream(flink, ordeal, tmp_path):
    """A stream over it, not started."""
    from tests.pipelines.backups import arguments
    from tests.pipelines.streams import Stream
    from tests.torture.ordeal import OPTIONS

    made = Stream(flink, arguments(ordeal.broker, ordeal.backlog.topic, ordeal.bucket, OPTIONS), tmp_path)
    yield made
    made.close()


@pytest.fixture
def new_stream(flink, tmp_path):
    """Makes streams, and leaves none behind."""
    from tests.pipelines.streams import Stream

    made = []

    def make(argv):
        made.append(Stream(flink, argv, tmp_path))
        return made[-1]

    yield make
    for stream in made:
        stream.close()
