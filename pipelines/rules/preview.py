"""What a rule will store in a day, as far as what the topic holds now tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

_DAY = 86_400.0
#: A shorter stretch says nothing of a day.
_SHORTEST = 60.0


class Part(Protocol):
    """A partition, as ``pipelines.check`` plans to read it."""

    messages: int | None
    bytes: int | None
    first_published: str | None
    last_published: str | None


@dataclass(frozen=True, slots=True)
class Daily:
    """About so much in a day; None for what is not known."""

    messages: int | None
    bytes: int | None
    """As the broker stores them."""
    files: int | None
    why: str | None = None
    """Why something is not known."""


def daily(parts: Sequence[Part], *, window_seconds: float, file_messages: int, file_bytes: int) -> Daily:
    """What comes in a day, if it goes on as between the first and the last message that are there.

    Of files at most so many: one for each window in which something comes, and more where limits cut.
    """
    spans = [_times(each) for each in parts if each.first_published is not None]
    if not spans:
        return Daily(None, None, None, "there is nothing to read yet")
    known = [each for each in spans if each is not None]
    if len(known) < len(spans):
        return Daily(None, None, None, "publish times are not told")
    seconds = (max(last for _, last in known) - min(first for first, _ in known)).total_seconds()
    if seconds < _SHORTEST:
        return Daily(None, None, None, "the messages that are there came within a minute")
    if any(each.messages is None for each in parts):
        return Daily(None, _all([each.bytes for each in parts], seconds), None, "admin_url tells how many there are")
    messages = files = 0.0
    for each in parts:
        of_day = (each.messages or 0) * _DAY / seconds
        messages += of_day
        files += min(_DAY / window_seconds, of_day) + of_day // file_messages
        files += (each.bytes or 0) * _DAY / seconds // file_bytes
    return Daily(round(messages), _all([each.bytes for each in parts], seconds), round(files))


def _all(found: Sequence[int | None], seconds: float) -> int | None:
    known = [each for each in found if each is not None]
    return round(sum(known) * _DAY / seconds) if len(known) == len(found) else None


def _times(part: Part) -> tuple[datetime, datetime] | None:
    try:
        first, last = (_time(each) for each in (part.first_published, part.last_published))
    except ValueError:  # after the year 9999
        return None
    return min(first, last), max(first, last)


def _time(text: Any) -> datetime:
    return datetime.strptime(f"{text}", "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007 - both are in UTC
