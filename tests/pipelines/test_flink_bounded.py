from __future__ import annotations

import pytest

from tests.pipelines.on_flink import flink_cluster


@pytest.fixture(scope="module")
def flink(tmp_path_factory):
    with flink_cluster(tmp_path_factory.mktemp("flink")) as (cluster, options):
        yield cluster, options


def test_a_run_on_flink_ends_by_itself_with_the_same_result(broker, topic, bucket, flink):
    pass
