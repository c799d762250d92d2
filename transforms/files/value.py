"""``--payload=value``: records that hold the value of a message under its topic's own schema.

In the place of ``payload`` stands ``value``, and for KEY_VALUE schemas ``key_value`` before it, by Pulsar's type:

==================  =================================================  ===================================
AVRO                the payload itself, once it is proven to fit       JSON as in ``datum.py``
JSON                Avro, from the JSON, under the schema's Avro form  the payload, once it is proven to fit
STRING … DOUBLE     Avro's string, int, long, float, double, boolean   the same
dates and times     see ``PRIMITIVE_TYPES``                            the same numbers
all others          bytes                                              as ``payload`` and ``payload_base64``
==================  =================================================  ===================================

PROTOBUF and PROTOBUF_NATIVE stay bytes: decoding them takes their descriptors. So does JSON whose definition is not
Avro (Pulsar 2.0 wrote JSON Schema). In Avro the field is a union with null, for tombstones.

Lanes: ``v`` and six digits of the schema version, ``vnone`` for messages without one, and ``quarantine`` for messages
whose payload does not fit, or whose schema is not there: the whole envelope with the payload as bytes, and ``reason``.
An encrypted payload cannot be decoded and goes there, too. Whether a message fits depends on it and its schema alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from transforms.files import avro, jsonl
from transforms.files.avro_primitives import MisfitError
from transforms.files.content import Content, bytes_content, content_of
from transforms.files.envelope import envelope_schema, quarantine_field, read_message
from transforms.files.format import EncodedRecords
from transforms.files.pieces import Body
from transforms.pulsar.messages import MessageBatch, PulsarMessage
from transforms.pulsar.schemas import Schemas

NO_VERSION_LANE: Final = "vnone"
QUARANTINE_LANE: Final = "quarantine"


def lane_of(version: int | None) -> str:
    """Return the lane of a schema version; Pulsar counts them from 0."""
    return NO_VERSION_LANE if version is None else f"v{version:06d}"


@dataclass(slots=True)
class _Lane:
    header: bytes
    records: list[Body] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)


class ValueEncoder:
    """Encodes values; asks for a schema once for each topic and version."""

    def __init__(self, file_format: Literal["avro", "jsonl"], codec: str, schemas: Schemas) -> None:
        self._is_avro = file_format == "avro"
        self._codec = codec
        self._schemas = schemas
        self._known: dict[tuple[str, int | None], tuple[Content | str, bytes]] = {}
        self._quarantine_header = self._header(envelope_schema(trailing=(quarantine_field(),)))

    def encode(self, batch: MessageBatch) -> list[EncodedRecords]:
        """See `RecordEncoder.encode`. Raises what the source of schemas raises, for the runner to try again."""
        lanes: dict[str, _Lane] = {}
        for index, (message, message_id, publish_time) in enumerate(
            zip(batch.messages, batch.ids, batch.publish_times, strict=True)
        ):
            read = read_message(message, batch.partition, message_id, publish_time)
            lane, header, record = self._encode_one(read)
            place = lanes.get(lane)
            if place is None:
                place = lanes[lane] = _Lane(header)
            place.records.append(record)
            place.indexes.append(index)
        everything = len(lanes) == 1
        return [
            EncodedRecords(lane, place.header, place.records, None if everything else place.indexes)
            for lane, place in lanes.items()
        ]

    def _encode_one(self, message: PulsarMessage) -> tuple[str, bytes, bytes]:
        content, header = self._content(message.topic, message.schema_version)
        try:
            if isinstance(content, str):
                raise MisfitError(content)
            if message.encryption is not None:
                msg = "the payload is encrypted"
                raise MisfitError(msg)
            if "encryption" in (message.unreadable or ()):
                msg = "the payload is encrypted, and with what could not be read"
                raise MisfitError(msg)
            if self._is_avro:
                record = avro.encode_record(message, content.to_avro(message))
            else:
                members = content.to_json(message)
                record = _checked_line(jsonl.encode_record(message, members))
        except MisfitError as error:
            return QUARANTINE_LANE, self._quarantine_header, self._quarantined(message, str(error))
        return lane_of(message.schema_version), header, record

    def _quarantined(self, message: PulsarMessage, reason: str) -> bytes:
        if self._is_avro:
            return avro.encode_record(message) + avro.encode_text(reason)
        return jsonl.encode_record(message, jsonl.payload_members(message.payload, nest=False), {"reason": reason})

    def _content(self, topic: str, version: int | None) -> tuple[Content | str, bytes]:
        """Return how the payload is written and the header of the file, or why it cannot be."""
        found = self._known.get((topic, version))
        if found is None:
            content: Content | str
            if version is None:
                content = bytes_content()
            else:
                schema = self._schemas.get(topic, version)
                content = f"the broker has no schema of version {version}" if schema is None else content_of(schema)
            header = b"" if isinstance(content, str) else self._header(content.envelope())
            found = self._known[topic, version] = content, header
        return found

    def _header(self, schema: dict[str, Any]) -> bytes:
        return avro.container_header(schema, self._codec) if self._is_avro else b""


def _checked_line(line: bytes) -> bytes:
    """Return the line if readers can take it."""
    if jsonl.is_too_deep(line):
        msg = "the value is nested too deep for JSON"
        raise MisfitError(msg)
    return line


__all__ = ["NO_VERSION_LANE", "QUARANTINE_LANE", "ValueEncoder", "lane_of"]
