"""Ways to read that run on this machine without Flink: the loop, our job, and one element a message."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.speed.measurements import Spent
from benchmarks.speed.processes import used
from benchmarks.speed.servers import SECRETS, Broker, cos_process
from transforms.testing.measured_process import measure

_SECONDS = 3600.0
FOLDER, COS = "folder", "COS"


def run_loop(broker: Broker, payload: int, count: int) -> Spent:
    """The yardstick."""
    topic = broker.topic(payload, count)
    return _run(broker, count, ["benchmarks.speed.bare_loop", broker.service_url, topic])


def run_newcomer(broker: Broker, payload: int, count: int) -> Spent:
    """One element a message."""
    topic = broker.topic(payload, count)
    with tempfile.TemporaryDirectory() as folder:
        return _run(broker, count, ["benchmarks.newcomer", broker.service_url, topic, folder])


def run_job(broker: Broker, payload: int, count: int, options: Sequence[str], place: str) -> Spent:
    """Our job, to a place that is deleted again."""
    topic = broker.topic(payload, count)
    command = ["pipelines.backup", f"--service_url={broker.service_url}", f"--topic={topic}", "--log_level=ERROR"]
    with ExitStack() as stack:
        if place == COS:
            cos = stack.enter_context(cos_process())
            spent = _run(broker, count, [*command, *options, *cos.options], lambda: used(cos.pid).own)
            stored = sum(each.messages for each in cos.stored())
            if stored != count:
                raise SystemExit(f"{count:,} messages were sent, and {stored:,} are stored.")
            return spent
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        return _run(broker, count, [*command, *options, f"--destination=file://{folder}/"])


def _run(broker: Broker, count: int, command: Sequence[str], other_server: object = None) -> Spent:
    before = broker.cpu_seconds
    cost = measure([sys.executable, "-m", *command], {**os.environ, **SECRETS}, seconds=_SECONDS)
    if cost.code:
        raise SystemExit(f"{' '.join(command)} failed with exit code {cost.code}:\n{cost.errors}")
    servers = broker.cpu_seconds - before + (other_server() if callable(other_server) else 0.0)
    return Spent(count, cost.seconds, cost.cpu_seconds, servers, cost.peak_bytes, cost.peak_of_all_bytes)
