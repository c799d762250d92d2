"""From what is stored of a message to what is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from transforms.errors import UnrestorableError
from transforms.files.payloads import Payloads, Restored
from transforms.pulsar.outgoing import OutgoingMessage
from transforms.pulsar.schemas import TopicSchema
from transforms.restore.merge import StoredMessage
from transforms.restore.origin import with_origin

_SEPARATED = "SEPARATED"


class TargetSchema(NamedTuple):
    """A version of the source's schema, and how the target's broker has named it. Picklable."""

    schema: TopicSchema
    version: bytes | None
    """None where nothing is registered, as in a dry run."""


def newest_registered(schemas: Mapping[int, TargetSchema]) -> TopicSchema | None:
    """The newest schema that the target has; None where it has none of them: the protocol cannot say every type."""
    versions = [version for version, each in schemas.items() if each.version is not None]
    return schemas[max(versions)].schema if versions else None


@dataclass
class MessageMaker:
    """Makes messages of one restore; for one thread.

    ``schemas`` are those of the source topic by version, ``with_schemas`` says whether messages are sent under them.
    ``restore`` is what the origin is marked with, None to leave the origin out.
    """

    schemas: Mapping[int, TargetSchema]
    with_schemas: bool
    restore: str | None
    _payloads: dict[int | None, Payloads | str] = field(default_factory=dict, init=False)

    def make(self, stored: StoredMessage) -> tuple[OutgoingMessage, bool]:
        """The message, and whether its payload has the bytes that it had. Raises UnrestorableError with the reason."""
        record = stored.record
        if record["unreadable"]:
            raise UnrestorableError(
                f"{', '.join(sorted(record['unreadable']))} could not be read when it was backed up"
            )
        version = record["schema_version"]
        known = self.schemas.get(version) if version is not None else None
        if version is not None and known is None and (self.with_schemas or "payload" not in record):
            raise UnrestorableError(
                f"its schema (version {version}) is known neither to the backup's run records nor to the broker"
            )
        restored = self._payload(stored)
        properties = record["properties"] if self.restore is None else with_origin(record, self.restore)
        separated = known is not None and (known.schema.properties or {}).get("kv.encoding.type") == _SEPARATED
        message = OutgoingMessage(
            payload=restored.payload,
            key=record["key"],
            ordering_key=record["ordering_key"],
            properties=properties,
            event_time=record["event_time"],
            schema_version=known.version if known is not None and self.with_schemas else None,
            key_is_base64=separated and record["key"] is not None,
            encryption=record["encryption"],
        )
        return message, restored.exact

    def _payload(self, stored: StoredMessage) -> Restored:
        record = stored.record
        if "payload" in record:
            nested = stored.values.get("payload")
            if nested == b"":
                raise UnrestorableError(
                    "its payload is nested as JSON in a line that another tool has written anew, and may not be as it "
                    "was"
                )
            # Its line breaks have become blanks, and who has changed only the payload's text is not seen.
            return Restored(record["payload"], nested is None)
        version = record["schema_version"]
        if version not in self._payloads:
            try:
                self._payloads[version] = Payloads(self.schemas[version].schema if version is not None else None)
            except UnrestorableError as error:
                self._payloads[version] = str(error)
        payloads = self._payloads[version]
        if isinstance(payloads, str):
            raise UnrestorableError(payloads)
        return payloads.of(record, stored.values, is_avro=stored.extension == "avro")
