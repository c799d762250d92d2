"""What the sink tells: files that stand complete, and partitions that were read to their end."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from transforms.pulsar.positions import Position

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class WrittenFile(NamedTuple):
    """A file that stands complete at the destination."""

    key: str
    partition: str
    """Full name of the partition."""
    window: int
    """Start of its window, milliseconds since 1970."""
    lane: str
    first: Position
    last: Position
    messages: int
    bytes: int
    """Size of the object."""
    record_bytes: int
    """Size of its uncompressed records."""
    crc64: int
    first_time: int
    last_time: int
    """Smallest and largest publish time of its messages."""
    created: bool
    """False where an equal object stood there already."""

    def sentence(self, seconds: float) -> str:
        """What is logged of it for a person; its upload took ``seconds``."""
        there = "" if self.created else " (was there)"
        return f"wrote {self.key}: {self.messages} messages, {self.bytes} bytes in {seconds:.2f} s{there}"

    def fields(self, seconds: float) -> dict[str, str | int | float]:
        """What is logged of it for a program; the names are documented in the README, and a contract."""
        return {
            "key": self.key,
            "partition": self.partition,
            "window": (_EPOCH + timedelta(milliseconds=self.window)).isoformat().replace("+00:00", "Z"),
            "messages": self.messages,
            "bytes": self.bytes,
            "first": str(self.first),
            "last": str(self.last),
            "seconds": round(seconds, 3),
        }


class SchemaSeen(NamedTuple):
    """Messages of a topic (full name, without partition) have this version of its schema."""

    topic: str
    version: int


class PartitionReport(NamedTuple):
    """What went through of one partition, once it has been read to its end."""

    partition: str
    first: Position | None
    last: Position | None
    messages: int
    """How many were read; of these ``stored`` were at the destination before."""
    record_bytes: int
    stored: int
    quarantined: int
    upto: Position
    """Everything before this is stored, and nothing before it is needed to go on reading there."""
