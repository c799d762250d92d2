"""The lease of a run, kept as long as the run lasts; a process that cannot keep it ends before another may begin."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines import logs
from pipelines.rules.errors import LeaseLostError
from pipelines.rules.store import RuleStore
from transforms.errors import BackupError

#: A lease is renewed so many times before it expires.
_RENEWALS = 4
_WATCH_SECONDS = 0.5

_log = logging.getLogger("pipelines.rules")


@contextmanager
def kept(store: RuleStore, run_id: str, progress: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Renew the lease of a run while the body runs, with what ``progress`` gives for its record.

    Ends the process at once, with exit code 1, where the lease is lost; and shortly before it expires, where the store
    refuses, or does not answer at all. Raises LeaseLostError and StoreError where it cannot be renewed to begin with.
    """
    keeper = _Keeper(store, run_id, progress)
    keeper.renew_once()
    threads = [threading.Thread(target=each, name="lease", daemon=True) for each in (keeper.renew, keeper.watch)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        keeper.ended.set()
        # Who renews may wait for a store that does not answer; who watches sees to it that this has an end.
        threads[0].join()
        keeper.renewing_ended.set()
        threads[1].join()


class _Keeper:
    def __init__(self, store: RuleStore, run_id: str, progress: Callable[[], dict[str, Any]]) -> None:
        self.ended = threading.Event()
        self.renewing_ended = threading.Event()
        self._store = store
        self._run_id = run_id
        self._progress = progress
        self._renewed = 0.0

    def renew_once(self) -> None:
        asked = time.monotonic()
        self._store.renew(self._run_id, **self._progress())
        self._renewed = asked

    def renew(self) -> None:
        while not self.ended.wait(self._store.lease_seconds / _RENEWALS):
            try:
                self.renew_once()
            except LeaseLostError as error:
                if not self.ended.is_set():
                    _give_up(str(error))
            except BackupError as error:
                _log.warning("%s The run goes on for as long as its lease lasts.", error)

    def watch(self) -> None:
        while not self.renewing_ended.wait(_WATCH_SECONDS):
            if time.monotonic() - self._renewed > self._store.lease_seconds * (1 - 1 / _RENEWALS / 2):
                _give_up(
                    f"The lease of run {self._run_id} could not be renewed: the store does not answer, or refuses. The "
                    "run ends before another may begin; what it stored stays."
                )


def _give_up(sentence: str) -> None:
    logs.tell(sentence, BackupError.exit_code)
    os._exit(BackupError.exit_code)
