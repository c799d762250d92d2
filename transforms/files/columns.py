"""Many records at once, a column at a time: by loops that run in C instead of one in Python for every message.

What is the same in all records of a batch, or in those of an entry, is encoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Final

from transforms.files.envelope import UNREADABLE_ERROR, read_message
from transforms.files.pieces import Body, Pieces, pieces_of
from transforms.pulsar.message_columns import EntryRun
from transforms.pulsar.messages import ClientMessage, MessageBatch, PulsarMessage

#: A piece of each record; or one piece of all of them, where it is the same in all.
Column = Iterable[Body] | bytes

#: A batch that holds what is rare is halved until it is as small as this; then its messages are taken one by one.
_FEW: Final = 4


class RareError(Exception):
    """The batch holds what only the slow way can encode: an encrypted message, an event time beyond 63 bits."""


def encode_all(
    batch: MessageBatch,
    encode_columns: Callable[[MessageBatch], list[Body]],
    encode_one: Callable[[PulsarMessage], bytes],
) -> list[Body]:
    """Encode one record for each message of a batch that is not empty, equal to ``encode_one`` of ``read_message``.

    ``encode_columns`` raises RareError or UNREADABLE_ERROR where it cannot; then that message, and few around it, are
    encoded one by one.
    """
    try:
        return encode_columns(batch)
    except (UNREADABLE_ERROR, RareError):
        count = len(batch.messages)
    if count <= _FEW:
        partition = batch.partition
        return [
            encode_one(read_message(message, partition, message_id, publish_time))
            for message, message_id, publish_time in zip(batch.messages, batch.ids, batch.publish_times, strict=True)
        ]
    return [
        record
        for part in ((0, count // 2), (count // 2, count))
        for record in encode_all(
            MessageBatch(batch.partition, batch.columns.part(*part), batch.time),
            encode_columns,
            encode_one,
        )
    ]


def join_rows(columns: Sequence[Column], count: int) -> list[Body]:
    """Join the pieces of each of ``count`` records, all of them bytes. At least one column is not constant."""
    records: list[Body] = list(map(b"".join, _rows(columns)))  # type: ignore[arg-type]
    assert len(records) == count  # noqa: S101 - what is missing would be lost
    return records


def join_rows_of_pieces(columns: Sequence[Column], count: int) -> list[Body]:
    """The same, where some are not bytes but several pieces."""
    records: list[Body] = [b"".join(chain.from_iterable(map(pieces_of, row))) for row in _rows(columns)]
    assert len(records) == count  # noqa: S101 - as above
    return records


def rows_in_pieces(columns: Sequence[Column], count: int) -> list[Body]:
    """The records where some pieces are large: these stay as they are, and are not copied."""
    records: list[Body] = [Pieces.joined(map(pieces_of, row)) for row in _rows(columns)]
    assert len(records) == count  # noqa: S101 - as above
    return records


def _rows(columns: Sequence[Column]) -> Iterator[tuple[Body, ...]]:
    rows: list[Iterable[Body]] = []
    constant = b""
    for column in columns:
        if isinstance(column, bytes):
            constant += column
            continue
        if constant:
            rows.append(repeat(constant))
            constant = b""
        rows.append(column)
    if constant:
        rows.append(repeat(constant))
    return zip(*rows, strict=False)  # constant pieces have no end


def entries_of(batch: MessageBatch) -> Iterator[tuple[ClientMessage, EntryRun]]:
    """The entries of a batch, each with its first message.

    Messages of one entry share publish time, producer, schema version and encryption (PulsarApi.proto,
    MessageMetadata). Raises RareError where an entry is encrypted.
    """
    begin = 0
    for run in batch.columns.entries:
        yield _plain(batch.messages[begin]), run
        begin += run.messages


def _plain(message: ClientMessage) -> ClientMessage:
    if message.encryption_context() is not None:
        raise RareError
    return message
