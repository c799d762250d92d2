from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import yaml
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2

from deploy.check import FOLDER
from transforms.testing.server_process import ServerProcess, free_ports

PLACE = "/usr/local/bin/tdmq-backup-pool-worker"
#: In the place of the real one: prints more than a pipe holds, then notes what it was told, and stays with its parent.
WORKER = """#!{python}
import os, sys, time
parent = os.getppid()
os.write(1, b"x" * 1_000_000)
with open({notes!r} + ".new", "w") as file:
    file.write("\\n".join([str(os.getpid()), *sys.argv[1:]]))
os.rename({notes!r} + ".new", {notes!r})
while os.getppid() == parent:
    time.sleep(0.1)
"""


def _pool() -> list[str]:
    """The command of the manifests' sidecar, without the program that only passes on signals."""
    documents = yaml.safe_load_all((FOLDER / "flink-session-cluster.yaml").read_text())
    pods = [each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Deployment"]
    (sidecar,) = [each for pod in pods for each in pod["containers"] if each["name"] == "sdk-workers"]
    assert sidecar["command"][:3] == ["dumb-init", "--", "python"]
    return [*sidecar["command"][3:], *sidecar["args"]]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where the worker notes what it was told."""
    return tmp_path / "notes"


@pytest.fixture
def pool(tmp_path: Path, notes: Path) -> Iterator[str]:
    """Address of a worker pool as in the manifests."""
    assert f"COPY deploy/pool-worker {PLACE}\n" in (FOLDER / "Dockerfile").read_text()
    worker = tmp_path / "bin" / "tdmq-backup-worker"
    worker.parent.mkdir()
    worker.write_text(WORKER.format(python=sys.executable, notes=str(notes)))
    worker.chmod(0o755)
    (port,) = free_ports(1)
    arguments = [word.replace(PLACE, str(FOLDER / "pool-worker")).replace("=50000", f"={port}") for word in _pool()]
    process = ServerProcess(
        "worker pool",
        [sys.executable, *arguments],
        directory=tmp_path,
        log=tmp_path / "pool.log",
        environment={**os.environ, "PATH": f"{worker.parent}:{os.environ['PATH']}"},
    )
    process.start()
    try:
        process.wait_until(lambda: "Started worker pool" in process.log.read_text(), timeout=60)
        yield f"127.0.0.1:{port}"
    finally:
        process.stop()


def test_the_pool_starts_a_worker_that_may_print_and_stops_it(pool: str, notes: Path):
    def endpoint(port: int) -> endpoints_pb2.ApiServiceDescriptor:
        return endpoints_pb2.ApiServiceDescriptor(url=f"localhost:{port}")

    with grpc.insecure_channel(pool) as channel:
        service = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        start = beam_fn_api_pb2.StartWorkerRequest(
            worker_id="1-1",
            control_endpoint=endpoint(1),
            logging_endpoint=endpoint(2),
            artifact_endpoint=endpoint(3),
            provision_endpoint=endpoint(4),
        )
        assert service.StartWorker(start, timeout=30).error == ""
        _wait(notes.exists)
        pid, *told = notes.read_text().splitlines()
        assert {"--id=1-1", "--provision_endpoint=localhost:4"} <= set(told)
        assert _runs(int(pid))
        stop = beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1")
        assert service.StopWorker(stop, timeout=30).error == ""
    _wait(lambda: not _runs(int(pid)))


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
