"""Objects of a backup, read back into records.

A record is a dict with the names of the envelope in their order, as Avro has it: bytes are bytes, times are
milliseconds, what is absent is None. What JSON lines leave out is there, and the payload is bytes again. With
``--payload=value`` the names in the place of ``payload`` are ``value``, perhaps ``key_value``, as JSON has them (see
``datum.py``).
"""

from __future__ import annotations

import io
import re
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from operator import itemgetter
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
#: What stands in the place of a payload with ``--payload=value``.
_VALUES: Final = ("key_value", "value")
_BEFORE_PAYLOAD: Final = FIELDS[: FIELDS.index("payload")]
_BEHIND_PAYLOAD: Final = FIELDS[FIELDS.index("payload") + 1 :]
_PAYLOADS: Final = (bytes, type(None))
_AROUND_PAYLOAD: Final = itemgetter(*_BEFORE_PAYLOAD, *_BEHIND_PAYLOAD)


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
    return (record for record, _ in _line_records(pieces, extension, name, seen=seen))


def read_with_values(pieces: Iterable[bytes], extension: str, name: str) -> Iterator[tuple[Record, dict[str, bytes]]]:
    """As ``read_records``, and beside each record what stands in its file for ``value`` and ``key_value``.

    Of Avro that is their encoding, with the place of the branch before it; of JSON lines, their text. Records with a
    payload have neither; but one that is nested as JSON stands there as ``payload``: its text, or empty bytes where
    another tool than ours has written the line anew, and that text is lost.
    """
    if extension == "avro":
        return _avro_values(Container(pieces, name), name)
    return _line_records(pieces, extension, name, values_of=_texts_beside)


def position_of(record: Record) -> Position:
    """Where the message stood in its partition."""
    return Position(record["ledger_id"], record["entry_id"], max(record["batch_index"], 0))


def partition_of(record: Record) -> TopicPartition:
    """The partition that the message was in."""
    return TopicPartition(record["topic"], record["partition"])


class _NoMessageError(ValueError):
    """What was decoded is no message in its envelope."""


def _checked(record: Any) -> Record:
    """Give the record if what it holds has the types of the envelope. Raises _NoMessageError.

    One expression over local names: this is done for every record that is read.
    """
    try:
        (
            topic, partition, ledger, entry, index, published, event,
            key, ordering, properties, producer, version, encryption, unreadable,
        ) = _AROUND_PAYLOAD(record)  # fmt: skip
        if (
            type(topic) is str
            and type(partition) is type(ledger) is type(entry) is type(index) is type(published) is int
            and (event is None or type(event) is int)
            and (key is None or type(key) is str)
            and (ordering is None or type(ordering) is str)
            and type(properties) is dict
            and (not properties or {*map(type, properties.values())} == {str})
            and (producer is None or type(producer) is str)
            and (version is None or type(version) is int)
            and (encryption is None or type(encryption) is dict)
            and (unreadable is None or type(unreadable) is list)
            and type(record.get("payload")) in _PAYLOADS
        ):
            return record  # type: ignore[no-any-return]
    except (KeyError, TypeError):
        pass
    msg = "its fields are not those of a message"
    raise _NoMessageError(msg)


def _avro_records(container: Container, name: str, seen: Callable[[bytes], object]) -> Iterator[Record]:
    try:
        datum = _strict(schema_text(container.schema).decode())
    except (SchemaError, ValueError) as error:
        raise DamagedError(f"{name} is damaged: the schema in its header is none ({error}).") from None
    # Parsed once: else fastavro does it for every record.
    plain = fastavro.parse_schema(_without_logical_types(container.schema)) if datum is None else None
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
                    yield _checked(record)
        except _NoMessageError as error:
            raise DamagedError(f"{name} is damaged: block {number} holds no message ({error}).") from None
        except (MisfitError, ValueError, EOFError, IndexError, TypeError, OverflowError) as error:
            raise DamagedError(f"{name} is damaged: block {number} does not fit its schema ({error}).") from None
        if place != len(block.records):
            raise DamagedError(f"{name} is damaged: block {number} holds more than its {block.messages} records.")


