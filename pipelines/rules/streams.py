"""A rule without an end: its one job on Flink is submitted, watched, found again, and gone on with.

Who watches may die: the job goes on, and the next one finds it by the name that the record of a run holds from before
it was submitted. A job that is gone is followed by one that begins at its savepoint or its last checkpoint, where Flink
has one; else, and where an edit has changed what that state is about, at the subscription. All of these are exact.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pipelines import backup, cluster, signals
from pipelines.flink import FlinkCluster, FlinkJob
from pipelines.options import BackupConfig
from pipelines.rules.errors import NoSuchRuleError
from pipelines.rules.model import Rule
from pipelines.rules.records import PartitionRecord, RunRecord, RunState, Trigger
from pipelines.rules.store import RuleStore
from pipelines.runner_options import given_options
from pipelines.watching import watch
from transforms.errors import ConfigurationError, FlinkError
from transforms.pulsar.client import disconnect
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.points import parse_start
from transforms.pulsar.request import Resolution

PREFIX = "tdmq-backup-"
#: How often the store is asked whether the rule is still what it was.
_LOOK_SECONDS = 5.0
_COUNT_SECONDS = 15.0
#: For so long a job that was being submitted may still come, though its launcher is gone.
_COMING_SECONDS = 120.0
_PAUSE = 1.0

#: Fields that say nothing of what a job's state is about: which messages, in which windows and files.
KEEP_STATE = frozenset(
    {
        *("description", "enabled", "retries", "keep_log", "on_trimmed", "retry_deadline", "memory_budget"),
        *("address", "admin_url", "role", "role_key", "listener_name", "tls_trust_certs", "tls_cert", "tls_key"),
        *("cos_endpoint", "cos_credentials", "storage_class", "server_side_encryption", "acl", "tags", "metadata"),
        *("start_point", "end_point", "runner_options", "local_workers"),
    }
)

#: The same of the runner's options: another cluster, and how state is shared among subtasks.
_STATE_OPTIONS = ("flink_master", "max_parallelism", "state_backend")

_log = logging.getLogger("pipelines.rules")


class _Unwanted(Exception):
    """The job is to end; the text says what became of the rule."""


def keep(store: RuleStore, record: RunRecord, rule: Rule, config: BackupConfig) -> dict[str, Any]:
    """Keep the rule's job running until the rule is edited or disabled; gives what the record of the run is to hold.

    Raises BackupError where the job has failed for good, or was ended by somebody else.
    """
    try:
        before = _last_with_job(store, record)
        found = _still_there(store, rule, before)
        if found is None or before is None:
            on = FlinkCluster(_master(rule.runner_options))
            begins, begun = _beginning(store, record, rule, config, before)
            job, partitions = _submit(store, record, begun, on)
            # From here on the subscription alone knows what is stored.
            store.leave_positions(record.id)
            revision = record.revision
            _log.info("Flink job %s (%s) runs, from %s", job.id, job.name, begins)
        else:
            on, job = found
            submitted = store.run(job.name.removeprefix(PREFIX))
            store.renew(record.id, flink_job=job.name, partitions=submitted.partitions)
            partitions = list(map(TopicPartition.parse, submitted.partitions))
            revision = submitted.revision
            _log.info("Flink job %s (%s) runs already, and is watched from here", job.id, job.name)
        signals.stands(partial(_left_alone, job))
        counts = _Counts(on, job)
        try:
            look = partial(_look, store, record, revision, counts)
            watch(on, job.id, partitions, partial(cluster.ends_of, config.connection, partitions), _every(look))
        except _Unwanted as reason:
            _log.info("rule %s %s: Flink job %s is stopped with a savepoint", record.rule_name, reason, job.id)
            savepoint = on.stop(job.id)
            _log.info("Flink job %s has ended with the savepoint %s", job.id, savepoint)
            return {**counts.last, "savepoint": savepoint}
    finally:
        disconnect(config.connection)
    raise FlinkError(
        f"the Flink job {job.name} was ended in Flink, by somebody else. It is started again; to end it for good, "
        "disable the rule."
    )


def refuse_beside(store: RuleStore, record: RunRecord, rule: Rule) -> None:
    """Raise FlinkError where the rule's job without an end runs: beside it, messages would be stored twice."""
    found = _still_there(store, rule, _last_with_job(store, record))
    if found is not None:
        on, job = found
        raise FlinkError(
            f"The rule's job {job.name}, from when its schedule was continuous, still runs on Flink. Stop it first: "
            f"tdmq-backup stream stop {job.name} --flink-master={on.url}"
            if not rule.continuous
            else f"The rule's job {job.name} runs on Flink. Disable the rule while tdmq-backup serve runs, or stop the "
            f"job: tdmq-backup stream stop {job.name} --flink-master={on.url}"
        )


def has_streamed(store: RuleStore, record: RunRecord) -> bool:
    """Whether the rule had no end before: then its subscription says what is stored, and not its start point."""
    return _last_with_job(store, record) is not None


def from_subscription(config: BackupConfig) -> BackupConfig:
    """The same job, beginning with the first message that the subscription has not acknowledged."""
    return replace(config, request=replace(config.request, start=parse_start("subscription"), resume=None))


def _last_with_job(store: RuleStore, record: RunRecord) -> RunRecord | None:
    runs = store.log(record.rule_name)
    return next((run for run in runs if run.rule_id == record.rule_id and run.flink_job and run.id != record.id), None)


