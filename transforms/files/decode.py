"""Objects of a backup, read back into records.

A record is a dict with the names of the envelope in their order, as Avro has it: bytes are bytes, times are
milliseconds, what is absent is None. What JSON lines leave out is there, and the payload is bytes again. With
``--payload=value`` the names in the place of ``payload`` are ``value``, perhaps ``key_value``, as JSON has them (see
``datum.py``).
"""

from __future__ import annotations

import io
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import fastavro
import orjson
import zstandard

from transforms.errors import DamagedError
from transforms.files.avro import schema_text
from transforms.files.avro_container import Container
from transforms.files.avro_primitives import MisfitError
from transforms.files.datum import Datum, SchemaError
from transforms.files.envelope import FIELDS, envelope_schema, quarantine_field
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

Record = dict[str, Any]

_LONGEST_LINE: Final = 2**30
_BEFORE_PAYLOAD: Final = FIELDS[: FIELDS.index("payload")]
_BEHIND_PAYLOAD: Final = FIELDS[FIELDS.index("payload") + 1 :]


def read_records(
    pieces: Iterable[bytes], extension: str, name: str, *, seen: Callable[[bytes], object] = lambda _: None
) -> Iterator[Record]:
    """Give the records of an object in order.

    ``pieces`` is its content, ``extension`` the end of its name (``avro``, ``jsonl``, ``jsonl.gz``, ``jsonl.zst``),
    ``name`` what errors call it. ``seen`` is told of the encoded records, uncompressed, piece by piece: together they
    are what ``records-crc64`` in the metadata is of. Memory: one block, or one line. Raises DamagedError where the
    content is not what the extension says, records before the damage having been given.
    """
    if extension == "avro":
        return _avro_records(Container(pieces, name), name, seen)
    return _line_records(pieces, extension, name, seen)


def position_of(record: Record) -> Position:
    """Where the message stood in its partition."""
    return Position(record["ledger_id"], record["entry_id"], max(record["batch_index"], 0))


def partition_of(record: Record) -> TopicPartition:
    """The partition that the message was in."""
    return TopicPartition(record["topic"], record["partition"])


def _avro_records(container: Container, name: str, seen: Callable[[bytes], object]) -> Iterator[Record]:
    try:
        datum = _strict(schema_text(container.schema).decode())
    except (SchemaError, ValueError) as error:
        raise DamagedError(f"{name} is damaged: the schema in its header is none ({error}).") from None
    plain = _without_logical_types(container.schema)
    for number, block in enumerate(container.blocks()):
        seen(block.records)
        try:
            if datum is None:
                stream = io.BytesIO(block.records)
                for _ in range(block.messages):
                    yield fastavro.schemaless_reader(stream, plain, None)  # type: ignore[misc]
                place = stream.tell()
            else:
                place = 0
                for _ in range(block.messages):
                    record, place = datum.read_at(block.records, place)
                    yield record
        except (MisfitError, ValueError, EOFError, IndexError, TypeError, OverflowError) as error:
            raise DamagedError(f"{name} is damaged: block {number} does not fit its schema ({error}).") from None
        if place != len(block.records):
            raise DamagedError(f"{name} is damaged: block {number} holds more than its {block.messages} records.")


@lru_cache(maxsize=64)
def _strict(schema: str) -> Datum | None:
    """For a topic's own schema, of which nothing is known, the strict reader; None where fastavro is safe to use.

    fastavro ends the process on a deep value of a recursive schema.
    """
    return None if schema in _ENVELOPES else Datum(orjson.loads(schema))


_ENVELOPES: Final = frozenset(
    schema_text(schema).decode() for schema in (envelope_schema(), envelope_schema(trailing=(quarantine_field(),)))
)


