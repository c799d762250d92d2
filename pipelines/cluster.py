"""Runs on a Flink cluster: submitted, watched and stopped."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from pipelines import job, signals
from pipelines.flink import FlinkCluster, FlinkJob
from pipelines.options import BackupConfig
from pipelines.results import RunResults, StoreResults, fetch_results
from pipelines.runner_options import (
    RunnerConfig,
    given_options,
    runner_options,
    subtasks_of_a_worker,
    what_is_set,
    workers_of_a_task_manager,
)
from pipelines.watching import explained, watch
from transforms.cos.destination import open_store
from transforms.cos.sink import WriteSettings
from transforms.errors import BackupError, ConfigurationError, FlinkError, TopicNotFoundError
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.discover import Beginning
from transforms.pulsar.ends import partition_ends
from transforms.pulsar.feeds import ReadSettings
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.request import Resolution

_SUBMIT_SECONDS = 120.0

_log = logging.getLogger("pipelines.backup")


def run_to_its_end(config: BackupConfig, name: str, resolution: Resolution) -> RunResults:
    """Run a backup with an end on the cluster. Raises BackupError."""
    ranges = resolution.to_read
    if not ranges:
        return RunResults()

    def add(pipeline: beam.Pipeline, spread: int | None) -> None:
        read, write = _settings(config, name, len(ranges), spread)
        manifests = job.manifest_settings(config, write)
        job.add_backup(pipeline, resolution, read, write, manifests, StoreResults(name, config.destination))

    run_bounded(config, name, len(ranges), add, "what is stored stays, and nothing was acknowledged")
    return fetch_results(name, config.destination, open_store(config.destination))


def run_bounded(
    config: RunnerConfig,
    name: str,
    partitions: int,
    add: Callable[[beam.Pipeline, int | None], None],
    when_interrupted: str,
) -> None:
    """Run a job with an end, whose stages ``add`` adds, given the number of subtasks; None: Flink's.

    ``when_interrupted`` says what stays of it. Raises BackupError.
    """
    master = given_options(config.beam_args).get("flink_master", "[")
    cluster = None if master.startswith("[") else FlinkCluster(master)
    if cluster is not None:
        _check_slots(config, cluster)
    spread = _parallelism(config, cluster, partitions)
    pipeline = beam.Pipeline(options=PipelineOptions(runner_options(config, name, spread)))
    add(pipeline, spread)
    _log.info("what Flink is told: %s", what_is_set(config, spread))
    flink_master = given_options(config.beam_args).get("flink_master", "")
    signals.stands(partial(_cancelled, flink_master, name, when_interrupted))
    submitted = pipeline.run()
    try:
        submitted.wait_until_finish()
    except RuntimeError as error:
        raise explained(str(error)) from error


def check_cluster(config: BackupConfig) -> FlinkCluster:
    """The cluster that a stream is to run on. Raises FlinkError and ConfigurationError where it cannot."""
    given = given_options(config.beam_args)
    cluster = FlinkCluster(given["flink_master"])
    if not (given.get("state_backend_storage_path") or cluster.configuration().get("state.checkpoints.dir")):
        raise ConfigurationError(
            "the Flink cluster keeps checkpoints in memory, which fails beyond 5 MB: give "
            "--state_backend=filesystem --state_backend_storage_path=file:///… (or s3://, cosn://, hdfs://), or set "
            "state.checkpoints.dir in its configuration."
        )
    _check_slots(config, cluster)
    return cluster


def _check_slots(config: RunnerConfig, cluster: FlinkCluster) -> None:
    wanted = int(given_options(config.beam_args).get("parallelism", "1"))
    free = cluster.free_slots(wanted)
    if free < 1:
        raise FlinkError(f"{cluster.url}: no slot is free. Stop a job, or add a task manager.")
    if free < wanted:
        raise FlinkError(
            f"--parallelism={wanted}: only {free} slots of {cluster.url} are free, and the job would wait for the "
            "others. Leave the option out, stop a job, or add a task manager."
        )


def _parallelism(config: RunnerConfig, cluster: FlinkCluster | None, partitions: int) -> int | None:
    """How many subtasks the job gets. None: Flink's.

    As many as there are partitions, if so many slots are free. But on a single task manager no more than it has workers
    for the job, for subtasks that share a process share its core too, and each has its price [measured: four subtasks
    of one worker use 15 to 25 % more CPU than one]. Of several task managers, few subtasks might all go to the same.
    """
    given = given_options(config.beam_args).get("parallelism")
    if given is not None:
        return int(given)
    if cluster is None:
        return None
    if cluster.task_managers() == 1:
        partitions = min(partitions, workers_of_a_task_manager(config))
    return max(min(cluster.free_slots(partitions), partitions), 1)


def _settings(
    config: BackupConfig, name: str, partitions: int, parallelism: int | None
) -> tuple[ReadSettings, WriteSettings]:
    return job.settings(config, name, partitions, subtasks_of_a_worker(config, parallelism or 1))


def stream(config: BackupConfig, name: str, resolution: Resolution, cluster: FlinkCluster) -> None:
    """Run a backup without an end; returns when somebody has stopped the job. Raises BackupError where it failed."""
    signals.stands(partial(_stopped, cluster, name))
    found = submit(config, name, resolution, cluster)
    _log.info("Flink job %s (%s) runs; stop it with Ctrl-C, or with tdmq-backup stream stop %s", found.id, name, name)
    partitions = [each.partition for each in resolution.ranges]
    watch(cluster, found.id, partitions, partial(ends_of, config.connection, partitions))


def submit(config: BackupConfig, name: str, resolution: Resolution, cluster: FlinkCluster) -> FlinkJob:
    """Start a job without an end under that name; returns when Flink has it. Raises BackupError."""
    beginning = Beginning(tuple((each.partition, each.start) for each in resolution.ranges))
    spread = _parallelism(config, cluster, len(resolution.ranges))
    pipeline = beam.Pipeline(options=PipelineOptions(runner_options(config, name, spread)))
    read, write = _settings(config, name, len(resolution.ranges), spread)
    job.add_stream(pipeline, beginning, config, read, write, resolution.gaps)
    _log.info("what Flink is told: %s", what_is_set(config, spread))
    return _submitted(cluster, pipeline.run(), name)


def ends_of(
    connection: PulsarConnection, partitions: Sequence[TopicPartition]
) -> Mapping[TopicPartition, Position | None]:
    """The position behind the last message of each, None where there is none; without those that are not there.

    Raises SourceError and AccessError.
    """
    found = {}
    for each in partitions:
        with contextlib.suppress(TopicNotFoundError):
            found[each] = partition_ends(connection, each).behind_last
    return found


def _submitted(cluster: FlinkCluster, submitted: PipelineResult, name: str) -> FlinkJob:
    deadline = time.monotonic() + _SUBMIT_SECONDS
    while time.monotonic() < deadline:
        try:
            found = cluster.find(name)
        except FlinkError as error:
            _log.warning("%s Asking again.", error)
            found = None
        if found is not None:
            return found
        if str(submitted.state) in ("FAILED", "CANCELLED"):
            break
        time.sleep(0.5)
    raise FlinkError(f"{cluster.url}: the job server took the job {name}, and Flink does not have it. Look at its log.")


def _cancelled(flink_master: str, name: str, stays: str) -> str:
    """Cancel a job with an end, and say what came of it, behind "interrupted"."""
    said = f"while the job ran; {stays}. Run it again to complete it."
    if not flink_master or flink_master.startswith("["):
        return f"{said} The job {name} may still run: stop it in Flink; with --flink_master it is stopped from here."
    try:
        cluster = FlinkCluster(flink_master)
        found = cluster.find(name)
        if found is not None and not found.ended:
            cluster.cancel(found.id)
    except BackupError as error:
        return f"{said} The job {name} may still run: {error}"
    return said


def _stopped(cluster: FlinkCluster, name: str) -> str:
    """Stop the job, and say what came of it, behind "interrupted"."""
    try:
        found = cluster.find(name)
    except BackupError as error:
        return f"while streaming. {error} The job {name} may still run: stop it in Flink."
    if found is None:
        return f"before Flink had the job. If it comes all the same, stop it: tdmq-backup stream stop {name}"
    _log.info("stopping Flink job %s with a savepoint; a second signal leaves it running", found.id)
    try:
        savepoint = cluster.stop(found.id)
    except BackupError as error:
        try:
            cluster.cancel(found.id)
        except BackupError as worse:
            return f"while streaming. {error} {worse} The job {name} may still run: stop it in Flink."
        return f"while streaming. {error} The job was cancelled without one; a new one goes on at its subscription."
    return f"while streaming; the job has ended with a savepoint. Go on there with --savepoint_path={savepoint}"
