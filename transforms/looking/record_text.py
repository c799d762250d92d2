"""A record as text: for people on a line, for programs as the JSON of our JSON lines."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from transforms.files.decode import Record, position_of
from transforms.files.jsonl import json_encryption, payload_members
from transforms.files.manifest import moment

#: Characters of a payload on a line for people.
PAYLOAD_WIDTH: Final = 200
_RARE: Final = ("encryption", "unreadable")


def record_json(record: Record) -> bytes:
    r"""The line of a JSON-lines file that holds this message, ``\n`` included; its payload is never nested."""
    line: dict[str, Any] = {}
    for name, value in record.items():
        if name == "payload":
            line |= payload_members(value, nest=False)
        elif name == "encryption" and value is not None:
            line[name] = json_encryption(value)
        elif name not in _RARE or value is not None:
            line[name] = value
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def record_line(record: Record) -> str:
    """Publish time, partition, id, what else there is, and the payload, shortened; without a line break."""
    words = [f"{moment(record['publish_time']):%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z"]
    words += [f"p{max(record['partition'], 0)}", str(position_of(record))]
    words += [f"{name}={_shown(record[name])}" for name in ("key", "ordering_key") if record[name] is not None]
    if record["event_time"] is not None:
        words.append(f"event={moment(record['event_time']):%Y-%m-%dT%H:%M:%SZ}")
    words += [f"{_shown(name)}={_shown(value)}" for name, value in record["properties"].items()]
    words += [f"({name})" for name in _RARE if record.get(name) is not None]
    if "reason" in record:
        words.append(f"reason={_shown(record['reason'])}")
    return f"{' '.join(words)}  {_content(record)}"


def _content(record: Record) -> str:
    if "payload" not in record:
        found = [orjson.dumps(record[name]).decode() for name in ("key_value", "value") if name in record]
        return _short(" ".join(found))
    payload = record["payload"]
    if payload is None:
        return "(null)"
    try:
        return _short(payload.decode())
    except UnicodeDecodeError:
        more = "…" if len(payload) > PAYLOAD_WIDTH // 4 else ""
        return f"({len(payload)} bytes) {payload[: PAYLOAD_WIDTH // 4].hex()}{more}"


def _short(text: str) -> str:
    shown = _printable(text[: PAYLOAD_WIDTH + 1])
    return shown if len(text) <= PAYLOAD_WIDTH else f"{shown[:PAYLOAD_WIDTH]}…"


def _shown(text: str) -> str:
    """As it is, or in quotes where its end could not be told."""
    plain = text and text.isprintable() and " " not in text
    return text if plain else _printable(json.dumps(text, ensure_ascii=False))


def _printable(text: str) -> str:
    """Without characters that could act on a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
