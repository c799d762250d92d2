"""A Flink cluster whose worker processes run the code of this checkout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transforms.testing.flink import FlinkCluster

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Flink:
    """A cluster, and how a job is sent to it."""

    cluster: FlinkCluster
    options: list[str]
    """Of the job: they name the cluster, and how its task managers start workers."""


@contextmanager
def flink_with_workers(
    *, environment: Mapping[str, str], configuration: dict[str, str] | None = None
) -> Iterator[Flink]:
    """Start a cluster with four slots; when the body has ended, it is stopped, and what it kept is deleted.

    ``environment`` is what the workers have in theirs, beside our own; ``configuration`` are keys of Flink's
    config.yaml. Raises ServerError if the cluster does not start.
    """
    cluster = FlinkCluster(environment={**environment, "PYTHONPATH": str(_ROOT)}, configuration=configuration)
    worker = cluster.directory / "tdmq-backup-worker"
    worker.write_text(f"#!{sys.executable}\nfrom pipelines.worker import main\n\nmain()\n")
    worker.chmod(0o755)
    options = [
        "--runner=FlinkRunner",
        f"--job_endpoint={cluster.job_endpoint}",
        f"--flink_master={cluster.rest_url}",
        "--environment_type=PROCESS",
        f"--environment_config={json.dumps({'command': str(worker)})}",
    ]
    with cluster:
        yield Flink(cluster, options)
