"""A Flink session cluster as separate processes, and Beam's job server before it.

Job manager, task managers and job server are JVMs of their own, on free ports of 127.0.0.1; each can be killed. They
keep checkpoints and savepoints in the cluster's folder, on this machine's disk.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transforms.testing.fetch import flink_jars, java
from transforms.testing.server_process import Server, ServerProcess, free_ports

_OPENED = (
    "java.io",
    "java.lang",
    "java.lang.reflect",
    "java.net",
    "java.nio",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
)
#: Flink works them out in its start script; whoever starts it without has to name them all.
_MEMORY = {
    "taskmanager.cpu.cores": "2",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.max": "192m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.task.heap.size": "512m",
    "taskmanager.memory.task.off-heap.size": "0m",
}
_LOGGING = "handlers=java.util.logging.ConsoleHandler\n.level=INFO\njava.util.logging.ConsoleHandler.level=INFO\n"


class FlinkCluster(Server):
    """One job manager, task managers and a job server; a context manager.

    ``slots`` of each of ``task_managers``. ``configuration``: keys of Flink's config.yaml, over our own.
    ``environment``: what task managers, and the workers that they start, have in theirs.
    """

    def __init__(
        self,
        *,
        task_managers: int = 1,
        slots: int = 4,
        configuration: dict[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="flink-"))
        rpc, rest, job, artifact, expansion = free_ports(5)
        self.rest_url = f"http://127.0.0.1:{rest}"
        self.job_endpoint = f"127.0.0.1:{job}"
        self.checkpoints = self.directory / "checkpoints"
        self.savepoints = self.directory / "savepoints"
        self._settings = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": str(rpc),
            "jobmanager.bind-host": "127.0.0.1",
            "jobmanager.memory.heap.size": "384m",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": str(rest),
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.host": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": str(slots),
            "blob.server.port": "0",
            "state.checkpoints.dir": self.checkpoints.as_uri(),
            "state.savepoints.dir": self.savepoints.as_uri(),
            "io.tmp.dirs": str(self.directory / "tmp"),
            "heartbeat.interval": "2000",
            "heartbeat.timeout": "10000",
            **(configuration or {}),
        }
        self._slots = task_managers * slots
        self.job_manager = self._jvm(
            "job-manager", 384, "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        )
        self.task_managers = [
            self._jvm(
                f"task-manager-{number}",
                640,
                "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
                *(f"-D{key}={value}" for key, value in _MEMORY.items()),
                environment=environment,
            )
            for number in range(task_managers)
        ]
        self.job_server = self._jvm(
            "job-server",
            384,
            "org.apache.beam.runners.flink.FlinkJobServerDriver",
            f"--flink-master=127.0.0.1:{rest}",
            "--job-host=127.0.0.1",
            f"--job-port={job}",
            f"--artifact-port={artifact}",
            f"--expansion-port={expansion}",
            f"--artifacts-dir={self.directory / 'artifacts'}",
            configured=False,
        )
        self._job_port = job

    def start(self, *, timeout: float = 180) -> None:
        """Start all; returns when the slots are there and jobs are taken. Raises ServerError if they are not."""
        for folder in ("tmp", "artifacts", "checkpoints", "savepoints"):
            (self.directory / folder).mkdir(exist_ok=True)
        lines = (f"{key}: {json.dumps(value)}\n" for key, value in self._settings.items())
        (self.directory / "config.yaml").write_text("".join(lines))
        (self.directory / "logging.properties").write_text(_LOGGING)
        for process in (self.job_manager, *self.task_managers):
            process.start()
        self.job_manager.wait_until(lambda: self._free_slots() >= self._slots, timeout=timeout)
        self.job_server.start()
        self.job_server.wait_until(self._takes_jobs, timeout=timeout)

    def close(self) -> None:
        """Stop all and delete what they kept."""
        for process in (self.job_server, *self.task_managers, self.job_manager):
            process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def request(self, method: str, path: str, body: object = None) -> Any:
        """One request to Flink's REST interface; returns the JSON answer. Raises OSError where it refuses."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.rest_url}{path}", data, headers, method=method)  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http
            content = answer.read()
        return json.loads(content) if content else None

    def jobs(self) -> dict[str, str]:
        """States of the jobs by id, such as RUNNING."""
        return {job["id"]: job["status"] for job in self.request("GET", "/jobs")["jobs"]}

    def _free_slots(self) -> int:
        try:
            return int(self.request("GET", "/overview")["slots-available"])
        except (OSError, KeyError):
            return -1

    def _takes_jobs(self) -> bool:
        return f"JobService started on 127.0.0.1:{self._job_port}" in self.job_server.log.read_text(errors="replace")

    def _jvm(
        self,
        name: str,
        heap: int,
        main: str,
        *arguments: str,
        configured: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> ServerProcess:
        command = [java(), f"-Xmx{heap}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
        command += [f"-Djava.util.logging.config.file={self.directory / 'logging.properties'}"]
        command += [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
        command += ["-cp", f"{flink_jars()}/*", main]
        if configured:
            command += ["--configDir", str(self.directory)]
        log = self.directory / f"{name}.log"
        return ServerProcess(name, [*command, *arguments], directory=self.directory, log=log, environment=environment)