def _without_logical_types(schema: Any) -> Any:
    """The same encoding, with values as they are encoded: a time may be no date of any calendar."""
    if isinstance(schema, list):
        return [_without_logical_types(branch) for branch in schema]
    if isinstance(schema, dict):
        return {name: _without_logical_types(value) for name, value in schema.items() if name != "logicalType"}
    return schema


def _line_records(
    pieces: Iterable[bytes], extension: str, name: str, seen: Callable[[bytes], object]
) -> Iterator[Record]:
    for number, line in enumerate(_lines(_told(_decompressed(pieces, extension, name), seen), name), 1):
        try:
            record = orjson.loads(line)
            yield _with_bytes(record, line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{name} is damaged: line {number} is no record ({error}).") from None


def _told(pieces: Iterable[bytes], seen: Callable[[bytes], object]) -> Iterator[bytes]:
    for piece in pieces:
        seen(piece)
        yield piece


def _decompressed(pieces: Iterable[bytes], extension: str, name: str) -> Iterator[bytes]:
    if extension == "jsonl":
        yield from pieces
        return
    make = _gzip_member if extension == "jsonl.gz" else zstandard.ZstdDecompressor().decompressobj
    inflate: Any = None
    for piece in pieces:
        rest = piece
        while rest:
            if inflate is None:
                inflate = make()
            try:
                yield inflate.decompress(rest)
            except (zlib.error, zstandard.ZstdError) as error:
                raise DamagedError(f"{name} is damaged: it cannot be decompressed ({error}).") from None
            rest = inflate.unused_data if inflate.eof else b""
            inflate = None if inflate.eof else inflate
    if inflate is not None:
        raise DamagedError(f"{name} is damaged: it ends too early.")


def _gzip_member() -> Any:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _lines(pieces: Iterable[bytes], name: str) -> Iterator[bytes]:
    rest: list[bytes] = []
    held = 0
    for piece in pieces:
        *lines, last = piece.split(b"\n")
        if lines:
            yield b"".join((*rest, lines[0]))
            yield from lines[1:]
            rest, held = [], 0
        rest.append(last)
        held += len(last)
        if held > _LONGEST_LINE:
            raise DamagedError(f"{name} is damaged: a line has no end.")
    if any(rest):
        raise DamagedError(f"{name} is damaged: its last line has no end.")


def _with_bytes(record: Record, line: bytes) -> Record:
    if record.get("encryption") is not None:
        keys = {
            key: {"value": b64decode(each["value"], validate=True), "metadata": each["metadata"]}
            for key, each in record["encryption"]["keys"].items()
        }
        parameter = b64decode(record["encryption"]["parameter"], validate=True)
        record["encryption"] = {**record["encryption"], "keys": keys, "parameter": parameter}
    before = {name: record[name] for name in _BEFORE_PAYLOAD}
    if "payload" not in record:  # the value of a topic's schema
        return {**record, **{name: record.get(name) for name in _BEHIND_PAYLOAD}}
    payload, encoded = record["payload"], record.get("payload_base64")
    if encoded is not None:
        payload = b64decode(encoded, validate=True)
    elif isinstance(payload, str):
        payload = payload.encode()
    elif payload is not None:
        payload = _nested(before, record, line)
    behind = {name: record.get(name) for name in _BEHIND_PAYLOAD}
    reason = {"reason": record["reason"]} if "reason" in record else {}
    return {**before, "payload": payload, **behind, **reason}


def _nested(before: Record, record: Record, line: bytes) -> bytes:
    """The text of a payload that is nested as JSON, to the byte where our own encoder wrote the line.

    What stands before it is written again, and has the same length; only line breaks within it have become blanks.
    """
    head = orjson.dumps(before)[:-1] + b',"payload":'
    behind = {name: record[name] for name in _BEHIND_PAYLOAD if name in record}
    tail = b"," + orjson.dumps(behind)[1:] if behind else b"}"
    if line.startswith(head) and line.endswith(tail):
        return line[len(head) : -len(tail)]
    return orjson.dumps(record["payload"])
