"""Ctrl-C and SIGTERM: the process says where it stopped, and ends.

A run may be killed at any moment: what it has stored is whole, and nothing is acknowledged that is not stored. So there
is nothing to be brought to an end first, and nothing to wait for: neither for a bucket that does not answer, nor for
the runner's threads.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from pipelines import logs

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_GRACE_SECONDS = 0.5
#: Whoever passes signals on may do so twice at once, to the process and to its group: that is one.
_TWICE_SECONDS = 0.25


def _at_first() -> str:
    return "before anything was read; nothing was stored or acknowledged. Run it again."


_lock = threading.Lock()
_where: Callable[[], str] = _at_first
_before_the_end: list[Callable[[str, int], object]] = []
_result: int | None = None
_wakeup: socket.socket | None = None


def listen() -> None:
    """From now on Ctrl-C ends this process with exit code 130, SIGTERM with 143; for the main thread.

    A second signal ends it even where the first one waits for somebody to read stderr. Calling again changes nothing.
    """
    global _wakeup
    if _wakeup is not None:
        return
    hearing, _wakeup = socket.socketpair()
    _wakeup.setblocking(False)
    first: SimpleQueue[int] = SimpleQueue()
    # Not in the main thread, which hears nothing while it waits for an answer inside a library.
    threading.Thread(target=_hear, args=(hearing, first), name="signals", daemon=True).start()
    threading.Thread(target=_end, args=(first,), name="end", daemon=True).start()
    signal.set_wakeup_fd(_wakeup.fileno(), warn_on_full_buffer=False)
    for number in _WORDS:
        signal.signal(number, lambda *_: None)


def stands(where: Callable[[], str] = _at_first) -> None:
    """Set the end of the sentence that begins with "interrupted" and says where the run stands from now on."""
    global _where  # noqa: PLW0603 - signals are a matter of the process
    _where = where


@contextmanager
def ended_by(action: Callable[[str, int], object]) -> Iterator[None]:
    """While the body runs, do this before a signal ends the process, such as giving the terminal back.

    It is called with the sentence that the process ends with, and its exit code.
    """
    _before_the_end.append(action)
    try:
        yield
    finally:
        _before_the_end.remove(action)


@contextmanager
def unbroken(code: int) -> Iterator[None]:
    """The body gives out the result, which no signal breaks off; a signal behind it ends the process with ``code``."""
    global _result  # noqa: PLW0603 - signals are a matter of the process
    with _lock:
        yield
        _result = code


def _hear(hearing: socket.socket, first: SimpleQueue[int]) -> None:
    heard: tuple[int, float] | None = None
    while True:
        (number,) = hearing.recv(1)
        now = time.monotonic()
        if number not in _WORDS:
            continue
        if heard is None:
            heard = number, now
            first.put(number)
        elif number != heard[0] or now > heard[1] + _TWICE_SECONDS:
            time.sleep(_GRACE_SECONDS)  # the sentence is still being written
            os._exit(128 + number)


def _end(first: SimpleQueue[int]) -> None:
    number = first.get()
    with _lock:
        if _result is not None:
            os._exit(_result)
        with contextlib.suppress(Exception):  # a terminal or a pipe that is gone must not keep the process
            sentence = f"{_WORDS[signal.Signals(number)]} {_where()}"
            logs.hush()
            for action in reversed(_before_the_end):
                action(sentence, 128 + number)
            logs.tell(sentence, 128 + number)
        os._exit(128 + number)
