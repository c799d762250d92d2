"""The schemas of topics, by version, as the broker keeps them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from transforms.errors import TopicNotFoundError
from transforms.pulsar.client import PulsarClient, explained

_log = logging.getLogger(__name__)

#: PulsarApi.proto, ``Schema.Type``, by the numbers of the client's enum, which has no names for some of them.
TYPE_NAMES: Final = {
    -1: "BYTES",
    0: "NONE",
    1: "STRING",
    2: "JSON",
    3: "PROTOBUF",
    4: "AVRO",
    5: "BOOLEAN",
    6: "INT8",
    7: "INT16",
    8: "INT32",
    9: "INT64",
    10: "FLOAT",
    11: "DOUBLE",
    12: "DATE",
    13: "TIME",
    14: "TIMESTAMP",
    15: "KEY_VALUE",
    16: "INSTANT",
    17: "LOCAL_DATE",
    18: "LOCAL_TIME",
    19: "LOCAL_DATE_TIME",
    20: "PROTOBUF_NATIVE",
}


@dataclass(frozen=True)
class TopicSchema:
    """One version of a topic's schema.

    ``type`` is Pulsar's name, ``definition`` the bytes on the wire (for KEY_VALUE two definitions, each behind its
    length). ``properties`` is None where they are not known: the client does not hand them out.
    """

    type: str
    definition: bytes = b""
    properties: dict[str, str] | None = None


class Schemas(Protocol):
    """Where an encoder asks for schemas."""

    def get(self, topic: str, version: int) -> TopicSchema | None:
        """Return a version of the schema of a topic (full name, without partition), or None if there is none."""
        ...


class SchemaProperties(Protocol):
    """The properties of a schema, which only the admin REST interface tells."""

    def schema_properties(self, topic: str, version: int) -> dict[str, str]:
        """Return the properties of a version of a topic's schema."""
        ...


@dataclass
class SchemaSource:
    """Schemas from the broker, each asked for once.

    ``admin`` is asked for the properties of KEY_VALUE schemas, without which their two parts cannot be told. Raises
    SourceError or AccessError if the broker cannot be asked. A schema version never changes, so nothing gets stale.
    """

    client: PulsarClient
    admin: SchemaProperties | None = None
    _known: dict[tuple[str, int], TopicSchema | None] = field(default_factory=dict, init=False, repr=False)

    def get(self, topic: str, version: int) -> TopicSchema | None:
        """See `Schemas.get`."""
        place = (topic, version)
        if place not in self._known:
            self._known[place] = self._fetch(topic, version)
        return self._known[place]

    def _fetch(self, topic: str, version: int) -> TopicSchema | None:
        try:
            with explained(self.client.connection, topic):
                info = self.client.schema_info(topic, version)
        except TopicNotFoundError:
            return None  # what the broker says for a topic without a schema, and for a version that is not there
        # Measured: with a type that the client's enum has no name for, ``int`` still gives its number.
        name = TYPE_NAMES.get(int(info.schema_type()), f"type {int(info.schema_type())}")
        properties = None
        if name == "KEY_VALUE" and self.admin is not None:
            properties = self.admin.schema_properties(topic, version)
        return TopicSchema(name, definition_of(info), properties)


def definition_of(info: Any) -> bytes:
    """Return the definition's bytes, whatever they are.

    The client has them as text and raises UnicodeDecodeError where a length in front of a KEY_VALUE definition is no
    UTF-8; the bytes are in the exception.
    """
    try:
        text: str = info.schema()
    except UnicodeDecodeError as error:
        return bytes(error.object)
    return text.encode()
