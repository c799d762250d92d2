"""Jobs on a Flink cluster, by its REST interface: found, watched and stopped.

Beam's own ``cancel`` says that a job is cancelled and leaves it running on a cluster, so it is never used here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from transforms.errors import ConfigurationError, FlinkError

_SECONDS = 30
#: For a savepoint, which waits for what is being uploaded.
_SAVEPOINT_SECONDS = 600.0
_CANCEL_SECONDS = 60.0
_START_SECONDS = 120.0
_SLOT_SECONDS = 5.0
_PAUSE = 0.25
#: Before the names of our counters, whose namespace it is.
_OURS = "tdmq_backup_"

RUNNING = "RUNNING"
#: States in which a job takes up no slot any more.
ENDED = frozenset({"FINISHED", "CANCELED", "FAILED"})


@dataclass(frozen=True, slots=True)
class FlinkJob:
    """One job."""

    id: str
    name: str
    state: str
    """As Flink calls it: RUNNING, RESTARTING, FAILED, …"""
    started: int
    """Milliseconds since 1970."""

    @property
    def ended(self) -> bool:
        """Whether it runs no more and will not again."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed."""

    time: int
    """Milliseconds since 1970."""
    text: str
    """The exception with its causes, as Java prints them."""


class FlinkCluster:
    """A cluster at an address such as ``http://127.0.0.1:8081``. Raises FlinkError where it does not answer."""

    def __init__(self, url: str) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ConfigurationError(f"--flink_master={url}: write it as http://HOST:8081, the job manager's REST.")

    def jobs(self) -> list[FlinkJob]:
        """All jobs that it knows, the newest first."""
        found = self._ask("GET", "/jobs/overview")["jobs"]
        jobs = [FlinkJob(job["jid"], job["name"], job["state"], job["start-time"]) for job in found]
        return sorted(jobs, key=lambda job: -job.started)

    def find(self, name: str) -> FlinkJob | None:
        """The newest job of that name or id."""
        return next((job for job in self.jobs() if name in (job.name, job.id)), None)

    def free_slots(self, wanted: int) -> int:
        """Slots that are free; waits a moment for as many as are wanted, as a job that has just ended gives its up."""
        deadline = time.monotonic() + _SLOT_SECONDS
        while True:
            overview = self._ask("GET", "/overview")
            free = int(overview["slots-available"])
            if free >= min(wanted, int(overview["slots-total"])) or time.monotonic() > deadline:
                return free
            time.sleep(_PAUSE)

    def task_managers(self) -> int:
        """How many there are."""
        return int(self._ask("GET", "/overview")["taskmanagers"])

    def configuration(self) -> Mapping[str, str]:
        """The job manager's configuration."""
        return {entry["key"]: entry["value"] for entry in self._ask("GET", "/jobmanager/config")}

    def checkpoints(self, job: str) -> Mapping[str, Any]:
        """Statistics of a job's checkpoints, as Flink gives them."""
        return dict(self._ask("GET", f"/jobs/{job}/checkpoints"))

    def why_failed(self, job: str) -> str:
        """The job's last exception, with its causes; empty where there was none."""
        return str(self._ask("GET", f"/jobs/{job}/exceptions").get("root-exception") or "")

    def last_failure(self, job: str) -> Failure | None:
        """The last failure of a job, also of one that runs again; None where there was none."""
        found = self._ask("GET", f"/jobs/{job}/exceptions?maxExceptions=1")
        text, time_ms = found.get("root-exception"), found.get("timestamp")
        return Failure(int(time_ms), str(text)) if text and time_ms else None

    def restarts(self, job: str) -> int:
        """How often Flink has started it again; some seconds old."""
        found = self._ask("GET", f"/jobs/{job}/metrics?get=numRestarts")
        return max((int(each["value"]) for each in found), default=0)

    def waiting_tasks(self, job: str) -> tuple[int, int]:
        """How many of its tasks do not run yet, and how many it has."""
        tasks = self._ask("GET", f"/jobs/{job}")["vertices"]
        return sum(task["status"] not in (RUNNING, "FINISHED") for task in tasks), len(tasks)

    def counters(self, job: str, beginning: str) -> dict[str, int]:
        """Our counters in a job whose names begin so, summed over its tasks since it last started; some seconds old.

        Dots, colons and blanks in the names have become underscores.
        """
        sums: dict[str, int] = {}
        for vertex in self._ask("GET", f"/jobs/{job}")["vertices"]:
            path = f"/jobs/{job}/vertices/{vertex['id']}/metrics"
            wanted = [each["id"] for each in self._ask("GET", path) if f".{_OURS}{beginning}" in each["id"]]
            for found in self._ask("GET", f"{path}?get={quote(','.join(wanted))}") if wanted else ():
                name = found["id"].rpartition(f".{_OURS}")[2]
                sums[name] = sums.get(name, 0) + int(found["value"])
        return sums

    def cancel(self, job: str) -> None:
        """End a job where it stands; returns when it has ended."""
        self._ask("PATCH", f"/jobs/{job}?mode=cancel")
        self._wait(lambda: self._ended(job), _CANCEL_SECONDS, "was cancelled, and has not ended")

    def stop(self, job: str, folder: str | None = None) -> str:
        """End a job with a savepoint, in ``folder`` or where the cluster keeps them; gives its address."""
        # Right behind its start a job has no state to be saved yet, and Flink refuses.
        self._wait(lambda: self._all_tasks_run(job), _START_SECONDS, "has not started all of its tasks")
        body = {"cancel-job": True, **({"target-directory": folder} if folder else {})}
        request = self._ask("POST", f"/jobs/{job}/savepoints", body)["request-id"]
        answer: dict[str, Any] = {}

        def done() -> bool:
            answer.update(self._ask("GET", f"/jobs/{job}/savepoints/{request}"))
            return bool(answer["status"]["id"] == "COMPLETED")

        self._wait(done, _SAVEPOINT_SECONDS, "has not made its savepoint")
        operation = answer["operation"]
        if "location" not in operation:
            said = str(operation.get("failure-cause", {}).get("class", "no reason given"))
            raise FlinkError(f"Flink job {job}: no savepoint was made, and the job goes on ({said}). Look at its log.")
        self._wait(lambda: self._ended(job), _CANCEL_SECONDS, "made its savepoint, and has not ended")
        return str(operation["location"])

    def _all_tasks_run(self, job: str) -> bool:
        found = self._ask("GET", f"/jobs/{job}")
        return found["state"] in ENDED or all(task["status"] == "RUNNING" for task in found["vertices"])

    def _ended(self, job: str) -> bool:
        found = self.find(job)
        return found is None or found.ended

    def _wait(self, done: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise FlinkError(f"{self.url}: the job {otherwise} within {seconds:.0f} s. Look at its log.")
            time.sleep(_PAUSE)

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        try:
            answer = requests.request(method, self.url + path, json=body, timeout=_SECONDS)
        except requests.RequestException as error:
            raise FlinkError(
                f"{self.url}: the Flink cluster does not answer ({type(error).__name__}). Check --flink_master, which "
                "is the address of the job manager's REST interface, and that it runs."
            ) from None
        if not answer.ok:
            raise FlinkError(f"{self.url}{path}: Flink answers {answer.status_code} ({_said(answer)}).")
        return answer.json() if answer.content else {}


def _said(answer: requests.Response) -> str:
    try:
        errors = answer.json().get("errors", [])
    except ValueError:
        return "no reason given"
    lines = [line.strip() for error in errors for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no reason given"
