"""Seconds from publish to upload, of a stream on Flink while messages come at a fixed rate.

From each message's publish time, as it is in the stored file, to the moment at which the COS server had stored it.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro

from benchmarks.speed.servers import Broker, StoredObject, cos_process
from tests.pipelines.streams import Stream
from transforms.files.naming import parse_name
from transforms.testing.flink_workers import Flink

GRANULARITY_SECONDS = 10
_DISORDER = "2s"
_OPTIONS = (
    f"--granularity={GRANULARITY_SECONDS}s",
    f"--allowed_disorder={_DISORDER}",
    "--checkpointing_interval=10000",
)
#: Longer than a stream takes from its first message to an even pace.
_WARM_UP_SECONDS = 10.0
_LIMIT_SECONDS = 300.0
_numbers = itertools.count(1)
_FULL, _WHOLE = "files of at most 5,000 messages", "files as large as their window"
BEHIND = f"{_WHOLE}, behind its end"


@dataclass(frozen=True)
class Late:
    """How late one file was, in seconds."""

    of_messages: list[float]
    """From each message's publish time on."""
    behind_its_window: float
    """From the end of its window on; negative for files that were full before."""


def measure(broker: Broker, flink: Flink, rate: float, seconds: float) -> dict[str, Any]:
    """Run two streams in turn, one that cuts full files and one that does not. Gives what ``tables.latency`` shows."""
    full, first = _run(broker, flink, rate, seconds, ())
    whole, second = _run(broker, flink, rate, seconds, ("--max_file_messages=999999",))
    return {
        "wanted_rate": rate,
        "rate": min(first, second),
        "lasted": seconds,
        "allowed_disorder": _DISORDER,
        "seconds": {
            _FULL: told([late for each in full for late in each.of_messages]),
            _WHOLE: told([late for each in whole for late in each.of_messages]),
            BEHIND: told([each.behind_its_window for each in whole]),
        },
    }


def told(seconds: Sequence[float]) -> dict[str, Any]:
    """Quantiles, and how many values there were. Raises ValueError if there was none."""
    if not seconds:
        raise ValueError("nothing was stored behind the warm-up: let it send for longer")
    ordered = sorted(seconds)
    at = statistics.quantiles(ordered, n=100, method="inclusive") if len(ordered) > 1 else ordered * 99
    return {"p50": at[49], "p99": at[98], "max": ordered[-1], "count": len(ordered)}


def _run(broker: Broker, flink: Flink, rate: float, seconds: float, options: Sequence[str]) -> tuple[list[Late], float]:
    """How late its files were; and messages a second, as they were sent."""
    topic = broker.new_topic(f"latency-{next(_numbers)}")
    with cos_process() as cos, tempfile.TemporaryDirectory() as folder:
        argv = [f"--service_url={broker.service_url}", f"--admin_url={broker.admin_url}", f"--topic={topic}"]
        argv += [*cos.options, "--subscription=latency", "--format=avro", "--codec=null"]
        stream = Stream(flink, argv, Path(folder))
        try:
            stream.start(*_OPTIONS, *options)
            # Where workers start while messages come, they begin with what has gathered.
            stream.until(lambda: bool(stream.workers()))
            command = [sys.executable, "-m", "benchmarks.speed.fixed_rate", broker.service_url, topic]
            began = time.time()
            sent = subprocess.run([*command, str(rate), str(seconds)], check=True, stdout=subprocess.PIPE, text=True)
            words = sent.stdout.split()
            count, rate = int(words[0]), int(words[0]) / float(words[1])
            stream.until(lambda: sum(each.messages for each in cos.stored()) >= count, timeout=_LIMIT_SECONDS)
        finally:
            stream.close()
        found = [_late(each, since=began + _WARM_UP_SECONDS) for each in cos.stored()]
        return [late for late in found if late is not None], rate


def _late(stored: StoredObject, since: float) -> Late | None:
    """None for a file that begins before ``since``."""
    name = parse_name(stored.key.rpartition("/")[2])
    assert name is not None
    with stored.path.open("rb") as file:
        times = [record["publish_time"].timestamp() for record in fastavro.reader(file)]
    if times[0] < since:
        return None
    end = name.window / 1000 + name.granularity
    return Late([stored.stored - each for each in times], stored.stored - end)
