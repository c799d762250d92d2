"""Runs in this process, on Beam's in-process runner."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers

from pipelines import job, results, signals
from pipelines.display import progress_console, shown, stopped_reading
from pipelines.options import BackupConfig
from pipelines.results import CollectHere, RunResults
from transforms import progress
from transforms.errors import BackupError
from transforms.memory import least_budget, return_freed_memory
from transforms.pulsar.request import Resolution

_log = logging.getLogger("pipelines.backup")

_MB = 1_000_000
#: Objects made more than deleted before Python looks for cycles, against 700: batches of messages are many objects, and
#: none of them is in a cycle.
_YOUNG_OBJECTS = 100_000


def run_to_its_end(config: BackupConfig, name: str, resolution: Resolution) -> RunResults:
    """Run a backup with an end in this process. Raises BackupError."""
    seen = progress.progress_of(name)
    ranges = [each for each in resolution.ranges if each.start < each.stop]
    found = results.results_of(name)
    if not ranges:
        return found
    return_freed_memory()
    if config.memory_budget < least_budget(len(ranges)):
        _log.warning(
            "--memory_budget=%dMB is little for %d partitions, which may need %dMB beyond the interpreter: give "
            "that, or back up fewer partitions in a run.",
            config.memory_budget // _MB,
            len(ranges),
            -(-least_budget(len(ranges)) // _MB),
        )
    # By name: DirectRunner is a switch that tries other runners first, and runs the pipeline again when one fails.
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(config.beam_args)))
    read, write = job.settings(config, name, len(ranges))
    job.add_backup(pipeline, resolution, read, write, job.manifest_settings(config, write), CollectHere(name))
    signals.stands(partial(stopped_reading, seen, ranges))
    with shown(seen, ranges, progress_console(), live=config.log_format == "text"), _bulk_work():
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:
            # The runner passes on text only; what was raised is remembered where it was raised.
            if isinstance(seen.failure, BackupError):
                raise seen.failure from error
            raise
    return found


@contextmanager
def _bulk_work() -> Iterator[None]:
    """While the body runs, Python and Beam are set up for few large pieces of data instead of many small ones."""
    # Beam takes the size of all that it keeps in this cache by walking through it, and through all modules, each time.
    # The state is in the same process anyway.
    cache_mb, worker_handlers.STATE_CACHE_SIZE_MB = worker_handlers.STATE_CACHE_SIZE_MB, 0
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()  # modules and the pipeline, which stay
    gc.set_threshold(_YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        worker_handlers.STATE_CACHE_SIZE_MB = cache_mb
