"""Consoles for what a person reads."""

from __future__ import annotations

import os
from functools import partial

from rich.console import Console


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
