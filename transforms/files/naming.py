"""Names of objects: written here, and read back here.

A name holds window, partition, first and last id and count, so that a listing alone tells what is stored
(the destination is the record). Numbers are zero-padded, so that the order of a listing is the order of the messages.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from transforms.errors import ConfigurationError
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

DEFAULT_PATH = "{cluster}/{namespace}/{topic}/dt=%Y-%m-%d/hh=%H/"
QUARANTINE_LANE = "quarantine"
#: Of COS: a key has at most 850 bytes of UTF-8.
MAX_KEY_BYTES = 850
#: Of the usual file systems: what stands between two slashes has at most 255 bytes.
MAX_COMPONENT_BYTES = 255

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: A moment whose dates are written as long as any: on a Wednesday in September.
_LATE = round((datetime(2026, 9, 30, 23, 59, 59, tzinfo=timezone.utc) - _EPOCH).total_seconds()) * 1000
_PLACEHOLDERS = ("cluster", "tenant", "namespace", "topic")
_DIRECTIVES = frozenset("YmdHMSjyGVuUWaAbB%")
_NAME = re.compile(
    r"(?P<window>[0-9]{8}T[0-9]{6}Z)-(?P<granularity>[0-9]+)s-p(?P<partition>[0-9]+)"
    r"-(?P<first>[0-9]+\.[0-9]+\.[0-9]+)-(?P<last>[0-9]+\.[0-9]+\.[0-9]+)"
    r"(?:-(?P<version>v[0-9]+|vnone))?-(?P<count>[0-9]+)\.(?P<extension>avro|jsonl(?:\.gz|\.zst)?)"
)
_PART = re.compile(
    r"(?P<window>[0-9]{8}T[0-9]{6}Z)-(?P<granularity>[0-9]+)s-p(?P<partition>[0-9]+)-(?P<first>[0-9]+\.[0-9]+\.[0-9]+)"
    r"-(?P<lane>main|quarantine|v[0-9]+|vnone)-(?P<format>avro|jsonl)\.part(?P<number>[0-9]+)"
)


class StoredRun(NamedTuple):
    """An unbroken run of messages that one stored object holds; read from its name."""

    first: Position
    last: Position
    messages: int


class FileName(NamedTuple):
    """What the name of a file says, without its folder."""

    window: int
    """Start of the window, milliseconds since 1970."""
    granularity: int
    """Length of the window, seconds."""
    partition: int
    """Index of the partition; 0 also for a topic without partitions."""
    run: StoredRun
    version: str
    """``v000003`` or ``vnone`` with ``--payload=value``, else empty."""
    extension: str

    @property
    def format(self) -> str:
        """``avro`` or ``jsonl``, whatever the compression."""
        return self.extension.partition(".")[0]

    def __str__(self) -> str:
        version = f"{self.version}-" if self.version else ""
        return (
            f"{name_prefix(self.window, self.granularity, self.partition)}"
            f"{_id(self.run.first)}-{_id(self.run.last)}-{version}{self.run.messages:06d}.{self.extension}"
        )


class PartName(NamedTuple):
    """What the name of a spooled part says of the file that it belongs to, which is not cut yet."""

    window: int
    granularity: int
    partition: int
    """Window and partition as in FileName."""
    first: Position
    """The first message of the file."""
    lane: str
    format: str
    """``avro`` or ``jsonl``."""
    number: int
    """The place of the part in the file, from 0."""

    def __str__(self) -> str:
        return (
            f"{name_prefix(self.window, self.granularity, self.partition)}{_id(self.first)}-{self.lane or 'main'}"
            f"-{self.format}.part{self.number:05d}"
        )


def name_prefix(window: int, granularity: int, partition: int) -> str:
    """What all names of one window of one partition begin with."""
    return f"{_stamp(window)}-{granularity}s-p{max(partition, 0):04d}-"


def parse_name(name: str) -> FileName | None:
    """Read a file's name without its folder; None for anything that is not a file of messages."""
    match = _NAME.fullmatch(name)
    window = None if match is None else _milliseconds(match["window"])
    if match is None or window is None:
        return None
    return FileName(
        window=window,
        granularity=int(match["granularity"]),
        partition=int(match["partition"]),
        run=StoredRun(_position(match["first"]), _position(match["last"]), int(match["count"])),
        version=match["version"] or "",
        extension=match["extension"],
    )


