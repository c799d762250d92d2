"""The options of the runner: what a job on Flink needs to run fast and to lose nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

WORKER = "tdmq-backup-worker"
WORKER_LOG = "pipelines.worker_log"
#: Of Flink's clock, in milliseconds.
_LEAST_INTERVAL = 1_000
_FOR_EVER = 2**31 - 1

#: What every job on Flink is given, unless told otherwise. A slice of the source comes back only when its bundle ends,
#: so Flink's own second would leave partitions unread; and each bundle costs worker and task manager, so
#: much shorter ones cost more than they bring.
_ALWAYS = {"max_bundle_time_mills": "100", "execution_retry_delay": "10000"}
_STREAM = {
    **_ALWAYS,
    "checkpointing_interval": "10000",
    "finish_bundle_before_checkpointing": None,
    "number_of_execution_retries": str(_FOR_EVER),
    # A bucket that does not answer keeps a bundle, and with it a checkpoint, from ending: that is no reason to restart.
    "checkpoint_timeout_millis": "900000",
    # A new job can go on from the last one of a job that has ended, however it did.
    "externalized_checkpoints_enabled": None,
    "retain_externalized_checkpoints_on_cancellation": None,
}
#: With an end, there is nobody who ends the sources; no checkpoint completes behind that, so a failure starts anew.
_BOUNDED = {**_ALWAYS, "shutdown_sources_after_idle_ms": "0", "number_of_execution_retries": "3"}


class RunnerConfig(Protocol):
    """What the runner must know of a run; configurations of backups and of restores are such."""

    @property
    def runner(self) -> str:
        """Its name."""
        ...

    @property
    def streaming(self) -> bool:
        """Whether the run has no end."""
        ...

    @property
    def beam_args(self) -> tuple[str, ...]:
        """Options of Beam and the runner."""
        ...

    @property
    def log_format(self) -> str:
        """How workers log."""
        ...


def runner_options(config: RunnerConfig, name: str, parallelism: int | None = None) -> list[str]:
    """The options that the runner gets: those of the command line, and ours where that has none."""
    given = given_options(config.beam_args)
    ours = _ours(config, parallelism)
    ours |= {"streaming": None, "job_name": name, "runner": config.runner}
    if "environment_type" not in given:
        ours |= {"environment_type": "PROCESS", "environment_config": json.dumps({"command": str(_worker_command())})}
    words = [*config.beam_args, *_words({key: value for key, value in ours.items() if key not in given})]
    # Beside those that are given.
    return [*words, f"--beam_plugins={WORKER_LOG}"] if config.log_format == "json" else words


def what_is_set(config: RunnerConfig, parallelism: int | None = None) -> str:
    """The options of the runner that decide on speed and safety, as the job has them, on a line."""
    given = given_options(config.beam_args)
    shown = {key: given.get(key, value) or None for key, value in _ours(config, parallelism).items()}
    return " ".join(_words(shown))


def subtasks_of_a_worker(config: RunnerConfig, parallelism: int) -> int:
    """How many subtasks of a stage one worker process may work for, and so share its memory budget among."""
    return -(-parallelism // workers_of_a_task_manager(config))


def workers_of_a_task_manager(config: RunnerConfig) -> int:
    """How many worker processes a task manager has for the job."""
    return int(given_options(config.beam_args).get("sdk_worker_parallelism", "1"))


def _ours(config: RunnerConfig, parallelism: int | None) -> dict[str, str | None]:
    ours: dict[str, str | None] = dict(_STREAM if config.streaming else _BOUNDED)
    return ours if parallelism is None else {"parallelism": str(parallelism), **ours}


def _words(options: Mapping[str, str | None]) -> list[str]:
    return [f"--{key}" if value is None else f"--{key}={value}" for key, value in options.items()]


def given_options(beam_args: Sequence[str]) -> dict[str, str]:
    """The runner's options on the command line, by name; flags have an empty value."""
    found: dict[str, str] = {}
    for word, behind in zip_longest(beam_args, beam_args[1:], fillvalue="--"):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = value if equals or behind.startswith("--") else behind
    return found


def problems(beam_args: Sequence[str], *, streaming: bool) -> list[str]:
    """Sentences about options of the runner that lose data, or that keep checkpoints from completing."""
    given = given_options(beam_args)
    found: list[str] = []
    if "job_name" in given:
        found.append("--job_name: the job is found again by the name that it gives itself. Leave it out.")
    if "environment_type" not in given and not _worker_command().exists():
        found.append(
            f"there is no {_worker_command()}, which task managers would start as worker: install the package there "
            "with pip, or say with --environment_type and --environment_config how workers are started."
        )
    found += [
        f"--{name}={given[name]}: not a number from 1 on."
        for name in ("parallelism", "sdk_worker_parallelism")
        if name in given and not (given[name].isdecimal() and int(given[name]) > 0)
    ]
    if not streaming:
        return found
    if not given.get("flink_master") or given["flink_master"].startswith("["):
        found.append(
            "--streaming needs --flink_master=http://HOST:8081, the job manager's REST interface: by it the job is "
            "watched and stopped."
        )
    if "shutdown_sources_after_idle_ms" in given:
        found.append(
            "--shutdown_sources_after_idle_ms: no checkpoint completes behind that, so nothing would ever be "
            "acknowledged, and a failure would read all again. Leave it out."
        )
    if given.get("num_concurrent_checkpoints", "1") != "1":
        found.append(
            "--num_concurrent_checkpoints: what is acknowledged is known to be covered only where checkpoints come one "
            "after the other. Leave it out."
        )
    interval = given.get("checkpointing_interval")
    if interval is not None and not (interval.isdecimal() and int(interval) >= _LEAST_INTERVAL):
        found.append(
            f"--checkpointing_interval={interval}: must be {_LEAST_INTERVAL} (milliseconds) or more; without "
            "checkpoints a failure would read all again, and nothing would be acknowledged."
        )
    return found


def _worker_command() -> Path:
    """The worker's command, beside the Python that runs."""
    return Path(sys.executable).with_name(WORKER)
