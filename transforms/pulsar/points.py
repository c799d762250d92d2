"""Where a run starts and ends, as a person writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from transforms.errors import ConfigurationError
from transforms.pulsar.positions import Position

_ID = re.compile(r"([0-9]{1,20}):([0-9]{1,20})(?::(-?[0-9]{1,20}))?")
_ID_BITS = 63
#: The year 1973 in milliseconds, the year 5138 in seconds: smaller numbers are seconds by mistake.
_LEAST_MILLISECONDS = 10**11


@dataclass(frozen=True, slots=True)
class Point:
    """A start or an end: a word, a publish time in milliseconds, or a message id."""

    word: Literal["earliest", "latest", "subscription", "now", ""] = ""
    time: int | None = None
    message: Position | None = None
    """The first position that belongs to a run that starts here."""
    behind: Position | None = None
    """The first position that no longer belongs to a run that ends here."""

    def __str__(self) -> str:
        if self.time is not None:
            return f"time {self.time} ms"
        return self.word or str(self.message)


EARLIEST_POINT = Point("earliest")
NOW = Point("now")


def parse_start(text: str) -> Point:
    """Read ``--start``: ``earliest``, ``latest``, ``subscription``, a date-time or ``ledger:entry[:batch]``."""
    if text in ("earliest", "latest", "subscription"):
        return Point(text)  # type: ignore[arg-type]
    return _parse("--start", text, "earliest, latest, subscription")


def parse_end(text: str) -> Point:
    """Read ``--end``: ``now``, a date-time or ``ledger:entry[:batch]``; an id belongs to the run, an entry whole."""
    if text == "now":
        return NOW
    return _parse("--end", text, "now")


def parse_id(option: str, text: str) -> tuple[Position, Position]:
    """Read ``ledger:entry[:batch]`` as the first position that it names and the first one behind; an entry whole.

    Raises ConfigurationError, in which the value is that of ``option``.
    """
    found = _ID.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{option}={text}: not a message id such as 1234:56 or 1234:56:7.")
    return _named(option, text, found)


def parse_moment(option: str, text: str) -> int:
    """Read a date-time with its zone, or milliseconds since 1970; gives milliseconds.

    Raises ConfigurationError, in which the value is that of ``option``.
    """
    time = _time(option, text)
    if time is None:
        raise ConfigurationError(f"{option}={text}: not a date-time such as 2026-11-22T09:45:00Z.")
    return time


def _parse(option: str, text: str, words: str) -> Point:
    if found := _ID.fullmatch(text):
        first, behind = _named(option, text, found)
        return Point(message=first, behind=behind)
    time = _time(option, text)
    if time is None:
        raise ConfigurationError(
            f"{option}={text}: neither {words}, nor a date-time such as 2026-11-22T09:45:00Z, nor a message id "
            "such as 1234:56 or 1234:56:7."
        )
    return Point(time=time)


def _named(option: str, text: str, found: re.Match[str]) -> tuple[Position, Position]:
    ledger, entry, batch = int(found[1]), int(found[2]), None if found[3] is None else int(found[3])
    if max(ledger, entry, batch or 0) >= 2**_ID_BITS or (batch is not None and batch < -1):
        raise ConfigurationError(f"{option}={text}: no message has such an id.")
    if batch is None or batch < 0:
        return Position(ledger, entry), Position(ledger, entry).next_entry()
    position = Position(ledger, entry, batch)
    return position, position.next_message()


def _time(option: str, text: str) -> int | None:
    if re.fullmatch("[0-9]{1,4000}", text):
        time = int(text)
        if time < _LEAST_MILLISECONDS:
            raise ConfigurationError(
                f"{option}={text}: epoch times are milliseconds, and this one lies before 1973. Did you mean {text}000?"
            )
        if time >= 2**_ID_BITS // 1000:
            raise ConfigurationError(f"{option}={text}: beyond any date. Epoch times are milliseconds.")
        return time
    try:
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        return None
    if moment.tzinfo is None:
        raise ConfigurationError(f"{option}={text}: a date-time needs a zone, such as {text}Z or {text}+08:00.")
    return round(moment.timestamp() * 1000)
