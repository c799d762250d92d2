r"""JSON lines: one object a message, with the names of the Avro record in their order, and ``\n`` behind it.

Times are integer milliseconds. The payload stands in one of two places:

- ``payload``: the text, if the bytes are valid UTF-8; null for a tombstone. With ``--payload=json`` an object, an
  array, a number or a boolean stands there as JSON, its numbers written as they came. A JSON string or ``null`` stays
  text, quotes and all, so that the bytes of a message can always be told from what is written: a string is the text
  of the payload itself, anything else is the payload.
- ``payload_base64``: the bytes, if they are not UTF-8. ``payload`` is null then.

Other bytes (those of ``encryption``) are base64 too.

Nulls are written, because every reader takes its columns from what it sees: a file without a single event time still
has a column ``event_time``. Only ``payload_base64``, ``encryption`` and ``unreadable`` are left out where they do not
apply. They are so rare that DuckDB may see nothing but nulls while it samples (20,480 rows); it then reads the rest
of such a column as NULL without a word [measured, 2.0], but says so when a column is missing. For exact types give it
``columns={...}`` or ``sample_size=-1``.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from transforms.files.codecs import Compressor
from transforms.files.envelope import LONG_LIMIT, UNREADABLE_ERROR, read_message
from transforms.files.format import EncodedRecords
from transforms.pulsar.messages import MessageBatch, PulsarMessage

#: Readers stop at some depth (DuckDB 2.0 at 128, orjson and pandas at 1024); a payload above this one stays text.
MAX_DEPTH: Final = 100
_ORJSON_DEPTH: Final = 1024


def base64_text(data: bytes) -> str:
    """Encode as standard base64 with padding, on one line."""
    return b2a_base64(data, newline=False).decode()


def nested_json(payload: bytes) -> bytes | None:
    r"""Return the payload as it can stand inside a line, or None if it has to stay text.

    Numbers keep their text, and keys their order, even twice the same one. Only ``\n`` and ``\r`` become blanks: JSON
    allows them between tokens alone. Not nested: strings and null (see above), what is not JSON (NaN, a trailing
    comma), and JSON that common readers refuse, which would spoil the whole file for them: numbers beyond the range
    of doubles such as 1e400, halves of surrogate pairs, nesting deeper than ``MAX_DEPTH``.
    """
    if payload[:1] in (b'"', b"n"):
        return None
    nested = nested_value(payload)
    return None if nested is None or nested.lstrip()[:1] in (b'"', b"n") else nested


def nested_value(payload: bytes) -> bytes | None:
    """Return any JSON, strings and null too, as it can stand inside a line; None if it cannot. See `nested_json`."""
    try:
        orjson.loads(payload)
    except (ValueError, RecursionError):
        return None
    if is_too_deep(payload):
        return None
    if b"\n" in payload or b"\r" in payload:
        return payload.replace(b"\n", b" ").replace(b"\r", b" ")
    return payload


def is_too_deep(valid: bytes) -> bool:
    """Tell whether JSON has more than ``MAX_DEPTH`` objects and arrays inside one another."""
    if valid.count(b"[") + valid.count(b"{") <= MAX_DEPTH:
        return False
    around = _ORJSON_DEPTH - MAX_DEPTH
    try:
        orjson.loads(b"[" * around + valid + b"]" * around)
    except (ValueError, RecursionError):
        return True
    return False


def payload_members(payload: bytes | None, *, nest: bool, name: str = "payload") -> dict[str, Any]:
    """Return the members ``payload`` and, for bytes that are not UTF-8, ``payload_base64``."""
    if payload is None:
        return {name: None}
    if nest and (nested := nested_json(payload)) is not None:
        return {name: orjson.Fragment(nested)}
    try:
        return {name: payload.decode()}
    except UnicodeDecodeError:
        return {name: None, f"{name}_base64": base64_text(payload)}


def json_encryption(encryption: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field ``encryption`` as JSON has it, its bytes as base64."""
    keys = {
        name: {"value": base64_text(key["value"]), "metadata": key["metadata"]}
        for name, key in encryption["keys"].items()
    }
    return {**encryption, "keys": keys, "parameter": base64_text(encryption["parameter"])}


