"""What the launcher of a stream says of its job on Flink: restarts and their reasons, gaps, and that nothing moves."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence

import transforms.errors
from pipelines.flink import FlinkCluster, FlinkJob
from transforms.errors import BackupError, FlinkError
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.read_metrics import gaps_named

_WATCH_SECONDS = 2.0
#: Flink itself gathers the counters of workers once in ten seconds.
_COUNT_SECONDS = 10.0
#: For so long nothing may move until that is said, and then again.
UNWELL_SECONDS = 180.0

#: What Flink says where something else than our code has failed, and what that means.
_REASONS = (
    (
        r"NoResourceAvailableException",
        "too few slots are free, or their task manager is gone. Add a task manager, or stop another job.",
    ),
    (
        r"RemoteTransportException|TaskManager with id .* is no longer reachable|TaskExecutor is shutting down"
        r"|TaskManagerGatewayNotAvailable|heartbeat of TaskManager",
        "a task manager was lost. Look at its log; where the system has killed it, give it more memory.",
    ),
    (
        r"StatusRuntimeException: (CANCELLED|UNAVAILABLE)|Process died with exit code|SDK harness .*disconnected",
        "a worker process has ended. Look at the task manager's log; where the system has killed it, give it more "
        "memory, or the job a smaller --memory_budget.",
    ),
)

_LOST = (
    "It goes on behind them. Let the broker keep messages for longer (retention, time to live), and the subscription "
    "alone, or give the job more workers."
)
_PERHAPS = "If the job had read that ledger to its end, nothing is missing: of a ledger that is gone nobody can tell."

#: Asks the broker for the position behind the last message of each partition.
AskEnds = Callable[[], Mapping[TopicPartition, Position | None]]

_log = logging.getLogger("pipelines.backup")


def explained(text: str) -> BackupError:
    """What was raised on a worker, or went wrong in Flink: the runner passes on its text only."""
    found = re.findall(r"transforms\.errors\.(\w+): (.+?)(?: \[while running|$)", text, re.MULTILINE)
    if found:
        kind, sentence = found[-1]
        made = getattr(transforms.errors, kind, BackupError)
        return made(sentence) if issubclass(made, BackupError) else BackupError(sentence)
    for pattern, meaning in _REASONS:
        if re.search(pattern, text):
            return FlinkError(f"the Flink job failed: {meaning}")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    reason = (causes or lines or ["no reason given"])[-1].rstrip(".")
    return FlinkError(f"the Flink job failed: {reason}. Look at its log.")


def watch(
    cluster: FlinkCluster,
    job_id: str,
    partitions: Sequence[TopicPartition],
    ends: AskEnds,
    also: Callable[[], object] = lambda: None,
) -> None:
    """Follow a job until it has ended, and say what an operator should know. Raises what it failed with for good.

    ``also`` is called every few seconds; what it raises is passed on.
    """
    state = ""
    parts = (Restarts(cluster), Gaps(cluster, partitions), Health(cluster, ends))
    while True:
        also()
        try:
            found = cluster.find(job_id)
        except FlinkError as error:
            _log.warning("%s The job itself goes on.", error)
            time.sleep(_WATCH_SECONDS)
            continue
        if found is None:
            raise FlinkError(f"{cluster.url}: Flink no longer knows the job {job_id}. Look at the job manager's log.")
        if found.state != state:
            state = found.state
            _log.info("Flink job %s: %s", job_id, state)
        if state == "FAILED":
            raise explained(cluster.why_failed(job_id))
        if found.ended:
            return
        for part in parts:
            try:
                part.look(found)
            except FlinkError as error:
                _log.warning("%s The job itself goes on.", error)
        time.sleep(_WATCH_SECONDS)


class Restarts:
    """Says why a job has failed that Flink starts again, once for each failure."""

    def __init__(self, cluster: FlinkCluster) -> None:
        self._cluster = cluster
        self._last = 0
        self._count = 0

    def look(self, job: FlinkJob) -> None:
        """Warn if it has failed since the last look."""
        failure = self._cluster.last_failure(job.id)
        if failure is None or failure.time <= self._last:
            return
        self._last = failure.time
        # Flink's own count is some seconds old, and knows of failures between two looks.
        self._count = max(self._count + 1, self._cluster.restarts(job.id))
        _log.warning(
            "Flink job %s failed, and Flink starts it again from its last checkpoint (restart %d): %s",
            job.id,
            self._count,
            explained(failure.text),
            extra={"fields": {"job": job.id, "restarts": self._count}},
        )


class Gaps:
    """Says what the broker has deleted before the job could read it: each gap once."""

    def __init__(self, cluster: FlinkCluster, partitions: Sequence[TopicPartition]) -> None:
        self._cluster = cluster
        self._partitions = partitions
        self._next = 0.0
        self._said: set[str] = set()
        self._counted = 0

    def look(self, job: FlinkJob) -> None:
        """Warn of gaps that were counted since the last look."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _COUNT_SECONDS
        counters = self._cluster.counters(job.id, "gap")
        named = gaps_named(counters, self._partitions)
        for name, gap in named.items():
            if name not in self._said:
                self._said.add(name)
                _log.warning(
                    "Flink job %s: %s. %s",
                    job.id,
                    gap,
                    _LOST if gap.certain else _PERHAPS,
                    extra={"fields": {"job": job.id, **gap.fields}},
                )
        count = counters.get("gaps", 0)
        if self._counted < count and sum(counters[name] for name in named) < count:
            _log.warning(
                "Flink job %s: the broker had deleted messages before they were read, %d times so far. The log of the "
                "task managers names each gap.",
                job.id,
                count,
            )
        self._counted = count


