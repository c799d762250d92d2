"""Where the CPU time of the job goes: py-spy's samples of each thread, Python's and native frames.

The kernel tells what each thread has used; samples split that. What is spent once, at the start and the end, is told
apart. See ``attribution`` for what belongs to what.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.attribution import NOT_ATTRIBUTED, START, attribute, parse
from benchmarks.speed.processes import of_threads, used
from benchmarks.speed.servers import SECRETS, Broker
from benchmarks.speed.ways import FORMATS, WORKERS

#: Formats of which a profile is made.
PROFILED = ("Avro, no codec", "Avro, zstandard", "JSON lines, no codec")
#: Each sample walks the native frames of all threads, while they stand still.
_SAMPLES_PER_SECOND = "50"
_EVERY = 0.05


def profiled(broker: Broker, name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Run the job once, into a folder, under the profiler. Gives microseconds of CPU for each message by category."""
    payload, count = size
    topic = broker.topic(payload, count)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "samples")
        spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--threads", "--native", "--format=raw"]
        spy += [f"--rate={_SAMPLES_PER_SECOND}", f"--output={raw}", "--"]
        job = [sys.executable, "-m", "pipelines.backup", f"--service_url={broker.service_url}", f"--topic={topic}"]
        job += [f"--destination=file://{folder}/backup/", "--log_level=ERROR", WORKERS(1), *FORMATS[name]]
        cpu, whole = _watched([*spy, *job])
        stacks = [parse(line) for line in raw.read_text().splitlines()]
    seconds = attribute(stacks, cpu, whole)
    start = seconds.pop(START)
    each = {what: 1e6 * spent / count for what, spent in seconds.items()}
    return {
        "messages": count,
        "microseconds": each,
        "start_cpu": start,
        "not_attributed": each[NOT_ATTRIBUTED] / sum(each.values()),
    }


def _watched(command: list[str]) -> tuple[dict[int, float], float]:
    """Run the profiler. Gives CPU seconds of each thread of the process that it starts, and of all of that."""
    cpu: dict[int, float] = {}
    whole = 0.0
    with tempfile.TemporaryFile() as log:
        spy = subprocess.Popen(command, env={**os.environ, **SECRETS}, stdout=log, stderr=subprocess.STDOUT)
        while spy.poll() is None:
            for pid in _children(spy.pid):
                cpu |= of_threads(pid)
                whole = max(whole, used(pid).own)
            time.sleep(_EVERY)
        if spy.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)}:\n{log.read().decode()}")
    return cpu, whole


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in path.read_text().split()]
        except OSError:
            continue  # it has ended meanwhile
    return found