def parse_part(name: str) -> PartName | None:
    """Read a spooled part's name without its folder; None for anything else."""
    match = _PART.fullmatch(name)
    window = None if match is None else _milliseconds(match["window"])
    if match is None or window is None:
        return None
    return PartName(
        window=window,
        granularity=int(match["granularity"]),
        partition=int(match["partition"]),
        first=_position(match["first"]),
        lane="" if match["lane"] == "main" else match["lane"],
        format=match["format"],
        number=int(match["number"]),
    )


@dataclass(frozen=True)
class Layout:
    """Where the objects of a window go. ``template`` is checked when made.

    ``case_blind`` is for a folder in which names that differ in case only are one: capital letters of names from
    outside are encoded as well.
    """

    prefix: str = ""
    template: str = DEFAULT_PATH
    timezone: str = "UTC"
    granularity: int = 300
    case_blind: bool = False

    def __post_init__(self) -> None:
        problems = list(template_problems(self.template))
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            problems.append(f"--timezone={self.timezone}: no such time zone. Give an IANA name, such as Asia/Shanghai.")
        if problems:
            raise ConfigurationError(*problems)

    def folder(self, partition: TopicPartition, window: int, lane: str = "") -> str:
        """The key, up to its last ``/``, under which the files of this window of this partition stand."""
        area = f"{self.prefix}_quarantine/" if lane == QUARANTINE_LANE else self.prefix
        return area + self._path(partition.topic, window)

    def _path(self, topic: str, window: int) -> str:
        return _path(self.template, self.timezone, topic, window, self.case_blind)

    def file(self, partition: TopicPartition, lane: str, window: int, run: StoredRun, extension: str) -> str:
        """The whole key of a file. A ``lane`` that is a schema version stands in the name."""
        version = "" if lane == QUARANTINE_LANE else lane
        name = FileName(window, self.granularity, partition.index, run, version, extension)
        return f"{self.folder(partition, window, lane)}{name}"

    def part(
        self, partition: TopicPartition, lane: str, window: int, first: Position, number: int, file_format: str
    ) -> str:
        """The key of part ``number`` of a file that is not cut yet; ``file_format`` is ``avro`` or ``jsonl``."""
        name = PartName(window, self.granularity, max(partition.index, 0), first, lane, file_format, number)
        return f"{self.prefix}_spool/{self._path(partition.topic, window)}{name}"

    def topic_problems(self, topics: Iterable[str], *, on_files: bool) -> Iterable[str]:
        """What stands against these topics (full names, without partition), a sentence each.

        ``on_files`` says that keys become files of a file system.
        """
        topics = list(topics)
        for key in self._longest_keys(topics):
            size = len(key.encode())
            if size > MAX_KEY_BYTES:
                yield (
                    f"the names of objects would be up to {size} bytes long, and COS takes {MAX_KEY_BYTES}: shorten "
                    f"the destination's prefix or --path_template ({key[:80]}…)."
                )
                break
        too_long = [part for key in self._longest_keys(topics) for part in key.split("/") if _is_too_long(part)]
        if on_files and too_long:
            yield (
                f"a folder's name would be {len(too_long[0].encode())} bytes long ({too_long[0][:80]}…), and file "
                f"systems take {MAX_COMPONENT_BYTES}: write to cos://, or give a --path_template that splits the name."
            )
        yield from self.clashes(TopicPartition(topic) for topic in topics)

    def clashes(self, partitions: Iterable[TopicPartition]) -> Iterable[str]:
        """Which of these partitions could not be told apart by the keys of their files, a sentence each."""
        seen: dict[tuple[str, int], TopicPartition] = {}
        for partition in partitions:
            place = self.folder(partition, _LATE), max(partition.index, 0)
            other = seen.setdefault(place, partition)
            if other != partition:
                yield (
                    f"--path_template={self.template}: puts {other.name} and {partition.name} into the same files. "
                    "Give it all of {cluster}, {namespace} and {topic}, with a / between them, or back up one at a "
                    "time to prefixes of their own."
                )

    def _longest_keys(self, topics: Iterable[str]) -> list[str]:
        """The longest keys that these topics can give."""
        top = Position(10**12 - 1, 10**12 - 1, 10**6 - 1)
        run = StoredRun(top, top, 10**6 - 1)
        return [
            self.file(TopicPartition(topic, 9999), lane, _LATE, run, "jsonl.zst")
            for topic in topics
            for lane in ("v000000", QUARANTINE_LANE)
        ]


