"""``python -m pipelines.rules.child RUN_ID``: one run that the service has claimed, in a process of its own.

It goes on when the service is gone: its lease and its record are its own business, and nobody need read its stderr.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before what takes seconds to load.
    from pipelines import signals

    signals.listen()

import io
import sys
from collections.abc import Sequence
from typing import Any

from pipelines import logs, signals
from pipelines.rules.configure import RunOptions
from pipelines.rules.perform import perform
from pipelines.rules.store import RuleStore
from transforms.errors import BackupError


def main(argv: Sequence[str], store: RuleStore | None = None) -> int:
    """Make the run; ``argv`` is its id, the form and the level of its log. Gives the exit code."""
    run_id, form, level = argv
    outlive_reader()
    logs.set_up(level, form)
    try:
        store = store or RuleStore()
        code, _ = perform(store, store.run(run_id), RunOptions(log_level=level, log_format=form))
    except BackupError as error:
        logs.tell(str(error), error.exit_code)
        code = error.exit_code
    with signals.unbroken(code):
        logs.finish()
        sys.stderr.flush()
    return code


def outlive_reader() -> None:
    """From now on a stderr that nobody reads any more takes what is written, and drops it."""
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Lasting(2, "w", closefd=False)), sys.stderr.encoding, "backslashreplace", line_buffering=True
    )


class _Lasting(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
