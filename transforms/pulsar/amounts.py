"""How much the broker holds of a stretch of a partition, as admin REST tells."""

from __future__ import annotations

from typing import NamedTuple

from transforms.errors import SourceError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.positions import Position
from transforms.pulsar.restriction import PartitionRange


class Amount(NamedTuple):
    """Of what lies in a stretch."""

    entries: int
    """Producer batches and single messages."""
    bytes: int
    """As the broker stores them; about, where only a part of a ledger is in the stretch."""


def amount(admin: PulsarAdmin, each: PartitionRange) -> Amount:
    """How much there is between its start and its stop. Raises SourceError and AccessError, as the interface does."""
    found = admin.internal_stats(each.partition)
    ledgers = found.get("ledgers")
    if not ledgers:
        raise SourceError("--admin_url does not know the topic. Does it belong to the cluster of --service_url?")
    if not ledgers[-1]["entries"]:
        # Of the ledger that is written to, the list tells nothing.
        ledgers[-1] |= {"entries": found["currentLedgerEntries"], "size": found["currentLedgerSize"]}
    entries = size = 0
    stop = last_entry(each.stop).next_entry()
    for ledger in ledgers:
        number, length = ledger["ledgerId"], ledger["entries"]
        if each.start.ledger <= number <= stop.ledger and length:
            begin = each.start.entry if number == each.start.ledger else 0
            end = min(stop.entry, length) if number == stop.ledger else length
            entries += max(end - begin, 0)
            size += ledger["size"] * max(end - begin, 0) // length
    return Amount(entries, size)


def last_entry(stop: Position) -> Position:
    """The last entry of which something lies before ``stop``."""
    return Position(stop.ledger, stop.entry if stop.batch else stop.entry - 1)