class Health:
    """Says when nothing moves, and what is known of the reason; every ``patience`` seconds as long as it lasts."""

    def __init__(self, cluster: FlinkCluster, ends: AskEnds, *, patience: float = UNWELL_SECONDS) -> None:
        self._cluster = cluster
        self._ends = ends
        self._patience = patience
        self._next = time.monotonic() + patience
        self._read: Mapping[str, int] | None = None
        self._from: Mapping[TopicPartition, Position | None] = {}
        self._waiting: list[str] = []
        """Partitions to which messages came since anything was read, as the last look saw."""
        self._since = time.monotonic()

    def look(self, job: FlinkJob) -> None:
        """Warn if nothing moves."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._patience
        for question in (self._without_slots, self._without_checkpoint, self._without_messages):
            said = question(job)
            if said is not None:
                _log.warning("Flink job %s: %s", job.id, said, extra={"fields": {"job": job.id}})
                return

    def _without_slots(self, job: FlinkJob) -> str | None:
        waiting, tasks = self._cluster.waiting_tasks(job.id)
        if not waiting or self._seconds_of(job) < self._patience:
            return None
        return (
            f"{waiting} of its {tasks} tasks do not run yet, so it neither reads nor stores. Where the cluster has too "
            "few free slots, add a task manager or stop another job; else look at the task managers' log."
        )

    def _without_checkpoint(self, job: FlinkJob) -> str | None:
        latest = self._cluster.checkpoints(job.id)["latest"]["completed"]
        silent = time.time() - (job.started if latest is None else latest["latest_ack_timestamp"]) / 1000
        if silent <= self._patience:
            return None
        return (
            f"no checkpoint has completed for {silent:.0f} s, so nothing was acknowledged. As a rule the bucket is "
            "slow or does not answer: look at the task managers' log, and at the job's checkpoints."
        )

    def _without_messages(self, job: FlinkJob) -> str | None:
        """Whether messages came, and none was read; or the broker does not answer, here as little as there."""
        before, self._read = self._read, self._cluster.counters(job.id, "messages_read")
        silent = time.monotonic() - self._since
        try:
            ends = self._ends()
        except BackupError as error:
            if self._read != before:
                return None
            return f"nothing was read for {silent:.0f} s, and the broker cannot be asked from here either: {error}"
        if self._read != before:
            self._since, self._from, self._waiting = time.monotonic(), ends, []
            return None
        # What came since the last look may be on its way; what had come by then is not.
        waiting, self._waiting = self._waiting, [each.name for each in ends if ends[each] != self._from.get(each)]
        if not waiting:
            return None
        return (
            f"nothing was read for {silent:.0f} s, though messages came to {waiting[0]}"
            f"{f' and {len(waiting) - 1} more' if len(waiting) > 1 else ''}. The broker answers here, so as a rule the "
            "workers do not reach it, or wait for the bucket: look at the task managers' log."
        )

    def _seconds_of(self, job: FlinkJob) -> float:
        return time.time() - job.started / 1000