def encode_record(
    message: PulsarMessage, content: Mapping[str, Any], trailing: Mapping[str, Any] | None = None
) -> bytes:
    """Encode one line from a message that was already read, with ``content`` in the place of the payload."""
    record: dict[str, Any] = {
        "topic": message.topic,
        "partition": message.partition,
        "ledger_id": message.ledger_id,
        "entry_id": message.entry_id,
        "batch_index": message.batch_index,
        "publish_time": message.publish_time,
        "event_time": message.event_time,
        "key": message.key,
        "ordering_key": message.ordering_key,
        "properties": message.properties,
        "producer_name": message.producer_name,
        "schema_version": message.schema_version,
        **content,
    }
    if message.encryption is not None:
        record["encryption"] = json_encryption(message.encryption)
    if message.unreadable is not None:
        record["unreadable"] = message.unreadable
    if trailing:
        record.update(trailing)
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def encode_batch(batch: MessageBatch, *, nest: bool) -> list[bytes]:
    """Encode one line for each message, equal to ``encode_record`` of ``read_message``.

    Like its sister in ``avro.py``: the loop that every message goes through. Two calls of orjson for each message,
    the rest is kept while messages share an entry.
    """
    dumps = orjson.dumps
    join = b"".join
    partition = batch.partition
    prefix = dumps({"topic": partition.topic, "partition": partition.index})[:-1]
    lines: list[bytes] = []
    append = lines.append
    entry_of_head: tuple[int, int, int] | None = None
    head = time = producer = b""
    encrypted = False
    for message, message_id, publish_time in zip(batch.messages, batch.ids, batch.publish_times, strict=True):
        try:
            ledger_id, entry_id, index = message_id
            if entry_of_head != (ledger_id, entry_id, publish_time):
                entry_of_head = None  # stays so if a call below fails
                version = message.int_schema_version()
                of_entry = {
                    "producer_name": message.producer_name() or None,
                    "schema_version": version if version >= 0 else None,
                }
                producer = b",%b" % dumps(of_entry)[1:-1]
                head = b'%b,"ledger_id":%d,"entry_id":%d,"batch_index":' % (prefix, ledger_id, entry_id)
                time = b',"publish_time":%d,' % publish_time
                encrypted = message.encryption_context() is not None
                entry_of_head = (ledger_id, entry_id, publish_time)
            event_time = message.event_timestamp()
            if encrypted or event_time >= LONG_LIMIT:
                append(_slowly(batch, message_id, publish_time, message, nest=nest))
                continue

            of_message = {
                "event_time": event_time or None,
                "key": message.partition_key() or None,
                "ordering_key": message.ordering_key() or None,
                "properties": message.properties(),
            }
            payload = message.data()
            if nest and (nested := nested_json(payload)) is not None:
                content = nested
            elif not payload and message.has_null_value():
                content = b"null"
            else:
                try:
                    content = dumps(payload.decode())
                except UnicodeDecodeError:
                    content = b'null,"payload_base64":"%b"' % b2a_base64(payload, newline=False)
            append(
                join(
                    (
                        head,
                        b"%d" % index,
                        time,
                        dumps(of_message)[1:-1],
                        producer,
                        b',"payload":',
                        content,
                        b"}\n",
                    )
                )
            )
        except (UNREADABLE_ERROR, orjson.JSONEncodeError):
            append(_slowly(batch, message_id, publish_time, message, nest=nest))
    return lines


def _slowly(
    batch: MessageBatch, message_id: tuple[int, int, int], publish_time: int, message: Any, *, nest: bool
) -> bytes:
    read = read_message(message, batch.partition, message_id, publish_time)
    return encode_record(read, payload_members(read.payload, nest=nest))


@dataclass(frozen=True, slots=True)
class JsonLinesFormat:
    """Runs of lines, each run a gzip member or zstd frame of its own if compressed."""

    compressor: Compressor
    extension: str = "jsonl"

    def block(self, records: bytes, count: int) -> bytes:
        """See `FileFormat.block`."""
        return self.compressor.compress(records)


class JsonLinesEncoder:
    """Envelopes with the payload as text, JSON or base64: one lane, and nothing is ever quarantined."""

    def __init__(self, payload: Literal["bytes", "json"]) -> None:
        self._nest = payload == "json"

    def encode(self, batch: MessageBatch) -> list[EncodedRecords]:
        """See `RecordEncoder.encode`."""
        if not batch.messages:
            return []
        lines = encode_batch(batch, nest=self._nest)
        return [EncodedRecords("", b"", b"".join(lines), list(map(len, lines)))]
