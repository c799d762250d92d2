"""Options of a run on Flink, and of a stream, that are wrong in themselves, or do not go together."""

from __future__ import annotations

import sys
from unittest import mock

from tests.pipelines.wrong_inputs import Case

_STREAM = ["--runner=FlinkRunner", "--streaming", "--flink_master=http://{closed}", "--environment_type=EXTERNAL"]

CASES = [
    Case(
        "a runner that is not there",
        2,
        ["--runner=SparkRunner"],
        ["--runner=SparkRunner: choose one of DirectRunner, FlinkRunner, PortableRunner."],
    ),
    Case(
        "a stream in this process",
        2,
        ["--streaming"],
        [
            "--streaming: needs a runner that keeps state and makes checkpoints, which DirectRunner does not. Add --runner=FlinkRunner, or leave it out."
        ],
    ),
    Case(
        "workers of this machine for a cluster",
        2,
        ["--runner=FlinkRunner", "--local_workers=2", "--environment_type=EXTERNAL"],
        [
            "--local_workers=2: is of runs on this machine. Leave it out; on a cluster --parallelism=N says how many subtasks share the partitions."
        ],
    ),
    Case(
        "a stream that nobody could stop",
        2,
        ["--runner=FlinkRunner", "--streaming", "--environment_type=EXTERNAL"],
        [
            "--streaming needs --flink_master=http://HOST:8081, the job manager's REST interface: by it the job is watched and stopped."
        ],
    ),
    Case(
        "a stream on a cluster within this process",
        2,
        ["--runner=FlinkRunner", "--streaming", "--environment_type=EXTERNAL", "--flink_master=[local]"],
        [
            "--streaming needs --flink_master=http://HOST:8081, the job manager's REST interface: by it the job is watched and stopped."
        ],
    ),
    Case(
        "a stream with everything that a stream cannot have",
        2,
        [
            *_STREAM,
            "--end=2026-11-22T00:00:00Z",
            "--read_compacted",
            "--summary_file=/tmp/summary.json",
            "--shutdown_sources_after_idle_ms=5000",
            "--num_concurrent_checkpoints=2",
            "--checkpointing_interval=10",
            "--job_name=mine",
            "--discovery_interval=0s",
        ],
        [
            "--end=2026-11-22T00:00:00Z: a stream has no end. Leave out --end, or --streaming.",
            "--read_compacted: what is compacted changes while a stream goes on. Leave out one of the two.",
            "--summary_file: a stream has no result. Leave it out; Flink's counters tell how far it is.",
            "--job_name: the job is found again by the name that it gives itself. Leave it out.",
            "--shutdown_sources_after_idle_ms: no checkpoint completes behind that, so nothing would ever be acknowledged, and a failure would read all again. Leave it out.",
            "--num_concurrent_checkpoints: what is acknowledged is known to be covered only where checkpoints come one after the other. Leave it out.",
            "--checkpointing_interval=10: must be 1000 (milliseconds) or more; without checkpoints a failure would read all again, and nothing would be acknowledged.",
            "--discovery_interval=0s: must be from 1s to 24h.",
        ],
    ),
    Case(
        "numbers of subtasks and of workers that are none",
        2,
        ["--runner=FlinkRunner", "--environment_type=EXTERNAL", "--parallelism=many", "--sdk_worker_parallelism=0"],
        ["--parallelism=many: not a number from 1 on.", "--sdk_worker_parallelism=0: not a number from 1 on."],
    ),
    Case(
        "a Flink cluster that does not answer",
        1,
        _STREAM,
        [
            "http://{closed}: the Flink cluster does not answer (ConnectionError). Check --flink_master, which is the address of the job manager's REST interface, and that it runs."
        ],
    ),
    Case(
        "a worker that is not installed",
        2,
        ["--runner=FlinkRunner"],
        [
            "there is no {folder}/tdmq-backup-worker, which task managers would start as worker: install the package there with pip, or say with --environment_type and --environment_config how workers are started."
        ],
        around=lambda made: mock.patch.object(sys, "executable", f"{made.folder}/python"),
    ),
    Case(
        "a pattern without a namespace",
        2,
        ["--topic_pattern=shop/orders-.*"],
        [
            "--topic_pattern=shop/orders-.*: write it as persistent://TENANT/NAMESPACE/EXPRESSION; tenant and namespace are names, not expressions."
        ],
    ),
    Case(
        "a pattern that is no regular expression",
        2,
        ["--topic_pattern={ns}/orders-(.*"],
        ["--topic_pattern={ns}/orders-(.*: no regular expression (missing ), unterminated subpattern at position 7)."],
    ),
    Case(
        "a pattern that no topic matches",
        4,
        ["--topic", "--topic_pattern=test/not-there/order"],
        [
            "--topic_pattern=persistent://test/not-there/order: the namespace test/not-there has no topic whose name matches. The whole name has to; a namespace that does not exist has none either."
        ],
    ),
]
