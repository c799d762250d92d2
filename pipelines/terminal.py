"""Stdout and stderr, where a person or a program reads them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial

from rich.console import Console

from pipelines import logs


def console(*, stderr: bool = False, piped_width: int | None = None) -> Console:
    """Stdout or stderr; ``piped_width`` columns wide in a file or a pipe. Names of topics are no markup.

    Nothing has colours or weights where NO_COLOR is set (https://no-color.org) or the terminal is dumb.
    """
    made = partial(
        Console,
        stderr=stderr,
        # Rich itself leaves out colours alone.
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        markup=False,
        emoji=False,
        highlight=False,
    )
    found = made()
    return found if found.is_terminal else made(width=piped_width)


def reader_is_gone() -> bool:
    """Whether whoever read stdout has stopped, as ``head`` does: then no more need be written."""
    return getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "reader_is_gone", False)


def give_out(write: Callable[[], None], *, done: str) -> int:
    """Call what writes a result to stdout; gives the exit code, 0 or 1.

    A result that nobody reads is no error, and one that does not fit on a disk is: a sentence on stderr says so, which
    begins with what is ``done`` all the same. What of the result is not written then never will be.
    """
    try:
        write()
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # the second is Rich's way to say the first
        code = 0
    except OSError as error:
        logs.tell(
            f"{done}, but its result could not be written to stdout ({error.strerror}). Mend that and run it again for "
            "the result: nothing is stored twice.",
            1,
        )
        code = 1
    else:
        return 0
    # What is still buffered must go somewhere when the process ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
