"""A long run of a stream on Flink, whose parts are killed at random, under live production: is its memory flat?

    python -m benchmarks.stream_soak --minutes=30 --seed=1 --output=build/soak      # or: make soak
    python -m benchmarks.stream_soak --minutes=5 --messages_per_second=0            # the leak of the runner alone

Starts a broker, a COS server and a Flink cluster on this machine, submits the stream as a person does, and sends to
three partitions: small messages in producer batches, and every 20 s a burst of large ones, whose file is spooled in
parts. A minute passes without messages before and after. Kills come every 60 to 90 s, most of them of a worker, some
of the task manager, and none in the first and the last three minutes (or fifth of the time, if that is less).

--output gets
    samples.csv    every 2 s: messages produced and stored, backlog, last checkpoint, slices, heap, kills
    memory.csv     resident size of worker, task manager, job manager, job server and launcher, by process id
    kills.csv      when what was killed
    summary.json   what is printed at the end
    memory.png     and memory.svg: all this over time

At the end every file is read back. Exit code 1: a message is missing, stands twice, or has other bytes than were sent.

How to read it: ``mb_per_minute`` is the growth within each process by least squares, while messages are sent and
without each process's first 45 s. The job server of the tests (those from about 2.76 on do not) leaves a state behind
in the checkpoint, and in the task manager's heap, each time the source hands a partition back; after a restart it uses
those again until it has more. They are counted in each checkpoint by their names. ``bytes_per_leaked_state`` is
measured while no messages are sent, in the state of the source's stage, which then has no other reason to grow.
``rest_bytes`` is what the checkpoint gained from the first of these phases to the last, less what was leaked
meanwhile: what our own state has gained.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.soak_plot import plot
from benchmarks.soak_production import Production, Stored, read_back
from benchmarks.soak_sampler import EVERY, Sampler
from benchmarks.soak_samples import (
    DRAINING,
    IDLE_AFTER,
    IDLE_BEFORE,
    PRODUCTION,
    STARTING,
    Kill,
    Memory,
    Sample,
    growth_of_checkpoints,
    growth_of_memory,
    planned,
    write_csv,
)
from tests.pipelines.backups import SECRETS, Bucket, arguments
from tests.pipelines.streams import GRANULARITY, Stream
from transforms.testing.cos_server import CosServer
from transforms.testing.flink_workers import flink_with_workers
from transforms.testing.pulsar_standalone import PulsarStandalone

_TOPIC, _SUBSCRIPTION, _PARTITIONS = "persistent://test/soak/topic", "soak", 3
#: What the subscription has acknowledged is deleted after a minute or two, as on a real cluster.
_BROKER = {
    "managedLedgerMaxEntriesPerLedger": "1000",
    "managedLedgerMinLedgerRolloverTimeMinutes": "1",
    "retentionCheckIntervalInSeconds": "30",
}
#: Else Flink's REST tells counters that are ten seconds old, and checkpoints that are replaced by now.
_FLINK = {"metrics.fetcher.update-interval": "1000", "web.refresh-interval": "500"}
#: Looking for partitions leaks as well, and is not counted.
_NO_DISCOVERY = "--discovery_interval=24h"
#: In the heap the leak is a table for each key group: with Flink's usual 128 of them, 84 kB of the task manager's heap
#: for each state that is left behind, and half an hour without a kill would fill it.
_KEY_GROUPS = "--max_parallelism=4"
_OPTIONS = [_KEY_GROUPS, "--memory_budget=64MB", "--max_file_bytes=10MB"]
_WARM_UP_OF_PROCESSES, _WARM_UP_OF_CHECKPOINTS = 45.0, 15.0
_DRAIN_SECONDS = 600.0


def soak(sampler: Sampler, stream: Stream, production: Production, options: argparse.Namespace) -> None:
    """Drive the stream through its phases."""
    dice = random.Random(f"kills {options.seed}")
    seconds = options.minutes * 60
    sampler.watch(STARTING, sampler.has_checkpoint)
    if not options.messages_per_second:
        sampler.for_seconds(IDLE_BEFORE, seconds)
        return
    sampler.for_seconds(IDLE_BEFORE, options.idle)
    begin = sampler.seconds
    with production.going_on():
        for kill in planned(seconds, dice) if options.kills else []:
            sampler.until_second(PRODUCTION, begin + kill.seconds)
            if kill.kind == "worker":
                stream.kill_worker(dice)
            else:
                stream.kill_task_manager()
            sampler.killed(kill.kind)
        sampler.until_second(PRODUCTION, begin + seconds)
    deadline = sampler.seconds + _DRAIN_SECONDS
    sampler.for_seconds(DRAINING, 2 * EVERY)
    sampler.watch(DRAINING, lambda: sampler.complete() or sampler.seconds >= deadline)
    sampler.for_seconds(IDLE_AFTER, options.idle)


def summarized(
    sampler: Sampler, stored: Stored, bucket: Bucket, production: Production, options: argparse.Namespace
) -> dict[str, Any]:
    """All figures; reads every file back."""
    counts = list(production.taken)
    census = read_back(bucket, counts, GRANULARITY, print)
    samples, killed = sampler.samples, Counter(each.kind for each in sampler.kills)
    busy = [each.seconds for each in samples if each.phase == (PRODUCTION if any(counts) else IDLE_BEFORE)]
    return {
        "minutes": options.minutes,
        "seed": options.seed,
        "messages_per_second": options.messages_per_second,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"Beam {version('apache-beam')}",
        "produced": sum(counts),
        "stored": stored.count(),
        "missing": census.missing,
        "twice": census.twice,
        "other": census.other,
        "files_out_of_order": census.out_of_order,
        "acknowledged_to_the_end": samples[-1].backlog == 0,
        "files": stored.files,
        "files_in_parts": stored.in_parts,
        "left_in_spool": stored.left_in_spool(),
        "killed": {"worker": killed["worker"], "task manager": killed["task manager"]},
        "memory": growth_of_memory(sampler.memory, (busy[0], busy[-1]), warm_up=_WARM_UP_OF_PROCESSES),
        "checkpoint": growth_of_checkpoints(samples, warm_up=_WARM_UP_OF_CHECKPOINTS),
    }


def whole(summary: dict[str, Any]) -> bool:
    """Whether every message is stored exactly once, and the subscription stands at the end."""
    wrong = [summary[name] for name in ("missing", "twice", "other", "files_out_of_order")]
    return not any(wrong) and summary["stored"] == summary["produced"] and summary["acknowledged_to_the_end"]


@contextlib.contextmanager
def started(
    options: argparse.Namespace, bucket: Bucket, folder: Path
) -> Iterator[tuple[Sampler, Stream, Production, Stored]]:
    """Broker, cluster and stream; they end with the body."""
    with contextlib.ExitStack() as stack:
        print("starting a broker and a Flink cluster", flush=True)
        broker = stack.enter_context(PulsarStandalone(configuration=_BROKER))
        broker.admin.create_tenant("test")
        broker.admin.create_namespace("test/soak", retention_minutes=0, retention_megabytes=0)
        broker.admin.create_partitioned_topic(_TOPIC, _PARTITIONS)
        flink = stack.enter_context(flink_with_workers(environment=SECRETS, configuration=_FLINK))
        argv = [*_OPTIONS, f"--subscription={_SUBSCRIPTION}", f"--admin_url={broker.admin_url}"]
        stream = Stream(flink, arguments(broker, _TOPIC, bucket, argv), folder)
        stack.callback(stream.close)
        stream.start(_NO_DISCOVERY)
        dice = random.Random(f"messages {options.seed}")
        rate = options.messages_per_second
        production = Production(broker.service_url, _TOPIC, _PARTITIONS, rate, dice)
        stack.callback(production.close)
        stored = Stored(bucket)
        yield Sampler(stream, broker, _SUBSCRIPTION, production, stored), stream, production, stored


def main() -> int:
    """Run as a command; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="of production; some five more for all around it")
    parser.add_argument("--seed", type=int, default=1, help="of kills and sizes; equal seeds, equal plans")
    parser.add_argument("--output", type=Path, default=Path("build/soak"), help="folder of the results")
    parser.add_argument("--kills", action=argparse.BooleanOptionalAction, default=True, help="kill at random moments")
    parser.add_argument(
        "--messages_per_second", type=float, default=3_000, help="in all, of 200 B; 0: only the runner's leak"
    )
    parser.add_argument("--idle", type=float, default=60, help="seconds without messages before and after")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, CosServer(Path(place, "cos")) as cos:
        bucket = Bucket(cos)
        with started(options, bucket, Path(place)) as (sampler, stream, production, stored):
            try:
                soak(sampler, stream, production, options)
            finally:
                (options.output / "stream.log").write_text(stream.log)
                write_csv(options.output / "samples.csv", sampler.samples, Sample)
                write_csv(options.output / "memory.csv", sampler.memory, Memory)
                write_csv(options.output / "kills.csv", sampler.kills, Kill)
            orphans = sampler.orphans()
        summary = summarized(sampler, stored, bucket, production, options) | {"orphans": orphans}
    text = json.dumps(summary, indent=2)
    (options.output / "summary.json").write_text(text + "\n")
    plot(options.output, sampler.samples, sampler.memory, sampler.kills, summary)
    print(text)
    print(f"{'whole' if whole(summary) else 'NOT WHOLE'}; figures and plot are in {options.output}")
    return 0 if whole(summary) else 1


if __name__ == "__main__":
    sys.exit(main())
