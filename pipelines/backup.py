"""``python -m pipelines.backup``: copy Pulsar topics to COS or to a folder."""

from __future__ import annotations

if __name__ == "__main__":
    # Before what takes seconds to load.
    from pipelines import signals

    signals.listen()

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import NoReturn

from pipelines import cluster, ending, job, local, logs, results, signals
from pipelines.check import Plan, plan, plan_json, print_plan
from pipelines.display import result_console, stopped_acknowledging
from pipelines.options import BackupConfig, parse_options
from pipelines.preflight import preflight, refuse_moving_over_unread
from pipelines.results import RunResults
from pipelines.run_names import new_name
from pipelines.run_record import write_run_record
from pipelines.summary import Summary, print_summary, summarize, summary_json, write_result
from pipelines.terminal import give_out
from transforms import progress
from transforms.cos.destination import open_store
from transforms.cos.leftovers import StoredRange, clear_leftovers
from transforms.errors import BackupError, TrimmedError
from transforms.pulsar.client import connect, disconnect
from transforms.pulsar.feeds import close_readers
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.request import Resolution
from transforms.pulsar.resolve import secure

_log = logging.getLogger("pipelines.backup")

_MB = 1_000_000
_WHAT_IS_STORED = (
    "All else is stored; nothing was acknowledged. Give a --subscription, for which the broker keeps what is not yet "
    "stored, and --admin_url, which tells possible gaps from certain ones; or --on_trimmed=continue to accept gaps."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code. Errors go to stderr, results to stdout."""
    argv = sys.argv[1:] if argv is None else argv
    logs.set_up("INFO", logs.asked_format(argv))
    try:
        config = parse_options(argv)
        logs.set_up(config.log_level, config.log_format)
        if config.streaming and not config.check:
            stream(config)
            return 0
        result = check(config) if config.check else run(config)
    except Exception as error:
        return ending.tell(error)
    done = "the check is done" if isinstance(result, Plan) else "the backup is done"
    with signals.unbroken(0):
        return give_out(partial(_print, config, result), done=done)


def _print(config: BackupConfig, result: Plan | Summary) -> None:
    if config.log_format == "json":
        print(plan_json(result) if isinstance(result, Plan) else summary_json(result))
    elif isinstance(result, Plan):
        print_plan(result, result_console())
    else:
        print_summary(result, result_console())


def run_as_process(argv: Sequence[str] | None = None) -> NoReturn:
    """Run ``main`` as a process of its own, which ends with exit code 130 on Ctrl-C and 143 on SIGTERM."""
    signals.listen()
    ending.end_process(main(argv))


def check(config: BackupConfig, *, goes_on: bool = False) -> Plan:
    """Check, and tell what a run would do. Raises BackupError; creates nothing, and leaves nothing behind.

    ``goes_on``: what is checked may have run before, and then does not begin at its start.
    """
    if config.streaming:
        cluster.check_cluster(config)
    try:
        ready = preflight(config)
        if not goes_on:
            refuse_moving_over_unread(config, ready.resolution)
        found = plan(config, ready, partial(job.make_encoder, config.make_encoder, config.connection))
    finally:
        disconnect(config.connection)
    if config.summary_file is not None:
        write_result(plan_json(found, indent=2), config.summary_file)
    return found


def run(
    config: BackupConfig, name: str | None = None, begun: Callable[[Resolution], object] = lambda _: None
) -> Summary:
    """Check, read, write, acknowledge; ``begun`` is called when all is checked, with what is to be read.

    Raises BackupError; whatever was stored until then stays, and is not written again.
    """
    started = datetime.now(timezone.utc)
    name = name or new_name(started)
    signals.stands()
    try:
        config, resolution = begin(config)
        begun(resolution)
        store = open_store(config.destination)
        found = (cluster if config.on_cluster else local).run_to_its_end(config, name, resolution)
        _refuse_unread(resolution, found)
        objects = sum(each.files for each in found.written.values())
        signals.stands(partial(stopped_acknowledging, objects, 0, []))
        ended = datetime.now(timezone.utc)
        summary = summarize(name, config.destination.url, started, ended, resolution, found)
        if config.manifest:
            write_run_record(store, config, name, (started, ended), resolution, found)
        # Before acknowledging: a run that is killed here reads the same range again, and knows what is stored of it.
        clear_leftovers(
            store,
            config.layout,
            config.file_format.extension.partition(".")[0],
            [StoredRange(each.partition, each.start, each.stop) for each in resolution.ranges],
        )
        deleted = [] if config.request.continue_trimmed else sorted(map(str, found.gaps))
        if config.acknowledge and not deleted:
            _acknowledge(config, resolution, found, summary)
    finally:
        close_readers(name)
        disconnect(config.connection)
        results.forget(name)
        progress.forget(name)
    if config.summary_file is not None:
        write_result(summary_json(summary, indent=2), config.summary_file)
    if deleted:
        raise TrimmedError(f"{'; '.join(deleted)}. {_WHAT_IS_STORED}")
    return summary


def stream(config: BackupConfig) -> None:
    """Check, and start a job without an end; returns when somebody has stopped it in Flink. Raises BackupError."""
    signals.stands()
    on = cluster.check_cluster(config)
    try:
        begun, resolution = begin(config)
    finally:
        disconnect(config.connection)
    cluster.stream(begun, f"tdmq-backup-{new_name(datetime.now(timezone.utc))}", resolution, on)


def begin(config: BackupConfig) -> tuple[BackupConfig, Resolution]:
    """Check everything, and secure what is to be read: from here on it stays until it is acknowledged."""
    ready = preflight(config)
    refuse_moving_over_unread(config, ready.resolution)
    resolution = secure(config.request, ready.resolution)
    resolution.warnings += ready.warnings
    for warning in resolution.warnings:
        _log.warning("%s", warning)
    return replace(config, layout=ready.layout), resolution


def _refuse_unread(resolution: Resolution, found: RunResults) -> None:
    missing = {each.partition.name for each in resolution.to_read} - set(found.partitions)
    if missing:
        raise BackupError(f"the run ended, and {', '.join(sorted(missing))} were not read to their end. Run it again.")


def _acknowledge(config: BackupConfig, resolution: Resolution, found: RunResults, summary: Summary) -> None:
    """Move the subscription to behind what is stored now: all between start and stop of each partition."""
    client, subscription = connect(config.connection), config.request.subscription
    if subscription is None:
        return
    parts = {part.partition: part for part in summary.partitions}
    reports = {TopicPartition.parse(name): report for name, report in found.partitions.items()}
    wanted = [partition for partition in reports if partition in resolution.acknowledge]
    done: list[TopicPartition] = []
    signals.stands(partial(stopped_acknowledging, summary.files, len(wanted), done))
    for partition in wanted:
        with client.subscription(partition, subscription) as held:
            acknowledged = held.acknowledge_before(reports[partition].upto)
        parts[partition.name].acknowledged_before = None if acknowledged is None else str(acknowledged)
        done.append(partition)


if __name__ == "__main__":
    run_as_process()
