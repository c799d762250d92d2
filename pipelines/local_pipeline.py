"""A pipeline that runs in this process, on Beam's in-process runner."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers

from transforms.errors import BackupError
from transforms.memory import return_freed_memory, seldom_look_for_cycles
from transforms.progress import Progress


def new_pipeline(beam_args: Sequence[str]) -> beam.Pipeline:
    """An empty pipeline for ``run_pipeline``."""
    # By name: DirectRunner is a switch that tries other runners first, and runs the pipeline again when one fails.
    return beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(beam_args)))


def run_pipeline(pipeline: beam.Pipeline, seen: Progress) -> None:
    """Run it to its end. Raises what its stages have raised, where ``seen`` knows of it."""
    return_freed_memory()
    with _bulk_work():
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:
            # The runner passes on text only; what was raised is remembered where it was raised.
            if isinstance(seen.failure, BackupError):
                raise seen.failure from error
            raise


@contextmanager
def _bulk_work() -> Iterator[None]:
    """While the body runs, Python and Beam are set up for few large pieces of data instead of many small ones."""
    # Beam takes the size of all that it keeps in this cache by walking through it, and through all modules, each time.
    # The state is in the same process anyway.
    cache_mb, worker_handlers.STATE_CACHE_SIZE_MB = worker_handlers.STATE_CACHE_SIZE_MB, 0
    thresholds = gc.get_threshold()
    seldom_look_for_cycles()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        worker_handlers.STATE_CACHE_SIZE_MB = cache_mb
