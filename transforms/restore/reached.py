"""How far a restore has come, read from the target itself."""

from __future__ import annotations

from transforms.errors import SourceError
from transforms.pulsar.client import connect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import partition_ends
from transforms.pulsar.messages import ClientMessage, TopicPartition
from transforms.pulsar.positions import EARLIEST, Position
from transforms.restore.origin import RESTORE, origin_of

#: Seconds for a message that the broker says to hold.
_PATIENCE = 10.0


def reached_of(
    connection: PulsarConnection, target: TopicPartition, restore: str, source: str, after: Position | None = None
) -> Position | None:
    """The original place of the last message that came from ``source`` by this restore; None where there is none.

    Reads the partition from ``after`` on, an entry that is known to hold one, to its end. Raises SourceError and
    AccessError.
    """
    if partition_ends(connection, target).behind_last is None:
        return None
    reader = connect(connection).open_reader(target, after or EARLIEST)
    reached: Position | None = None
    try:
        while reader.has_next():
            message = reader.next(_PATIENCE)
            if message is None:
                raise SourceError(f"{target.name}: the broker holds a message, and does not send it. Try again.")
            found = _origin(message, restore)
            if found is not None and found[0] == source and (reached is None or found[1] > reached):
                reached = found[1]
    finally:
        reader.close()
    return reached


def last_restore(connection: PulsarConnection, target: TopicPartition) -> tuple[bool, str | None]:
    """Whether a partition holds any message, and of which restore the last one is. Raises SourceError, AccessError."""
    behind = partition_ends(connection, target).behind_last
    if behind is None:
        return False, None
    reader = connect(connection).open_reader(target, Position(behind.ledger, behind.entry - 1))
    restore = None
    empty = True
    try:
        while reader.has_next():
            message = reader.next(_PATIENCE)
            if message is None:
                break
            empty = False
            try:
                restore = message.properties().get(RESTORE)
            except UnicodeDecodeError:
                restore = None
    finally:
        reader.close()
    return not empty, restore


def _origin(message: ClientMessage, restore: str) -> tuple[str, Position] | None:
    try:
        return origin_of(message.properties(), restore)
    except (UnicodeDecodeError, KeyError, ValueError):
        return None
