"""``python -m pipelines.local_workers.host CONTROL WORKER…``: the process that forks the workers of a run.

The words are file descriptors, sockets to the process of the run: one of its own, and one for each worker.
It ends when its workers have ended; when the process of the run is gone, it kills them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NoReturn

from pipelines.local_workers.told import Ended, Order
from pipelines.local_workers.worker import work


def main(argv: Sequence[str]) -> None:
    """Fork, and wait."""
    control, *ends = (Connection(int(word)) for word in argv)
    try:
        order: Order = control.recv()
    except EOFError:  # the run has ended while this process was loading
        return
    # What is loaded stays, and is shared among the workers as long as nobody writes to it.
    gc.collect()
    gc.freeze()
    workers: dict[int, int] = {}
    for number, end in enumerate(ends):
        pid = os.fork()
        if pid == 0:
            control.close()
            for other in ends[number + 1 :]:
                other.close()
            _work(order, number, end)
        end.close()
        workers[pid] = number
    threading.Thread(target=_end_with, args=(control, workers), name="run", daemon=True).start()
    while workers:
        pid, status = os.wait()
        number = workers.pop(pid)
        with contextlib.suppress(OSError):
            control.send(Ended(number, pid, os.waitstatus_to_exitcode(status)))


def _work(order: Order, number: int, end: Connection) -> NoReturn:
    try:
        work(order, order.shares[number], end)
    except BaseException:  # what keeps it from telling the run, and from ending itself
        traceback.print_exc()
    os._exit(1)


def _end_with(control: Connection, workers: dict[int, int]) -> None:
    """Kill the workers when the process of the run has closed its end, or is gone."""
    with contextlib.suppress(EOFError, OSError):
        control.recv()
    for pid in list(workers):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
