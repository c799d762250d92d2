"""The small JSON objects that prove a backup: a manifest for each window of a topic, a record for each run.

Both are contracts with people's own tools: their JSON schemas are published (``schemas/`` beside this module), fields
are only added, and ``version`` rises where that is not enough.

A manifest stands beside the files of its window: ``_manifest-{window start}-{granularity}s-{format}-{number}.json``;
the underscore hides it from query engines. It is written when the window is complete over all partitions of the topic,
and never again: what comes late is in another one with the next number. A run record is ``_runs/{run}.json``.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)
from pydantic import Field as Described

from transforms.errors import DamagedError
from transforms.pulsar.positions import Position

VERSION: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MANIFEST: Final = re.compile(
    r"_manifest-(?P<window>[0-9]{8}T[0-9]{6}Z)-(?P<granularity>[0-9]+)s-(?P<format>avro|jsonl)-(?P<number>[0-9]{4,})\.json"
)
_POSITION: Final = re.compile(r"(-?[0-9]{1,19}):(-?[0-9]{1,19}):([0-9]{1,19})")


class ManifestName(NamedTuple):
    """What the name of a manifest says, without its folder."""

    window: datetime
    """Start of the window, UTC."""
    granularity: int
    """Seconds."""
    format: str
    """``avro`` or ``jsonl``, whatever the compression."""
    number: int
    """0, and more for what came late."""

    def __str__(self) -> str:
        return f"_manifest-{self.window:%Y%m%dT%H%M%SZ}-{self.granularity}s-{self.format}-{self.number:04d}.json"


def parse_manifest_name(name: str) -> ManifestName | None:
    """Read a manifest's name without its folder; None for anything else."""
    match = _MANIFEST.fullmatch(name)
    if match is None:
        return None
    try:
        window = datetime.strptime(match["window"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return ManifestName(window, int(match["granularity"]), match["format"], int(match["number"]))


def moment(milliseconds: int) -> datetime:
    """The moment so many milliseconds after 1970; the last one there is for times beyond the year 9999."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=timezone.utc)


def _position(value: object) -> object:
    match = _POSITION.fullmatch(value) if isinstance(value, str) else None
    return value if match is None else Position(*map(int, match.groups()))


#: ``ledger:entry:batch index``, as a person writes it in ``--start``.
PositionText = Annotated[
    Position,
    BeforeValidator(_position),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_POSITION.pattern}$"}),
]
Milliseconds = Annotated[int, Described(description="Since 1970, UTC.")]


class _Document(BaseModel):
    # Fields that a newer version has added are no error.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ManifestFile(_Document):
    """A file of the window."""

    name: str = Described(description="Of the object, without its folder, which is that of the manifest.")
    partition: int = Described(description="Index; -1 for a topic without partitions.")
    first: PositionText
    last: PositionText
    messages: int
    bytes: int
    crc64: str = Described(description="CRC-64/XZ of the object, as COS computes it: a decimal number as text.")
    first_publish_time: Milliseconds
    last_publish_time: Milliseconds
    quarantined: bool = Described(False, description="It stands under _quarantine/, in the folder of the same path.")


class GapFound(_Document):
    """Messages that the broker had deleted before they could be read, from start to before stop."""

    topic: str
    partition: int
    start: PositionText
    stop: PositionText
    certain: bool


class PartitionRead(_Document):
    """What a run has read of a partition: all messages from start to before stop."""

    topic: str = Described(description="Full name, without partition.")
    partition: int
    start: PositionText
    stop: PositionText
    messages: int = Described(description="How many there were.")


class Manifest(_Document):
    """What a window of a topic holds."""

    kind: Literal["manifest"] = "manifest"
    version: Literal[1] = VERSION
    topic: str
    window: AwareDatetime
    granularity: int = Described(description="Length of the window, seconds.")
    format: Literal["avro", "jsonl"]
    number: int = Described(description="0, and more for what came late.")
    run: str = Described(description="Name of the run that wrote it.")
    rule: str | None = None
    written: AwareDatetime
    files: tuple[ManifestFile, ...]
    gaps: tuple[GapFound, ...] = Described((), description="Those of the topic found since its last manifest.")
    read: tuple[PartitionRead, ...] = Described(
        (), description="How far this run had read when the window was complete, counted from where it began."
    )
    compacted: bool = Described(False, description="The run read the last message of each key only, and counted those.")

    @property
    def name(self) -> ManifestName:
        """How it is called."""
        return ManifestName(self.window, self.granularity, self.format, self.number)


class SchemaVersion(_Document):
    """One version of a topic's schema, as the broker has it."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")
    topic: str
    schema_version: int
    type: str = Described(description="Pulsar's name: AVRO, JSON, STRING, …")
    definition: bytes
    properties: dict[str, str] | None = None


class RunRecord(_Document):
    """What a run with an end has read and written."""

    kind: Literal["run"] = "run"
    version: Literal[1] = VERSION
    run: str
    rule: str | None = None
    started: AwareDatetime
    ended: AwareDatetime
    path_template: str
    timezone: str
    granularity: int
    format: Literal["avro", "jsonl"]
    payload: str
    window_by: str
    case_blind: bool = False
    compacted: bool = Described(False, description="It read the last message of each key only, and counted those.")
    files: int = Described(description="Objects that it wrote.")
    bytes: int = Described(description="Their size.")
    read: tuple[PartitionRead, ...]
    gaps: tuple[GapFound, ...] = ()
    schemas: tuple[SchemaVersion, ...] = ()


_Kind = TypeVar("_Kind", Manifest, RunRecord)


def to_json(document: Manifest | RunRecord) -> bytes:
    """Write it as the content of its object."""
    return document.model_dump_json(indent=1).encode() + b"\n"


def from_json(kind: type[_Kind], content: bytes, name: str) -> _Kind:
    """Read a manifest or a run record; ``name`` is what errors call the object. Raises DamagedError."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DamagedError(f"{name} is damaged: it is no {_NAMES[kind]} ({place}: {first['msg']}).") from None


def json_schema(kind: type[Manifest] | type[RunRecord]) -> dict[str, Any]:
    """The JSON schema of a document, as it is published."""
    found = kind.model_json_schema(mode="serialization")
    title = f"tdmq-backup {_NAMES[kind]}, version {VERSION}"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": title}


_NAMES: Final[dict[type, str]] = {Manifest: "manifest", RunRecord: "run record"}
