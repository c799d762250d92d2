from __future__ import annotations

import os
import pickle

import pytest

from pipelines.local_workers.shares import cores, spread, workers
from tests.pipelines.producing import send
from transforms.errors import AccessError, ConfigurationError, SeveralErrors, TopicNotFoundError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.restriction import PartitionRange


def test_each_worker_gets_about_as_many_entries_where_they_are_known():
    def part(index: int, start: Position, stop: Position) -> PartitionRange:
        return PartitionRange(TopicPartition("persistent://a/b/c", index), start, stop)

    def indexes(ranges: list[PartitionRange], workers: int) -> list[list[int]]:
        return [[each.partition.index for each in share] for share in spread(ranges, workers)]

    sizes = (10, 80, 30, 20)
    known = [part(index, Position(5, 0), Position(5, size)) for index, size in enumerate(sizes)]
    assert indexes(known, 2) == [[1], [0, 2, 3]]
    assert indexes(known, 9) == [[1], [2], [3], [0]]
    unknown = [*known, part(4, Position(5, 0), Position(6, 1))]
    assert indexes(unknown, 2) == [[0, 2, 4], [1, 3]]


def test_with_admin_rest_each_worker_gets_about_as_many_bytes(broker, client, topic):
    name = topic(partitions=3)
    ranges = []
    for index, (count, size) in enumerate([(5, 10), (5, 10_000), (300, 10)]):
        partition = TopicPartition(name, index)
        sent = send(client, partition.name, [b"." * size] * count)
        ranges.append(PartitionRange(partition, sent[0], sent[-1].next_entry()))
    admin = PulsarAdmin(PulsarConnection(broker.service_url, admin_url=broker.admin_url))
    for known, shares in ((admin, [[1], [0, 2]]), (None, [[2], [0, 1]])):
        found = spread(ranges, 2, known)
        assert [[each.partition.index for each in share] for share in found] == shares


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "what\n"}, None),
    ],
)
def test_the_cores_are_those_of_the_affinity_and_of_the_quota(tmp_path, files, most):
    for name, text in files.items():
        tmp_path.joinpath(name).parent.mkdir(exist_ok=True)
        tmp_path.joinpath(name).write_text(text)
    allowed = len(os.sched_getaffinity(0))
    assert cores(tmp_path) == min(allowed, most or allowed)
    assert workers(None, 100, tmp_path) == cores(tmp_path)


def test_there_are_never_more_workers_than_partitions_nor_less_than_one():
    assert [workers(4, partitions) for partitions in (1, 3, 9)] == [1, 3, 4]


@pytest.mark.parametrize(
    "error",
    [
        SeveralErrors([AccessError("no"), ConfigurationError("a", "b")]),
        ConfigurationError("a", "b"),
        TopicNotFoundError("gone"),
    ],
)
def test_errors_are_the_same_behind_a_pipe(error):
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), other.exit_code) == (type(error), str(error), error.exit_code)
    assert getattr(other, "problems", None) == getattr(error, "problems", None)