def template_problems(template: str) -> Iterable[str]:
    """What is wrong with ``--path_template``, a sentence each."""
    named = f"--path_template={template}"
    for name in re.findall(r"\{([^{}]*)\}", template):
        if name not in _PLACEHOLDERS:
            yield f"{named}: no placeholder {{{name}}}. There are {', '.join(f'{{{each}}}' for each in _PLACEHOLDERS)}."
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", template)):
        yield f"{named}: a brace stands alone."
    for directive in re.findall(r"%(.?)", template):
        if directive not in _DIRECTIVES:
            yield f"{named}: no date directive %{directive}. Use those of strftime, such as %Y, %m, %d, %H, %M."
    if template and not template.endswith("/"):
        yield f"{named}: must end with / (files stand below it), or be empty."
    if template.startswith("/") or "//" in template:
        yield f"{named}: must not begin with / nor hold //."
    if any(part in (".", "..") for part in template.split("/")):
        yield f"{named}: must not hold . or .. as a folder."
    if template.startswith("_"):
        yield f"{named}: must not begin with _, which is kept for _spool/ and _quarantine/."
    if not template.isprintable():
        yield "--path_template: holds a character that cannot be printed."
    if "{topic}" not in template:
        yield f"{named}: must hold {{topic}}, or files of several topics could not be told apart."


def safe_component(text: str, *, case_blind: bool = False) -> str:
    """A name from outside as one component of a key; different names stay different, and none leaves its folder.

    Letters, digits and ``-_.=~`` stay, all else is percent-encoded. So are a dot at the start or at the end (``.`` and
    ``..`` lead elsewhere, and some file systems drop it), an underscore at the start (our own areas begin so), and with
    ``case_blind`` capital letters.
    """
    special = r"^[._]|\.\Z" + "|[A-Z]" * case_blind
    # In pieces: what quote writes has capital digits of its own.
    pieces = re.split(f"({special})", text)
    return "".join(f"%{ord(piece):02X}" if at % 2 else quote(piece, safe="-_.=") for at, piece in enumerate(pieces))


def _is_too_long(component: str) -> bool:
    return len(component.encode()) > MAX_COMPONENT_BYTES


@lru_cache(maxsize=4096)
def _path(template: str, zone: str, topic: str, window: int, case_blind: bool) -> str:
    cluster, namespace, name = topic.partition("://")[2].split("/", 2)
    names = {"cluster": cluster, "tenant": cluster, "namespace": namespace, "topic": name}
    moment = _EPOCH + timedelta(milliseconds=window)
    with contextlib.suppress(OverflowError):  # the last hours of the year 9999 have no date east of Greenwich
        moment = moment.astimezone(ZoneInfo(zone))
    # The dates first: a topic's own name may hold a percent sign.
    dated = moment.strftime(template)
    return re.sub(r"\{(\w+)\}", lambda found: safe_component(names[found[1]], case_blind=case_blind), dated)


# Windows have many files each, and backups many names.
@lru_cache(maxsize=1024)
def _stamp(window: int) -> str:
    return (_EPOCH + timedelta(milliseconds=window)).strftime("%Y%m%dT%H%M%SZ")


@lru_cache(maxsize=1024)
def _milliseconds(stamp: str) -> int | None:
    """What ``_stamp`` has written; None for what is no date."""
    try:
        moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return round((moment - _EPOCH).total_seconds()) * 1000


def _position(text: str) -> Position:
    return Position(*map(int, text.split(".")))


def _id(position: Position) -> str:
    return f"{position.ledger:012d}.{position.entry:012d}.{position.batch:06d}"
