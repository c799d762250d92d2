"""The fields of many messages at once, a column at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from struct import Struct
from typing import Any, Final, TypeVar

from transforms.pulsar.batch_layouts import EVENT_TIME, KEY, ORDERING_KEY, Row, Shape, read_number
from transforms.pulsar.messages import ClientMessage
from transforms.pulsar.stored_messages import StoredMessage, named

_T = TypeVar("_T")

#: An event time has six bytes in protobuf's encoding from 1971 on, of which the upper four change in 16 seconds.
_LOW_AND_HIGH: Final = Struct("<HI")


@dataclass(slots=True)
class Properties:
    """Of messages that have the same names, in the order of names: the values of each, in UTF-8."""

    names: Sequence[str]
    columns: Sequence[list[bytes]]


@dataclass(slots=True)
class MessageFields:
    """What each message has of its own, beside its payload. The lists run in parallel to the messages."""

    event_times: list[int]
    """Milliseconds; 0 where a message has none."""
    keys: list[bytes]
    """In UTF-8; empty where it has none."""
    ordering_keys: list[bytes]
    properties: Properties | list[dict[str, str]]
    """A list where not all have the same names."""


def fields_of(messages: Sequence[ClientMessage]) -> MessageFields:
    """The fields of some messages of one class, at least one. Raises UnicodeError where a text is not UTF-8."""
    kind = type(messages[0])
    if kind is StoredMessage:
        # Of a few layouts, which differ in lengths, there is one shape, as a rule.
        layouts = set(map(attrgetter("layout"), messages))
        shapes = {None if layout is None else layout.shape for layout in layouts}
        (shape,) = shapes if len(shapes) == 1 else (None,)
        if shape is not None:
            return _of_rows(shape, list(map(attrgetter("row"), messages)))
        return _of_metadata(list(map(StoredMessage.metadata, messages)))  # type: ignore[arg-type]
    # The functions of the class, not the methods of each object: a method that is looked up is an object made.
    return MessageFields(
        list(map(kind.event_timestamp, messages)),
        list(map(str.encode, map(kind.partition_key, messages))),
        list(map(str.encode, map(kind.ordering_key, messages))),
        _by_names(list(map(kind.properties, messages))),
    )


def _of_metadata(metadata: Sequence[Any]) -> MessageFields:
    return MessageFields(
        [each.event_time for each in metadata],
        _texts([each.partition_key for each in metadata]),
        _texts([each.ordering_key for each in metadata]),
        _by_names([named(each.properties) for each in metadata]),
    )


def _by_names(maps: list[dict[str, str]]) -> Properties | list[dict[str, str]]:
    names = set(map(tuple, maps))
    if len(names) > 1:
        return maps
    (same,) = names
    return Properties(same, [list(map(str.encode, map(itemgetter(name), maps))) for name in same])


def _of_rows(shape: Shape, rows: Sequence[Row]) -> MessageFields:
    def column(place: int | None, read: Callable[[list[bytes]], list[_T]], absent: _T) -> list[_T]:
        return [absent] * len(rows) if place is None else read(list(map(itemgetter(place), rows)))

    places = {name.decode(): place for name, place in shape.properties.items()}
    names = sorted(places)
    return MessageFields(
        column(shape.column(EVENT_TIME), _times, 0),
        column(shape.column(KEY), _texts, b""),
        column(shape.column(ORDERING_KEY), _texts, b""),
        Properties(names, [column(places[name], _texts, b"") for name in names]),
    )


def _texts(encoded: list[bytes]) -> list[bytes]:
    """The same, if all are UTF-8. Raises UnicodeDecodeError."""
    # No character goes on behind the end of a line.
    b"\n".join(encoded).decode()
    return encoded


def _times(encoded: list[bytes]) -> list[int]:
    if set(map(len, encoded)) != {_LOW_AND_HIGH.size}:
        return list(map(read_number, encoded))
    pairs = list(_LOW_AND_HIGH.iter_unpack(b"".join(encoded)))
    highs = {high: read_number(high.to_bytes(4, "little")) << 14 for high in set(map(itemgetter(1), pairs))}
    return [highs[high] + (low & 0x7F) + (low >> 1 & 0x7F << 7) for low, high in pairs]
