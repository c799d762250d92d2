"""The encoder of Avro envelopes: the bytes of many records at once.

It does what ``fastavro.schemaless_writer`` does with the envelope, many times faster, because it knows the schema: what
is the same for a batch or for an entry is encoded once, and all else a column at a time, by loops that run in C. The
tests hold it against fastavro.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import repeat
from typing import Any, Final

from transforms.files.avro import (
    LOW_BYTES,
    LOW_MASK,
    LOW_SIZE,
    NULL,
    container_header,
    encode_bytes,
    encode_long,
    encode_map,
    encode_optional_bytes,
    encode_optional_long,
    encode_optional_text,
    encode_record,
    encode_text,
    high_bytes,
)
from transforms.files.columns import Column, RareError, encode_all, entries_of, join_rows, rows_in_pieces
from transforms.files.envelope import LONG_LIMIT, envelope_schema
from transforms.files.format import EncodedRecords
from transforms.files.pieces import Body, are_large
from transforms.pulsar.message_fields import Properties, fields_of
from transforms.pulsar.messages import MessageBatch

#: Lengths and batch indexes are nearly always below this.
_SMALL: Final = 4096
# The last place, which Python reaches with the index -1, holds -1: the batch index outside a producer batch.
_LONG: Final = [*map(encode_long, range(_SMALL)), encode_long(-1)]
# The same behind the index of the second branch of ["null", T].
_SOME_LONG: Final = [*map(encode_optional_long, range(_SMALL))]
# The first two bytes of a long that is not negative, where others follow, as the second branch of ["null", "long"].
_SOME_LOW_BYTES: Final = [_SOME_LONG[0][:1] + low for low in LOW_BYTES]

_NO_ENCRYPTION_ALL_READABLE: Final = b"\x00\x00"


class AvroEncoder:
    """Envelopes with the payload as bytes: one lane, and nothing is ever quarantined."""

    def __init__(self, codec: str) -> None:
        self._header = container_header(envelope_schema(), codec)

    def encode(self, batch: MessageBatch) -> list[EncodedRecords]:
        """See `RecordEncoder.encode`."""
        if not batch.messages:
            return []
        return [EncodedRecords("", self._header, encode_batch(batch))]


def encode_batch(batch: MessageBatch) -> list[Body]:
    """Encode one record for each message, equal to ``encode_record`` of ``read_message``."""
    return encode_all(batch, _encode_columns, encode_record)


def _encode_columns(batch: MessageBatch) -> list[Body]:
    messages, payloads = batch.messages, batch.columns.payloads
    fields = fields_of(messages)
    heads, times, producers = _of_entries(batch)
    columns: list[Column] = [
        heads,
        [_LONG[index] if index < _SMALL else encode_long(index) for index in batch.columns.indexes],
        times,
        *_events(fields.event_times),
        _optional_texts(fields.keys),
        _optional_texts(fields.ordering_keys),
        *_maps(fields.properties),
        producers,
        [
            _SOME_LONG[size] if 0 < size < _SMALL else _length(size, message)
            for size, message in zip(map(len, payloads), messages, strict=True)
        ],
        payloads,
        _NO_ENCRYPTION_ALL_READABLE,
    ]
    return (rows_in_pieces if are_large(payloads) else join_rows)(columns, len(messages))


def _of_entries(batch: MessageBatch) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """What messages of one entry share: the beginning, publish time and producer."""
    prefix = encode_text(batch.partition.topic) + encode_long(batch.partition.index)
    heads: list[bytes] = []
    times: list[bytes] = []
    producers: list[bytes] = []
    for message, run in entries_of(batch):
        producer = _producer(message.producer_name(), message.int_schema_version())
        heads += repeat(prefix + encode_long(run.ledger) + encode_long(run.entry), run.messages)
        times += repeat(encode_long(run.publish_time), run.messages)
        producers += repeat(producer, run.messages)
    return heads, times, producers


@lru_cache(maxsize=1024)
def _producer(name: str, version: int) -> bytes:
    return encode_optional_text(name or None) + encode_optional_long(version if version >= 0 else None)


def _events(times: list[int]) -> list[Column]:
    latest, earliest = max(times), min(times)
    if latest >= LONG_LIMIT:
        raise RareError
    if not latest:
        return [NULL]
    high = latest >> LOW_SIZE
    if high and earliest >> LOW_SIZE == high:
        # Six bytes, of which the upper four change every eight seconds.
        return [[_SOME_LOW_BYTES[time & LOW_MASK] for time in times], high_bytes(high)]
    return [
        [
            _SOME_LOW_BYTES[time & LOW_MASK] + high_bytes(time >> LOW_SIZE)
            if time >> LOW_SIZE
            else encode_optional_long(time or None)
            for time in times
        ]
    ]


def _optional_texts(texts: list[bytes]) -> Column:
    encoded = {text: encode_optional_bytes(text or None) for text in set(texts)}
    if len(encoded) == 1:
        return encoded[texts[0]]
    return map(encoded.__getitem__, texts)


def _maps(properties: Properties | list[dict[str, str]]) -> list[Column]:
    if isinstance(properties, list):
        return [map(encode_map, properties)]
    if not properties.names:
        return [NULL]
    columns: list[Column] = [encode_long(len(properties.names))]
    for name, texts in zip(properties.names, properties.columns, strict=True):
        columns += (encode_text(name), *_texts(texts))
    return [*columns, NULL]


def _texts(texts: list[bytes]) -> list[Column]:
    if texts.count(texts[0]) == len(texts):
        return [encode_bytes(texts[0])]
    return [[_LONG[size] if size < _SMALL else encode_long(size) for size in map(len, texts)], texts]


def _length(size: int, message: Any) -> bytes:
    if size:
        return encode_optional_long(size)
    return NULL if message.has_null_value() else encode_optional_bytes(b"")
