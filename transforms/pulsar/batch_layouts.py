"""The messages of a producer batch, split a message at a time by one call that runs in C.

In a batch, each message is the size of its metadata, the metadata (SingleMessageMetadata of PulsarApi.proto, in
protobuf's encoding) and its payload. Messages of one application have their fields in the same order, many of them also
with the same lengths. So how a metadata is made up is found out once, and of the next one that is as long it is looked
whether all tags and lengths are the same: then what lies between them are the values. Property names count as tags.

What does not fit is not split here: see ``split``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

from transforms.pulsar.protobuf import ProtocolError, read_varint

_SIZE: Final = Struct(">I")
# Fields of SingleMessageMetadata. The last two, whether the key is base64 and the sequence id, are not used.
_PROPERTIES, KEY, _PAYLOAD_SIZE, EVENT_TIME, ORDERING_KEY = 1, 2, 3, 5, 7
_NUMBERS: Final = (_PAYLOAD_SIZE, EVENT_TIME, 6, 8)
_VARINT, _BYTES = 0, 2
_MORE: Final = 0x80
#: Each byte of a number in protobuf's encoding but the last has its high bit.
_GOES_ON, _END = b"\x80", b"\x00"
_HIGH_BITS: Final = bytes(byte & _MORE for byte in range(256))
#: Tags of a property's name and value.
_NAME, _VALUE = 0x0A, 0x12
#: Layouts that are kept of metadata that are equally long, and in all.
_MOST_OF_A_SIZE, _MOST = 8, 1_000
#: Of the messages of a batch, at least each of how many has to have a known layout, for this to pay.
_PAYS: Final = 4


#: Values of the fields of one message, as they are encoded; of properties, the values without the names.
Row: TypeAlias = tuple[bytes, ...]


class Shape(NamedTuple):
    """Which values a row has, in their order. Equal for all layouts that differ in lengths only."""

    fields: tuple[int, ...]
    """Numbers of fields, each as often as it comes."""
    names: tuple[bytes, ...]
    """Names of the properties among them."""

    def column(self, field: int) -> int | None:
        """The place of a field's last value in a row of values; None where it has none."""
        places = [place for place, each in enumerate(self.fields) if each == field]
        return places[-1] if places else None

    @property
    def properties(self) -> dict[bytes, int]:
        """The place of each property by its name; of the same names, the first (see ``named``)."""
        places = [place for place, each in enumerate(self.fields) if each == _PROPERTIES]
        return dict(zip(reversed(self.names), reversed(places), strict=True))


class Layout:
    """How metadata of one length are made up: tags and values by turns."""

    __slots__ = ("_numbers", "payload_size", "row", "shape", "tags", "tags_of")

    def __init__(self, metadata: bytes) -> None:
        """Raises as ``_parts`` does for what is no such metadata, and ValueError where a field is rare."""
        tags, lengths, fields, names = _parts(metadata)
        if fields.count(_PAYLOAD_SIZE) != 1:
            raise ValueError
        pairs = [(len(tag), length) for tag, length in zip(tags, lengths, strict=True)]
        self.tags = tuple(tags)
        self.tags_of = Struct("".join(f"{tag}s{length}x" for tag, length in pairs)).unpack_from
        self.row = Struct("".join(f"{tag}x{length}s" for tag, length in pairs)).unpack_from
        """Takes data and a place in it, and gives the values."""
        self.shape = Shape(tuple(fields), tuple(names))
        self.payload_size = fields.index(_PAYLOAD_SIZE)
        """Its place in a row."""
        self._numbers = [
            (itemgetter(place), _END.rjust(lengths[place], _GOES_ON))
            for place, field in enumerate(fields)
            if field in _NUMBERS
        ]

    def fits(self, rows: Sequence[Row]) -> bool:
        """Whether each number in rows of which the tags fit is one: else another field may lie in what it seems."""
        count = len(rows)
        return all(
            b"".join(map(number, rows)).translate(_HIGH_BITS) == its_high_bits * count
            for number, its_high_bits in self._numbers
        )

    def metadata(self, row: Row) -> bytes:
        """What the row was taken from."""
        return b"".join(chain.from_iterable(zip(self.tags, row, strict=True)))


