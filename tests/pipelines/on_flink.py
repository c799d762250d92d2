"""What tests on Flink share: a cluster whose workers run the code under test, and jobs on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.pipelines.backups import SECRETS
from transforms.testing.flink import FlinkCluster

ROOT = Path(__file__).parents[2]


@contextmanager
def flink_cluster(folder: Path, **settings: object) -> Iterator[tuple[FlinkCluster, list[str]]]:
    """A cluster, and the options of the job that name it; the workers' secrets are in its environment."""
    worker = folder / "tdmq-backup-worker"
    worker.write_text(f"#!{sys.executable}\nfrom pipelines.worker import main\n\nmain()\n")
    worker.chmod(0o755)
    environment = {**SECRETS, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with FlinkCluster(environment=environment, **settings) as cluster:
        yield (
            cluster,
            [
                "--runner=FlinkRunner",
                f"--job_endpoint={cluster.job_endpoint}",
                f"--flink_master={cluster.rest_url}",
                "--environment_type=PROCESS",
                f'--environment_config={{"command": "{worker}"}}',
            ],
        )
