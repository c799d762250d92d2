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
from typing import Any, Final

import orjson

from transforms.files.codecs import Compressor
from transforms.files.pieces import Pieces
from transforms.pulsar.messages import PulsarMessage

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


@dataclass(frozen=True, slots=True)
class JsonLinesFormat:
    """Runs of lines, each run a gzip member or zstd frame of its own if compressed."""

    compressor: Compressor
    extension: str = "jsonl"

    def block(self, records: Pieces, count: int) -> Pieces:
        """See `FileFormat.block`."""
        return self.compressor.compress(records)
