"""What a process costs: time, processor, and the most memory that it held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Linux counts what the parent holds when it starts a child as the child's own peak: so a small process starts it, as
# /usr/bin/time does. It adopts what its descendants leave behind (36 is PR_SET_CHILD_SUBREAPER) and waits for it: what
# nobody waits for, such as the server of multiprocessing's forkserver, counts nowhere.
_START = """
import ctypes, glob, json, os, resource, subprocess, sys, time

def descendants(pid):
    for path in glob.glob("/proc/%s/task/*/children" % pid):
        with open(path) as file:
            for child in file.read().split():
                yield child
                yield from descendants(child)

def share(pid):
    with open("/proc/%s/smaps_rollup" % pid) as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:")), 0)

def together():
    total = count = 0
    for pid in descendants(os.getpid()):
        try:
            total += share(pid)
            count += 1
        except (OSError, StopIteration):
            pass
    return total if count > 1 else 0

def held():
    try:
        return together()
    except OSError:
        return 0

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
began = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
most = 0
while process.poll() is None:
    most = max(most, held())
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        pass
seconds = time.monotonic() - began
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
used = resource.getrusage(resource.RUSAGE_CHILDREN)
peak = used.ru_maxrss * 1024
print("\\n" + json.dumps([process.returncode, seconds, used.ru_utime + used.ru_stime, peak, max(most, peak)]))
"""


@dataclass(frozen=True)
class Cost:
    """What a process has cost, from start to end, with all that it started."""

    code: int
    """Exit code; negative: the signal that ended it."""
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Largest resident size of one process, as ``/usr/bin/time -v`` tells it."""
    peak_of_all_bytes: int
    """Largest size of all processes at a time, pages that they share counted once; looked at five times a second."""
    errors: str
    """Its standard error."""


def measure(command: Sequence[str], environment: Mapping[str, str] = os.environ, *, seconds: float = 600) -> Cost:
    """Run a command, and all that it starts, to the end.

    Raises TimeoutExpired, having killed what is in its session, if that takes longer than ``seconds``.
    """
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
    code, took, cpu_seconds, peak, peak_of_all = json.loads(output.splitlines()[-1])
    return Cost(code, took, cpu_seconds, peak, peak_of_all, errors)
