"""How far a restore has come, read from the target itself."""

from __future__ import annotations

from collections.abc import Iterator

from transforms.errors import SourceError
from transforms.pulsar.client import connect, start_of
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import partition_ends
from transforms.pulsar.entries import stored_entries
from transforms.pulsar.messages import ClientMessage, TopicPartition
from transforms.pulsar.positions import EARLIEST, Position
from transforms.restore.origin import RESTORE, origin_of

#: Seconds for a message that the broker says to hold.
_PATIENCE = 3.0
#: Entries at the end of a partition that are looked at; the last message may consist of several.
_LAST_ENTRIES = 8


def reached_of(
    connection: PulsarConnection, target: TopicPartition, restore: str, source: str, after: Position | None = None
) -> Position | None:
    """The original place of the last message that came from ``source`` by this restore; None where there is none.

    Reads the partition from ``after`` on, an entry that is known to hold one, to its end. Raises SourceError and
    AccessError.
    """
    reached: Position | None = None
    for message in _messages(connection, target, after or EARLIEST):
        found = _origin(message, restore)
        if found is not None and found[0] == source and (reached is None or found[1] > reached):
            reached = found[1]
    return reached


def last_restore(connection: PulsarConnection, target: TopicPartition) -> tuple[bool, str | None]:
    """Whether a partition holds any message, and of which restore the last one is. Raises SourceError, AccessError."""
    behind = partition_ends(connection, target).behind_last
    if behind is None:
        return False, None
    restore = None
    for message in _messages(connection, target, Position(behind.ledger, max(behind.entry - _LAST_ENTRIES, 0))):
        try:
            restore = message.properties().get(RESTORE)
        except UnicodeDecodeError:
            restore = None
    return True, restore


def _messages(connection: PulsarConnection, target: TopicPartition, start: Position) -> Iterator[ClientMessage]:
    """The messages from a place to the end there is now."""
    if partition_ends(connection, target).behind_last is None:
        return
    reader = connect(connection).open_reader(target, start)
    last: Position | None = None
    try:
        while reader.has_next():
            message = reader.next(_PATIENCE)
            if message is None:
                # Chunks whose last one never came: an attempt was broken off in the middle of a large message.
                left = stored_entries(connection, target, start if last is None else last.next_entry())
                if any(each.chunks == 1 for each in left):
                    raise SourceError(f"{target.name}: the broker holds messages, and does not send them. Try again.")
                return
            last = start_of(message)
            yield message
    finally:
        reader.close()


def _origin(message: ClientMessage, restore: str) -> tuple[str, Position] | None:
    try:
        return origin_of(message.properties(), restore)
    except (UnicodeDecodeError, KeyError, ValueError):
        return None
