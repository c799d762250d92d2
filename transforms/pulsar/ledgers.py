"""What the broker has deleted while a partition is read.

A broker deletes whole ledgers, the oldest first, and a reader that stood in one goes on in the next without a word. So
whenever a ledger ends, it is looked whether it is still there. If it is, then so is all that follows. If it is not, the
admin interface may have told before how long it was; who has none knows only that messages may be missing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from transforms.errors import BackupError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.entries import first_entry
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that the broker has deleted before they could be read: from ``start`` up to before ``stop``."""

    partition: TopicPartition
    start: Position
    stop: Position
    certain: bool = True
    """False where there may have been no message at all: without admin access nobody tells."""

    @property
    def fields(self) -> dict[str, str | bool]:
        """What is logged of it for a program; the names are documented in the README, and a contract."""
        start, stop = str(self.start), str(self.stop)
        return {"partition": self.partition.name, "start": start, "stop": stop, "certain": self.certain}

    def __str__(self) -> str:
        what = "messages have been deleted" if self.certain else "messages may have been deleted"
        return f"{self.partition.name}: {what} by the broker before they were read, from {self.start} to {self.stop}"


class Ledgers:
    """The ledgers of one partition, as far as they are known."""

    def __init__(self, connection: PulsarConnection, partition: TopicPartition) -> None:
        self._connection = connection
        self._partition = partition
        self._admin = PulsarAdmin(connection) if connection.admin_url else None
        self._lengths: dict[int, int] = {}
        """Entries of the ledgers that are closed, deleted ones too."""
        self._open = -1
        """The ledger that was being written to at the last look."""

    def look(self) -> None:
        """Ask the admin interface, if there is one, how long the ledgers are. Call it when a ledger is begun."""
        if self._admin is None:
            return
        try:
            found = self._admin.internal_stats(self._partition).get("ledgers", [])
        except BackupError as error:
            _log.warning("%s: a deleted ledger will be noticed, and not how long it was: %s", self._partition, error)
            return
        if found:
            self._lengths |= {ledger["ledgerId"]: ledger["entries"] for ledger in found[:-1]}
            self._open = found[-1]["ledgerId"]

    def gap(self, start: Position, stop: Position) -> Gap | None:
        """What was deleted between ``start``, not yet read, and ``stop``, before which there were messages.

        To be called when what is still there of that stretch has been seen. Asks the broker; raises as it does.
        """
        first = first_entry(self._connection, self._partition)
        if first is not None and first.ledger <= start.ledger:
            return None
        in_a_batch = start.batch > 0  # which may have ended there
        if start.ledger == stop.ledger:
            unread = Position(start.ledger, start.entry + in_a_batch)
            return Gap(self._partition, start, stop) if unread < stop else None
        behind = stop if first is None else min(first, stop)
        length = self._lengths.get(start.ledger)
        if length is not None:
            between = (entries for ledger, entries in self._lengths.items() if start.ledger < ledger < behind.ledger)
            if start.entry + in_a_batch < length or any(between):
                return Gap(self._partition, start, behind)
            if behind.ledger <= self._open and not (in_a_batch and start.entry < length):
                return None
        return Gap(self._partition, start, behind, certain=False)
