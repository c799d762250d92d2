"""``serve`` and its runs by a clock that goes faster: ``python -m tests.pipelines.rules.fast_service WORDS``.

The environment holds ``FAST_CLOCK``: a moment of this machine's clock and the one that it stands for, in seconds since
1970, how many times faster it goes, and how long leases last, in real seconds.
"""

from __future__ import annotations

from pipelines import signals

if __name__ == "__main__":
    signals.listen()

import os
import sys
import time
from datetime import datetime, timezone

from pipelines import logs
from pipelines.rules import child
from pipelines.rules.processes import Launch
from pipelines.rules.serve import Service
from pipelines.rules.store import RuleStore

VARIABLE = "FAST_CLOCK"
_CHILD = (sys.executable, "-m", __spec__.name if __spec__ is not None else __name__, "child")


class FastClock:
    """Tells the time of schedules."""

    def __init__(self, text: str) -> None:
        self._real, self._told, self.speed, self.lease_seconds = map(float, text.split())

    def __call__(self) -> datetime:
        seconds = self._told + (time.time() - self._real) * self.speed
        return datetime.fromtimestamp(seconds, timezone.utc)


def main(words: list[str]) -> None:
    clock = FastClock(os.environ[VARIABLE])
    store = RuleStore(clock=clock, lease_seconds=clock.lease_seconds)
    if words[0] == "child":
        sys.exit(child.main(words[1:], store))
    logs.set_up("INFO", "text", client=False)
    service = Service(store, Launch(command=_CHILD), clock=clock, poll_seconds=0.1)
    signals.stands(lambda: "while serving")
    with signals.ended_by(lambda *_: service.stop()):
        service.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
