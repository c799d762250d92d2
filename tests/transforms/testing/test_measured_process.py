"""What a process costs, with all that it has started."""

from __future__ import annotations

import sys

from transforms.testing.measured_process import measure

MB = 10**6
BUSY = """
import time
held = b"x" * {size}
while time.process_time() < {seconds}:
    pass
"""
ORPHANS = """
import subprocess, sys
for _ in range(2):
    subprocess.Popen([sys.executable, "-S", "-c", {child!r}], start_new_session=True)
"""


def test_a_child_that_nobody_waits_for_is_counted():
    child = BUSY.format(size=50 * MB, seconds=0.5)
    cost = measure([sys.executable, "-S", "-c", ORPHANS.format(child=child)])
    assert cost.code == 0
    assert cost.cpu_seconds >= 1.0
    assert 50 * MB < cost.peak_bytes < 90 * MB


def test_processes_at_a_time_are_added_up():
    child = BUSY.format(size=50 * MB, seconds=1.0)
    both = ORPHANS.format(child=child) + "import time; time.sleep(1)"
    cost = measure([sys.executable, "-S", "-c", both])
    assert cost.peak_bytes < 90 * MB < 100 * MB < cost.peak_of_all_bytes


def test_processes_of_a_forkserver_are_counted(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, time\n\n"
        "def work():\n"
        "    while time.process_time() < 0.5:\n"
        "        pass\n\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('forkserver')\n"
        "    started = [context.Process(target=work) for _ in range(2)]\n"
        "    for each in started:\n"
        "        each.start()\n"
        "    for each in started:\n"
        "        each.join()\n"
    )
    cost = measure([sys.executable, str(script)])
    assert (cost.code, cost.errors) == (0, "")
    assert cost.cpu_seconds >= 1.0
