"""Names of objects: written here, and read back here.

A name holds window, partition, first and last id and count, so that a listing alone tells what is stored
(the destination is the record). Numbers are zero-padded, so that the order of a listing is the order of the messages.
"""

from __future__ import annotations

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

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_PLACEHOLDERS = ("cluster", "tenant", "namespace", "topic")
_DIRECTIVES = frozenset("YmdHMSjyGVuUWaAbB%")
_NAME = re.compile(
    r"(?P<window>\d{8}T\d{6}Z)-(?P<granularity>\d+)s-p(?P<partition>\d+)"
    r"-(?P<first>\d+\.\d+\.\d+)-(?P<last>\d+\.\d+\.\d+)"
    r"(?:-(?P<version>v\d+|vnone))?-(?P<count>\d+)\.(?P<extension>avro|jsonl(?:\.gz|\.zst)?)"
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


def name_prefix(window: int, granularity: int, partition: int) -> str:
    """What all names of one window of one partition begin with."""
    return f"{_stamp(window)}-{granularity}s-p{max(partition, 0):04d}-"


def parse_name(name: str) -> FileName | None:
    """Read a file's name without its folder; None for anything that is not a file of messages."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    first, last = (Position(*map(int, match[group].split("."))) for group in ("first", "last"))
    stamp = datetime.strptime(match["window"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    return FileName(
        window=round((stamp - _EPOCH).total_seconds()) * 1000,
        granularity=int(match["granularity"]),
        partition=int(match["partition"]),
        run=StoredRun(first, last, int(match["count"])),
        version=match["version"] or "",
        extension=match["extension"],
    )


@dataclass(frozen=True)
class Layout:
    """Where the objects of a window go. ``template`` is checked when made."""

    prefix: str = ""
    template: str = DEFAULT_PATH
    timezone: str = "UTC"
    granularity: int = 300

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
        return area + _path(self.template, self.timezone, partition.topic, window)

    def file(self, partition: TopicPartition, lane: str, window: int, run: StoredRun, extension: str) -> str:
        """The whole key of a file. A ``lane`` that is a schema version stands in the name."""
        version = "" if lane == QUARANTINE_LANE else lane
        name = FileName(window, self.granularity, partition.index, run, version, extension)
        return f"{self.folder(partition, window, lane)}{name}"

    def part(self, partition: TopicPartition, lane: str, window: int, first: Position, number: int) -> str:
        """The key of a spooled part of a file that is not yet cut."""
        name = f"{name_prefix(window, self.granularity, partition.index)}{_id(first)}-{lane or 'main'}.part{number:05d}"
        return f"{self.prefix}_spool/{_path(self.template, self.timezone, partition.topic, window)}{name}"

    def longest_key(self, topics: Iterable[str]) -> str:
        """The longest key that these topics can give, to be held against ``MAX_KEY_BYTES`` before the start."""
        top = Position(10**12 - 1, 10**12 - 1, 10**6 - 1)
        run = StoredRun(top, top, 10**6 - 1)
        moment = round((datetime(2026, 9, 30, 23, 59, 59, tzinfo=timezone.utc) - _EPOCH).total_seconds()) * 1000
        keys = [
            self.file(TopicPartition(topic, 9999), lane, moment, run, "jsonl.zst")
            for topic in topics
            for lane in ("v000000", QUARANTINE_LANE)
        ]
        return max(keys, key=lambda key: len(key.encode()))


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
    if not template.isprintable():
        yield "--path_template: holds a character that cannot be printed."
    if "{topic}" not in template:
        yield f"{named}: must hold {{topic}}, or files of several topics could not be told apart."


def safe_component(text: str) -> str:
    """A name from outside as one component of a key; different names stay different, and none leaves its folder.

    Letters, digits and ``-_.=`` stay, all else is percent-encoded, as are the names ``.`` and ``..``.
    """
    if text in (".", ".."):
        return text.replace(".", "%2E")
    return quote(text, safe="-_.=")


@lru_cache(maxsize=4096)
def _path(template: str, zone: str, topic: str, window: int) -> str:
    cluster, namespace, name = topic.partition("://")[2].split("/", 2)
    names = {"cluster": cluster, "tenant": cluster, "namespace": namespace, "topic": name}
    # The dates first: a topic's own name may hold a percent sign.
    dated = (_EPOCH + timedelta(milliseconds=window)).astimezone(ZoneInfo(zone)).strftime(template)
    return re.sub(r"\{(\w+)\}", lambda found: safe_component(names[found[1]]), dated)


def _stamp(window: int) -> str:
    return (_EPOCH + timedelta(milliseconds=window)).strftime("%Y%m%dT%H%M%SZ")


def _id(position: Position) -> str:
    return f"{position.ledger:012d}.{position.entry:012d}.{position.batch:06d}"