def _avro_values(container: Container, name: str) -> Iterator[tuple[Record, dict[str, bytes]]]:
    fields = container.schema.get("fields") if isinstance(container.schema, dict) else None
    fields = fields if isinstance(fields, list) else []
    if not any(isinstance(field, dict) and field.get("name") in _VALUES for field in fields):
        yield from ((record, {}) for record in _avro_records(container, name, lambda _: None))
        return
    try:
        datums = [(field["name"], Datum(field["type"])) for field in fields]
    except (SchemaError, KeyError, TypeError) as error:
        raise DamagedError(f"{name} is damaged: the schema in its header is none ({error}).") from None
    for number, block in enumerate(container.blocks()):
        place = 0
        try:
            for _ in range(block.messages):
                record: Record = {}
                values = {}
                for field, datum in datums:
                    before = place
                    record[field], place = datum.read_at(block.records, before)
                    if field in _VALUES:
                        values[field] = block.records[before:place]
                yield _checked(record), values
        except _NoMessageError as error:
            raise DamagedError(f"{name} is damaged: block {number} holds no message ({error}).") from None
        except MisfitError as error:
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
    pieces: Iterable[bytes],
    extension: str,
    name: str,
    *,
    seen: Callable[[bytes], object] = lambda _: None,
    values_of: Callable[[Record, bytes], dict[str, bytes]] = lambda record, line: {},
) -> Iterator[tuple[Record, dict[str, bytes]]]:
    for number, line in enumerate(_lines(_told(_decompressed(pieces, extension, name), seen), name), 1):
        try:
            record = orjson.loads(line)
            values = values_of(record, line)
            yield _checked(_with_bytes(record, line)), values
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{name} is damaged: line {number} is no record ({error}).") from None


def _told(pieces: Iterable[bytes], seen: Callable[[bytes], object]) -> Iterator[bytes]:
    for piece in pieces:
        seen(piece)
        yield piece


def _texts_beside(record: Record, line: bytes) -> dict[str, bytes]:
    if "payload" not in record:
        return _member_texts(line)
    if record.get("payload_base64") is not None or isinstance(record["payload"], str | None):
        return {}
    return {"payload": _nested_text(record, line) or b""}


def _member_texts(line: bytes) -> dict[str, bytes]:
    """What stands behind ``value`` and ``key_value`` in an object that is valid JSON, to the byte."""
    found: dict[str, bytes] = {}
    depth, name, begin, text = 0, "", 0, b""
    for token in _TOKENS.finditer(line):
        mark = token[0]
        if mark[:1] == b'"':
            text = mark
        elif mark in b"{[":
            depth += 1
        elif depth == 1 and mark == b":":
            name, begin = orjson.loads(text), token.end()
        elif depth == 1 and mark in b",}":
            if name in _VALUES:
                found[name] = line[begin : token.start()]
            depth -= mark == b"}"
        elif mark in b"}]":
            depth -= 1
    return found


_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


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
        payload = _nested_text(record, line) or orjson.dumps(payload)
    behind = {name: record.get(name) for name in _BEHIND_PAYLOAD}
    reason = {"reason": record["reason"]} if "reason" in record else {}
    return {**before, "payload": payload, **behind, **reason}


def _nested_text(record: Record, line: bytes) -> bytes | None:
    """The text of a payload that is nested as JSON, where our own encoder wrote the line; else None.

    What stands before it is written again, and has the same length; only line breaks within it have become blanks.
    """
    head = orjson.dumps({name: record[name] for name in _BEFORE_PAYLOAD})[:-1] + b',"payload":'
    behind = {name: record[name] for name in _BEHIND_PAYLOAD if name in record}
    tail = b"," + orjson.dumps(behind)[1:] if behind else b"}"
    return line[len(head) : -len(tail)] if line.startswith(head) and line.endswith(tail) else None
