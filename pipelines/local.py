"""Runs on this machine: in this process, or with worker processes of it."""

from __future__ import annotations

import logging
from functools import partial

from pipelines import job, results, signals
from pipelines.display import progress_console, shown, stopped_reading
from pipelines.local_pipeline import new_pipeline, run_pipeline
from pipelines.local_workers.run import run_in_workers
from pipelines.local_workers.shares import spread, workers
from pipelines.options import BackupConfig
from pipelines.results import CollectHere, RunResults
from transforms import progress
from transforms.memory import least_budget
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.request import Resolution

_log = logging.getLogger("pipelines.backup")

_MB = 1_000_000


def run_to_its_end(config: BackupConfig, name: str, resolution: Resolution) -> RunResults:
    """Run a backup with an end on this machine. Raises BackupError."""
    seen = progress.progress_of(name)
    ranges = resolution.to_read
    found = results.results_of(name)
    if not ranges:
        return found
    if config.memory_budget < least_budget(len(ranges)):
        _log.warning(
            "--memory_budget=%dMB is little for %d partitions, which may need %dMB beyond the interpreter: give "
            "that, or back up fewer partitions in a run.",
            config.memory_budget // _MB,
            len(ranges),
            -(-least_budget(len(ranges)) // _MB),
        )
    processes = workers(config.local_workers, len(ranges))
    signals.stands(partial(stopped_reading, seen, ranges))
    with shown(seen, ranges, progress_console(), live=config.log_format == "text"):
        if processes == 1:
            _run_here(config, name, resolution)
        else:
            admin = PulsarAdmin(config.connection) if config.connection.admin_url else None
            run_in_workers(config, name, resolution, spread(ranges, processes, admin))
    return found


def _run_here(config: BackupConfig, name: str, resolution: Resolution) -> None:
    pipeline = new_pipeline(config.beam_args)
    read, write = job.settings(config, name, len(resolution.to_read))
    job.add_backup(pipeline, resolution, read, write, job.manifest_settings(config, write), CollectHere(name))
    run_pipeline(pipeline, progress.progress_of(name))
