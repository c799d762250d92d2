"""``python -m pipelines.restore``: send what a backup holds of a topic into a topic again."""

from __future__ import annotations

if __name__ == "__main__":
    # Before what takes seconds to load.
    from pipelines import signals

    signals.listen()

import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any, NoReturn

import apache_beam as beam

from pipelines import cluster, ending, logs, restore_results, signals
from pipelines.display import progress_console, result_console, shown
from pipelines.local_pipeline import new_pipeline, run_pipeline
from pipelines.restore_options import RestoreConfig, parse_restore
from pipelines.restore_summary import RestoreSummary, guarantee, print_summary, summarize, summary_json
from pipelines.restore_target import (
    Target,
    check_is_another,
    check_is_free,
    check_target,
    created,
    registered,
    router_of,
    schemas_of,
    unkept,
)
from pipelines.run_names import new_name
from pipelines.summary import write_result
from pipelines.terminal import give_out
from transforms import progress
from transforms.at_once import at_once
from transforms.cos.destination import open_store
from transforms.errors import BackupError
from transforms.pulsar.client import disconnect
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.restriction import PartitionRange
from transforms.restore.plan import PartitionPlan, RestorePlan, plan_restore
from transforms.restore.write import PartitionRestored, RestoreSettings, RestoreToPulsar

_AGAIN = "what was sent stays. Run it again to go on."

_log = logging.getLogger("pipelines.restore")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the restore; returns the exit code. Errors go to stderr, results to stdout."""
    argv = sys.argv[1:] if argv is None else argv
    logs.set_up("INFO", logs.asked_format(argv))
    try:
        config = parse_restore(argv)
        logs.set_up(config.log_level, config.log_format)
        summary = restore(config)
    except Exception as error:
        return ending.tell(error)
    with signals.unbroken(0):
        return give_out(partial(_print, config, summary), done="the restore is done")


def _print(config: RestoreConfig, summary: RestoreSummary) -> None:
    if config.log_format == "json":
        print(summary_json(summary))
    else:
        print_summary(summary, result_console())


def run_as_process(argv: Sequence[str] | None = None) -> NoReturn:
    """Run ``main`` as a process of its own, which ends with exit code 130 on Ctrl-C and 143 on SIGTERM."""
    signals.listen()
    ending.end_process(main(argv))


def restore(config: RestoreConfig) -> RestoreSummary:
    """Look at backup and target, send, and tell what was sent. Raises BackupError; what was sent until then stays."""
    started = datetime.now(timezone.utc)
    run = new_name(started)
    signals.stands(lambda: "before anything was sent. Run it again.")
    try:
        plan, target = _looked_at(config)
        settings = _prepared(config, plan, target, run)
        signals.stands(lambda: f"while sending; {_AGAIN}")
        results = (_on_cluster if config.on_cluster else _here)(config, run, plan.partitions, settings)
        missing = len(plan.partitions) - len(results)
        if missing:
            raise BackupError(f"the run ended, and {missing} partitions were not restored to their end. Run it again.")
        summary = summarize(run, settings.restore, config, plan, settings.router.by, results, started)
    finally:
        disconnect(config.connection)
        restore_results.collected(run)
        progress.forget(run)
    if config.summary_file is not None:
        write_result(summary_json(summary, indent=2), config.summary_file)
    return summary


def _looked_at(config: RestoreConfig) -> tuple[RestorePlan, Target]:
    """Both ends, whose problems are told together."""
    found: list[Any] = at_once(
        [
            lambda: plan_restore(
                open_store(config.backup),
                config.backup.prefix,
                config.selection,
                topic=config.topic,
                file_format=config.file_format,
                path_template=config.path_template,
            ),
            lambda: check_target(config),
        ]
    )
    plan, target = found
    check_is_another(config, plan)
    return plan, target


def _prepared(config: RestoreConfig, plan: RestorePlan, target: Target, run: str) -> RestoreSettings:
    """Create what is missing at the target, unless nothing is to be sent."""
    router = router_of(config, plan, target)
    schemas = schemas_of(config, plan)
    restore = plan.identity(
        config.target_topic,
        router,
        config.selection.start,
        config.selection.end,
        sorted(config.selection.keys or ()),
        config.origin,
        config.with_schemas,
    )
    if not config.dry_run:
        target = created(config, target)
        warning = unkept(config, target)
        if warning is not None:
            _log.warning("%s", warning)
        if check_is_free(config, target, restore):
            _log.info("the target holds messages of this restore (%s): it goes on behind them", restore)
        if target.deduplicates is not None:
            _log.info("restore %s, %s", restore, guarantee(target.deduplicates, config.origin))
        elif not config.origin:
            _log.warning(
                "whether the broker deduplicates is told by --admin_url only; if it does not: %s",
                guarantee(False, False),
            )
    return RestoreSettings(
        backup=config.backup,
        connection=config.connection,
        target=target.partitions,
        router=router,
        restore=restore,
        selection=config.selection,
        schemas=registered(config, schemas, target, register=config.with_schemas and not config.dry_run),
        with_schemas=config.with_schemas,
        origin=config.origin,
        skip_unrestorable=config.skip_unrestorable,
        rate=config.rate,
        rate_bytes=config.rate_bytes,
        send=not config.dry_run,
        retry_seconds=config.backup.retry_deadline,
        run=run,
    )


def _add(pipeline: beam.Pipeline, plans: list[PartitionPlan], settings: RestoreSettings, results: beam.DoFn) -> None:
    _ = (
        pipeline
        | "Partitions" >> beam.Create(plans)
        # So that partitions spread over workers.
        | "SpreadPartitions" >> beam.Reshuffle()
        | "RestoreToPulsar" >> RestoreToPulsar(settings)
    ).restored | "Results" >> beam.ParDo(results)


def _here(
    config: RestoreConfig, run: str, plans: list[PartitionPlan], settings: RestoreSettings
) -> list[PartitionRestored]:
    seen = progress.progress_of(run)
    ranges = [PartitionRange(TopicPartition(each.topic, each.partition), each.start, each.stop) for each in plans]
    pipeline = new_pipeline(config.beam_args)
    _add(pipeline, plans, settings, restore_results.CollectHere(run))
    with shown(seen, ranges, progress_console(), live=config.log_format == "text", files=False):
        run_pipeline(pipeline, seen)
    return restore_results.collected(run)


def _on_cluster(
    config: RestoreConfig, run: str, plans: list[PartitionPlan], settings: RestoreSettings
) -> list[PartitionRestored]:
    def add(pipeline: beam.Pipeline, spread: int | None) -> None:
        # As many at the same time as there are subtasks.
        busy = min(spread or len(plans), len(plans))
        slowed = replace(
            settings,
            rate=settings.rate and settings.rate / busy,
            rate_bytes=settings.rate_bytes and settings.rate_bytes / busy,
        )
        _add(pipeline, plans, slowed, restore_results.StoreAtBackup(run, config.backup))

    try:
        cluster.run_bounded(config, run, len(plans), add, "what was sent stays")
    except BackupError:
        with contextlib.suppress(BackupError):
            restore_results.fetched(run, config.backup)  # of the partitions that had come to their end
        raise
    return restore_results.fetched(run, config.backup)


if __name__ == "__main__":
    run_as_process()
