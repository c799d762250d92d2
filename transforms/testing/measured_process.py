"""What a process costs: time, processor, and the most memory that it held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Linux counts what the parent holds when it starts a child as the child's own peak: so a small process starts it, as
# /usr/bin/time does.
_START = """
import json, os, resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, check=False).returncode
seconds = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("\\n" + json.dumps([code, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""


@dataclass(frozen=True)
class Cost:
    """What a process has cost, from start to end."""

    code: int
    """Exit code; negative: the signal that ended it."""
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Largest resident size, as ``/usr/bin/time -v`` tells it."""
    errors: str
    """Its standard error."""


def measure(command: Sequence[str], environment: Mapping[str, str] = os.environ, *, seconds: float = 600) -> Cost:
    """Run a command to its end. Raises TimeoutExpired, having killed it, if that takes longer than ``seconds``."""
    with subprocess.Popen(  # noqa: S603 - the caller's own command
        [sys.executable, "-I", "-S", "-c", _START, *command],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except BaseException:
            os.killpg(process.pid, 9)
            raise
    code, took, cpu_seconds, peak_bytes = json.loads(output.splitlines()[-1])
    return Cost(code, took, cpu_seconds, peak_bytes, errors)