def _still_there(store: RuleStore, rule: Rule, before: RunRecord | None) -> tuple[FlinkCluster, FlinkJob] | None:
    """The job of the last attempt, if it runs, or is about to; and the cluster where it does."""
    if before is None or before.flink_job is None:
        return None
    on = FlinkCluster(_master((_as_it_was(store, before) or rule).runner_options))
    found = on.find(before.flink_job)
    own = before.flink_job.removeprefix(PREFIX) == before.id
    if found is None and own and before.state in (RunState.LOST, RunState.INTERRUPTED):
        _log.info("Flink does not know the job %s; if it is on its way, it is waited for", before.flink_job)
        deadline = time.monotonic() + _COMING_SECONDS
        while found is None and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            found = on.find(before.flink_job)
    return None if found is None or found.ended else (on, found)


def _as_it_was(store: RuleStore, run: RunRecord) -> Rule | None:
    """The rule as a run had it."""
    found = store.revisions(run.rule_name)
    return next((each.rule for each in found if each.revision == run.revision), None)


def _master(options: Sequence[str]) -> str:
    return given_options(options).get("flink_master", "")


def _beginning(
    store: RuleStore,
    record: RunRecord,
    rule: Rule,
    config: BackupConfig,
    before: RunRecord | None,
) -> tuple[str, BackupConfig]:
    """Where a new job begins, in words, and the job that begins there."""
    by_turns = bool(store.positions(record.rule_id))
    if before is None and not by_turns:
        return rule.start_point, config
    config = from_subscription(config)
    if before is None or by_turns:
        # Runs with an end, of another schedule, have come further than any job before them.
        return "the subscription", config
    changed = _changed(_as_it_was(store, before), rule)
    if changed:
        return f"the subscription, because {', '.join(changed)} changed", config
    place = before.savepoint or _last_state(FlinkCluster(_master(rule.runner_options)), before.flink_job or "")
    if place is None:
        return "the subscription", config
    return place, replace(config, beam_args=(*config.beam_args, f"--savepoint_path={place}"))


def _changed(old: Rule | None, rule: Rule) -> list[str]:
    """What differs from an earlier revision, and the state of a job depends on."""
    if old is None:
        return ["the rule"]
    names = [name for name in Rule.model_fields if getattr(old, name) != getattr(rule, name)]
    before, now = given_options(old.runner_options), given_options(rule.runner_options)
    return [
        *(name for name in names if name not in KEEP_STATE),
        *(f"--{name}" for name in _STATE_OPTIONS if before.get(name) != now.get(name)),
    ]


def _last_state(on: FlinkCluster, name: str) -> str | None:
    """The newest savepoint or checkpoint of a job that has ended, if Flink still knows the job."""
    job = on.find(name)
    if job is None:
        return None
    latest = on.checkpoints(job.id)["latest"]
    known = [latest[kind] for kind in ("completed", "savepoint") if latest.get(kind)]
    known = [each for each in known if each.get("external_path") and not each.get("discarded")]
    newest = max(known, key=lambda each: int(each["latest_ack_timestamp"]), default=None)
    return None if newest is None else str(newest["external_path"])


def _submit(
    store: RuleStore, record: RunRecord, config: BackupConfig, on: FlinkCluster
) -> tuple[FlinkJob, list[TopicPartition]]:
    cluster.check_cluster(config)
    config, resolution = backup.begin(config)
    name = f"{PREFIX}{record.id}"
    # Before Flink has it: whoever comes next looks for it.
    store.renew(record.id, flink_job=name, partitions=_ranges(resolution), warnings=resolution.warnings)
    signals.stands(lambda: f"while Flink took the job {name}; if it comes, the next service watches it.")
    found = cluster.submit(config, name, resolution, on)
    return found, [each.partition for each in resolution.ranges]


def _ranges(resolution: Resolution) -> dict[str, PartitionRecord]:
    return {each.partition.name: PartitionRecord(str(each.start), str(each.stop)) for each in resolution.ranges}


def _look(store: RuleStore, record: RunRecord, revision: int, counts: _Counts) -> None:
    """Note how far the job is; raise where the rule is no longer what it was when the job was submitted."""
    try:
        now = store.get(record.rule_name)
        if counts.count():
            store.renew(record.id, **counts.last)
    except NoSuchRuleError:
        raise _Unwanted("was deleted") from None
    except ConfigurationError as error:  # the store is away, or a newer version wrote the rule
        _log.warning("%s The job itself goes on.", error)
        return
    if not now.rule.continuous:
        raise _Unwanted("has another schedule")
    if not now.rule.enabled and record.trigger is not Trigger.MANUAL:
        raise _Unwanted("was disabled")
    if now.revision != revision:
        raise _Unwanted("was edited")


class _Counts:
    """What a job has stored since Flink last started it, by Flink's counters."""

    def __init__(self, on: FlinkCluster, job: FlinkJob) -> None:
        self._on = on
        self._job = job
        self._next = 0.0
        self.last: dict[str, int] = {}

    def count(self) -> bool:
        """Ask Flink, if it is time; gives whether it has told."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + _COUNT_SECONDS
        names = {"messages": "messages_read", "files": "files_written", "bytes": "bytes_written"}
        try:
            self.last = {ours: self._on.counters(self._job.id, name).get(name, 0) for ours, name in names.items()}
        except FlinkError:
            return False
        return True


def _every(action: Callable[[], None]) -> Callable[[], None]:
    due = 0.0

    def act() -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _LOOK_SECONDS
            action()

    return act


def _left_alone(job: FlinkJob) -> str:
    return f"while it watched Flink job {job.id} ({job.name}), which goes on; the next service watches it again."
