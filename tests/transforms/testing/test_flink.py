from __future__ import annotations

from transforms.testing.flink import FlinkCluster


def test_a_cluster_has_its_slots_and_no_job():
    with FlinkCluster(slots=3) as cluster:
        overview = cluster.request("GET", "/overview")
        assert (overview["slots-total"], overview["slots-available"]) == (3, 3)
        assert cluster.jobs() == {}
        folder = cluster.directory
        pids = [each.pid for each in (cluster.job_manager, cluster.job_server, *cluster.task_managers)]
        assert None not in pids
    assert not folder.exists()