_layouts: dict[int, list[Layout]] = {}
_shapes: dict[Shape, Shape] = {}
_sizes: dict[bytes, int] = {}


def split(data: bytes | memoryview, count: int) -> tuple[list[Layout], list[Row], list[bytes]] | None:
    """Layout, row and payload of each of ``count`` messages; None where some are not of a layout that is often met."""
    layouts: list[Layout] = []
    rows: list[Row] = []
    payloads: list[Any] = []
    known, size_of, read = _layouts.get, _sizes.get, _SIZE.unpack_from
    at, strange, end = 0, 0, len(data)
    for _ in range(count):
        if at + 4 > end:
            return None
        (size,) = read(data, at)
        at += 4
        if at + size > end:
            return None
        for layout in known(size, ()):
            if layout.tags_of(data, at) == layout.tags:
                break
        else:
            strange += 1
            made = None if _PAYS * strange > count + _PAYS else _learn(bytes(data[at : at + size]))
            if made is None:
                return None
            layout = made
        row = layout.row(data, at)
        at += size
        encoded = row[layout.payload_size]
        length = size_of(encoded)
        if length is None:
            length = _sizes[encoded] = read_number(encoded)
        begin, at = at, at + length
        payloads.append(data[begin:at])
        layouts.append(layout)
        rows.append(row)
    if at != end:
        return None
    alike: dict[Layout, list[Row]] = {}
    for layout, row in zip(layouts, rows, strict=True):
        alike.setdefault(layout, []).append(row)
    if not all(layout.fits(its) for layout, its in alike.items()):
        return None
    return layouts, rows, payloads if isinstance(data, bytes) else list(map(bytes, payloads))


def read_number(encoded: bytes) -> int:
    """A number in protobuf's encoding, all of it."""
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded))


def _learn(metadata: bytes) -> Layout | None:
    try:
        made = Layout(metadata)
    except (ValueError, IndexError, ProtocolError):
        return None
    made.shape = _shapes.setdefault(made.shape, made.shape)
    if sum(map(len, _layouts.values())) >= _MOST or len(_sizes) > 100 * _MOST:
        _layouts.clear()
        _shapes.clear()
        _sizes.clear()
    of_size = _layouts.setdefault(len(metadata), [])
    if len(of_size) >= _MOST_OF_A_SIZE:
        of_size.pop(0)
    of_size.append(made)
    return made


def _parts(metadata: bytes) -> tuple[list[bytes], list[int], list[int], list[bytes]]:
    """Tags, the length of the value behind each, its field; names of properties.

    Raises ValueError, IndexError or ProtocolError where it is not as it should be.
    """
    tags: list[bytes] = []
    lengths: list[int] = []
    fields: list[int] = []
    names: list[bytes] = []
    at = 0
    while at < len(metadata):
        begin = at
        tag, at = metadata[at], at + 1
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT and field in _NUMBERS:
            _, after = read_varint(metadata, at)
            length = after - at
        elif kind == _BYTES and field in (KEY, ORDERING_KEY):
            length, at = read_varint(metadata, at)
        elif kind == _BYTES and field == _PROPERTIES:
            whole, at = read_varint(metadata, at)
            stop = at + whole
            if metadata[at] != _NAME:
                raise ValueError
            length, at = read_varint(metadata, at + 1)
            names.append(metadata[at : at + length])
            at += length
            if metadata[at] != _VALUE:
                raise ValueError
            length, at = read_varint(metadata, at + 1)
            if at + length != stop:
                raise ValueError
        else:
            raise ValueError
        tags.append(metadata[begin:at])
        lengths.append(length)
        fields.append(field)
        at += length
    if at != len(metadata):
        raise ValueError
    return tags, lengths, fields, names
