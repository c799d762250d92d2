"""Where a message came from, in properties of its own names; they also tell how far a restore has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from transforms.files.decode import Record, partition_of, position_of
from transforms.pulsar.positions import Position

TOPIC: Final = "tdmq-backup-topic"
MESSAGE_ID: Final = "tdmq-backup-message-id"
PUBLISH_TIME: Final = "tdmq-backup-publish-time"
PRODUCER: Final = "tdmq-backup-producer"
RESTORE: Final = "tdmq-backup-restore"
NAMES: Final = (TOPIC, MESSAGE_ID, PUBLISH_TIME, PRODUCER, RESTORE)


def with_origin(record: Record, restore: str) -> dict[str, str]:
    """The properties of a message, and its origin.

    A property that has one of the names already, of a message that had been restored before, is kept under the name
    with ``-1``, ``-2`` and so on behind it, the oldest first.
    """
    properties = dict(record["properties"])
    ours = {
        TOPIC: partition_of(record).name,
        MESSAGE_ID: str(position_of(record)),
        PUBLISH_TIME: str(record["publish_time"]),
        RESTORE: restore,
    }
    if record["producer_name"] is not None:
        ours[PRODUCER] = record["producer_name"]
    for name in NAMES:
        if name in properties:
            number = 1
            while f"{name}-{number}" in properties:
                number += 1
            properties[f"{name}-{number}"] = properties.pop(name)
    return properties | ours


def origin_of(properties: Mapping[str, str], restore: str) -> tuple[str, Position] | None:
    """Partition and place that a message of this restore came from; None for any other message."""
    if properties.get(RESTORE) != restore:
        return None
    ledger, entry, batch = map(int, properties[MESSAGE_ID].split(":"))
    return properties[TOPIC], Position(ledger, entry, batch)
