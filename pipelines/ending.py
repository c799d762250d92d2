"""How a job that is a process ends: what is said of an error, and with which exit code."""

from __future__ import annotations

import gc
import logging
import sys
from typing import NoReturn

from pipelines import logs, signals
from transforms.errors import BackupError

_log = logging.getLogger("pipelines.backup")


def explained(error: Exception) -> tuple[str, int]:
    """What a person is told of an error that ended a run, a line for each sentence; and the exit code."""
    if isinstance(error, BackupError):
        return str(error), error.exit_code
    _log.debug("the run failed", exc_info=error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = (
        f"unexpected {type(error).__name__}: {lines[-1] if lines else 'no more is known'}. This is a defect: run again "
        "with --log_level=DEBUG and report what it prints."
    )
    return said, BackupError.exit_code


def tell(error: Exception) -> int:
    """Say on stderr why a run has failed; gives the exit code."""
    said, code = explained(error)
    for line in said.splitlines():
        logs.tell(line, code)
    return code


def end_process(code: int) -> NoReturn:
    """End a process that has heard of no signal until now; what it has logged is given out first."""
    with signals.unbroken(code):
        logs.finish()
        sys.stderr.flush()
    gc.freeze()  # else Python looks for cycles in all that Beam has loaded, for nothing
    sys.exit(code)
