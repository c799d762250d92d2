"""The user metadata of an object that holds messages: what a program needs of it without reading it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from transforms.files.roll import OpenFile

#: Of the layout of files, names and metadata.
FORMAT_VERSION: Final = 1

EQUAL_BY: Final = ("records-crc64", "records-bytes", "messages")
"""The metadata that tells whether two objects hold the same messages, whatever compressed them."""

CONTENT_CRC64: Final = "content-crc64"
"""The CRC64 that the object was meant to have when it was sent; the store adds it."""

_FIRST_TIME: Final = "first-publish-time"
_LAST_TIME: Final = "last-publish-time"

#: All names that objects of ours have.
NAMES: Final = frozenset(
    {
        *("format-version", "window", "first-message-id", "last-message-id", _FIRST_TIME, _LAST_TIME),
        *EQUAL_BY,
        CONTENT_CRC64,
    }
)


class PublishTimes(NamedTuple):
    """The smallest and the largest publish time of the messages in an object, milliseconds."""

    first: int
    last: int


def metadata_of(file: OpenFile, records_crc: int) -> dict[str, str]:
    """The metadata of the object that a file becomes."""
    return {
        "format-version": str(FORMAT_VERSION),
        "window": str(file.window),
        "first-message-id": str(file.first),
        "last-message-id": str(file.last),
        "messages": str(file.count),
        "records-bytes": str(file.size),
        "records-crc64": str(records_crc),
        _FIRST_TIME: str(file.first_time),
        _LAST_TIME: str(file.last_time),
    }


def publish_times(metadata: Mapping[str, str]) -> PublishTimes | None:
    """What the metadata of an object says of its times; None for an object that has none."""
    try:
        return PublishTimes(int(metadata[_FIRST_TIME]), int(metadata[_LAST_TIME]))
    except (KeyError, ValueError):
        return None
