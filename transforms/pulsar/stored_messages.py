"""The messages of an entry as the broker stores it, without the client that would make them one by one.

An entry is what a producer sent at once: a batch of messages, or one. pulsar-client makes an object of C++ of each
message and is called for each of its fields; what is read here is the same for a fraction of it. Whatever is not plain
is left to the client: see ``NotPlainError``. The tests hold the two against each other, field by field.

Source: Pulsar's "Binary protocol" page, and PulsarApi.proto (MessageMetadata, SingleMessageMetadata).
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import count, repeat
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple, TypeAlias

import cramjam
import zstandard
from fastcrc import crc32
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from transforms.pulsar.batch_layouts import Layout, Row, split
from transforms.pulsar.messages import ClientMessage
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import ProtocolError, encode
from transforms.pulsar.wire import MAX_FRAME

#: What may stand before the metadata: the broker's own metadata, with its size; a checksum of 4 bytes.
_BROKER_METADATA: Final = 0x0E02
_CHECKSUM: Final = 0x0E01
_HEAD: Final = Struct(">HII")
_SIZE: Final = Struct(">I")
_NO_VERSION: Final = -1
_VERSION_BYTES: Final = 8
#: Of a frame of zstd that does not say how much it holds.
_UNKNOWN_SIZE: Final = -1
#: Payloads that are as large are cut out of what was received or decompressed without a copy of all of it.
_LARGE: Final = 8 * 1024
#: A larger room is not kept. By default a broker takes 5 MiB at once, compressed as it is sent.
_LARGEST_ROOM: Final = 8 * 1024 * 1024

_Data: TypeAlias = bytes | memoryview


class NotPlainError(Exception):
    """The entry is one that the client has to read: encrypted, a chunk, part of a transaction, compacted, damaged."""


def _classes() -> tuple[Any, Any, Any]:
    """The classes MessageMetadata, SingleMessageMetadata and CommandMessage, with the fields that are used."""
    kinds = descriptor_pb2.FieldDescriptorProto
    # Texts as bytes: what is not UTF-8 would be given as bytes all the same, and without an error.
    data, number, flag = kinds.TYPE_BYTES, kinds.TYPE_UINT64, kinds.TYPE_BOOL
    file = descriptor_pb2.FileDescriptorProto(name="stored_messages.proto", package="tdmq_backup", syntax="proto2")

    def add(name: str, fields: dict[str, tuple[int, Any]], not_plain: dict[str, tuple[int, Any]] | None = None) -> None:
        kind = file.message_type.add(name=name)
        if not_plain:
            # One question tells whether there is any of them.
            kind.oneof_decl.add(name=_NOT_PLAIN)
        for field, (place, type_) in (fields | (not_plain or {})).items():
            label = kinds.LABEL_REPEATED if field == "properties" else kinds.LABEL_OPTIONAL
            made = kind.field.add(name=field, number=place, label=label)
            if isinstance(type_, str):
                made.type, made.type_name = kinds.TYPE_MESSAGE, f".tdmq_backup.{type_}"
            else:
                made.type = type_
            if not_plain and field in not_plain:
                made.oneof_index = 0

    add("KeyValue", {"key": (1, data), "value": (2, data)})
    add(
        "SingleMessageMetadata",
        {
            "properties": (1, "KeyValue"),
            "partition_key": (2, data),
            "payload_size": (3, kinds.TYPE_INT32),
            "compacted_out": (4, flag),
            "event_time": (5, number),
            "ordering_key": (7, data),
            "null_value": (9, flag),
        },
    )
    add(
        "MessageMetadata",
        {
            "producer_name": (1, data),
            "publish_time": (3, number),
            "properties": (4, "KeyValue"),
            "partition_key": (6, data),
            "compression": (8, kinds.TYPE_INT32),
            "uncompressed_size": (9, kinds.TYPE_UINT32),
            "num_messages_in_batch": (11, kinds.TYPE_INT32),
            "event_time": (12, number),
            "schema_version": (16, data),
            "ordering_key": (18, data),
            "null_value": (25, flag),
        },
        {
            "encryption_keys": (13, data),
            "encryption_algo": (14, data),
            "encryption_param": (15, data),
            "marker_type": (20, kinds.TYPE_INT32),
            "txnid_least_bits": (22, number),
            "txnid_most_bits": (23, number),
            "num_chunks_from_msg": (27, kinds.TYPE_INT32),
            "chunk_id": (29, kinds.TYPE_INT32),
        },
    )
    add("MessageIdData", {"ledger": (1, number), "entry": (2, number)})
    add("CommandMessage", {"message_id": (2, "MessageIdData")})
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("MessageMetadata", "SingleMessageMetadata", "CommandMessage")
    found = (pool.FindMessageTypeByName(f"tdmq_backup.{name}") for name in names)
    metadata, single, command = map(message_factory.GetMessageClass, found)
    return metadata, single, command


_NOT_PLAIN: Final = "not_plain"
_Metadata, _Single, _Command = _classes()


class _Room(bytearray):
    """Memory for what is decompressed, used again for the next entry: to map or fill new memory is dear."""


#: Those that nobody uses now.
_rooms: Final[deque[_Room]] = deque(maxlen=2)


def _room(size: int) -> memoryview:
    """So many bytes of whatever content."""
    try:
        room = _rooms.pop()
    except IndexError:
        room = _Room()
    return memoryview(room if len(room) >= size else _Room(size))[:size]


def _use_again(data: _Data) -> None:
    """Give back what was decompressed into a room; nobody looks at it any more."""
    room = data.obj if isinstance(data, memoryview) else None
    if isinstance(room, _Room) and len(room) <= _LARGEST_ROOM:
        _rooms.append(room)


def _lz4(data: _Data, size: int) -> Any:
    found = _room(size)
    # What it gives by itself is as long as it is told, and filled up with zeros.
    if cramjam.lz4.decompress_block_into(data, found, output_len=size) != size:
        raise ValueError
    return found


def _zlib(data: _Data, size: int) -> Any:
    stream = zlib.decompressobj()
    found = stream.decompress(data, size + 1)  # 0 would be without a limit
    if not stream.eof:
        raise ValueError
    return found


def _zstd(data: _Data, size: int) -> Any:
    # What the frame says of its size counts for more than what it may have.
    if zstandard.frame_content_size(data) not in (size, _UNKNOWN_SIZE):
        raise ValueError
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)


def _snappy(data: _Data, size: int) -> Any:
    if cramjam.snappy.decompress_raw_len(data) != size:
        raise ValueError
    return cramjam.snappy.decompress_raw(data, output_len=size)


#: By the numbers of CompressionType; each gives something that holds bytes, and takes memory for no more than the size.
_DECOMPRESS: Final[dict[int, Callable[[_Data, int], Any]]] = {1: _lz4, 2: _zlib, 3: _zstd, 4: _snappy}


class EntryHead:
    """What the messages of an entry share."""

    __slots__ = ("_producer_name", "batch_size", "position", "publish_time", "version")

    def __init__(self, position: Position, metadata: Any) -> None:
        self.position = position
        self.publish_time: int = metadata.publish_time
        """Milliseconds."""
        self.batch_size: int = metadata.num_messages_in_batch
        """Messages in its producer batch; 0 outside one."""
        version: bytes = metadata.schema_version[:_VERSION_BYTES]  # before Pulsar 2.4 zeros came behind
        self.version = int.from_bytes(version, "big", signed=True) if version else _NO_VERSION
        """That of the schema; negative without one."""
        self._producer_name: bytes = metadata.producer_name

    @property
    def producer_name(self) -> str:
        """Raises UnicodeDecodeError where it is not UTF-8."""
        return self._producer_name.decode()


class StoredEntryMessages:
    """All messages of one entry, in order; ``payloads`` run in parallel to ``messages``."""

    __slots__ = ("head", "messages", "payloads", "size")

    def __init__(self, position: Position, content: bytes | memoryview) -> None:
        """``content`` is what stands behind the command MESSAGE; nothing of it is kept.

        Raises NotPlainError, and ProtocolError for what is no entry.
        """
        encoded, data = cut_entry(content, check=True)
        try:
            metadata = _Metadata.FromString(encoded)
        except Exception:
            raise NotPlainError from None
        if metadata.WhichOneof(_NOT_PLAIN) is not None:
            raise NotPlainError
        whole = data = _decompressed(metadata, data)
        self.head = head = EntryHead(position, metadata)
        size = head.batch_size
        self.messages: list[ClientMessage]
        if size < 0 or 0 < len(metadata.schema_version) < _VERSION_BYTES:
            raise NotPlainError
        if not size:
            self.payloads = [bytes(data)]
            self.messages = [StoredMessage(head, -1, self.payloads[0], metadata, None)]
        else:
            data = bytes(data) if len(data) < size * _LARGE else data
            found = split(data, size)
            layouts: Iterable[Layout | None] = repeat(None)
            rows: Sequence[Any]
            if found is not None:
                layouts, rows, self.payloads = found
            else:
                rows, self.payloads = _unpacked(data, size)
            self.messages = list(map(_message, zip(repeat(head), count(), self.payloads, rows, layouts, strict=False)))
        _use_again(whole)
        self.size = sum(map(len, self.payloads))
        """Bytes of all payloads."""


class StoredMessage(NamedTuple):
    """A ``ClientMessage``, with the accessors and the errors of pulsar-client."""

    head: EntryHead
    place: int
    """Its place in its producer batch; -1 outside one."""
    payload: bytes
    row: Any
    """Its metadata: with a ``layout`` in pieces, as ``split`` gives them."""
    layout: Layout | None

    def message_id(self) -> StoredId:
        """Its id."""
        return StoredId(self.head.position, self.place, self.head.batch_size)

    def data(self) -> bytes:
        """The payload."""
        return self.payload

    def length(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)

    def has_null_value(self) -> bool:
        """Whether it is a tombstone."""
        return bool(self.metadata().null_value)

    def partition_key(self) -> str:
        """Empty where there is none. Raises UnicodeDecodeError."""
        return str(self.metadata().partition_key, "utf-8")

    def ordering_key(self) -> str:
        """Empty where there is none. Raises UnicodeDecodeError."""
        return str(self.metadata().ordering_key, "utf-8")

    def properties(self) -> dict[str, str]:
        """See ``named``."""
        return named(self.metadata().properties)

    def event_timestamp(self) -> int:
        """Milliseconds; 0 where it has none."""
        return self.metadata().event_time  # type: ignore[no-any-return]

    def publish_timestamp(self) -> int:
        """Milliseconds."""
        return self.head.publish_time

    def producer_name(self) -> str:
        """Raises UnicodeDecodeError."""
        return self.head.producer_name

    def int_schema_version(self) -> int:
        """Negative without a schema."""
        return self.head.version

    def encryption_context(self) -> None:
        """What is encrypted is not plain."""
        return

    def metadata(self) -> Any:
        """Its fields by their names in PulsarApi.proto, in one object; texts are bytes."""
        return self.row if self.layout is None else _single(self.layout, self.row)


#: Makes one of all it has, several times as fast as a call of the class.
_message: Final[Callable[[Iterable[Any]], StoredMessage]] = partial(tuple.__new__, StoredMessage)


@lru_cache(maxsize=16)
def _single(layout: Layout, row: Row) -> Any:
    # Whoever asks for one field asks for others.
    return _Single.FromString(layout.metadata(row))


class StoredId:
    """Its place as pulsar-client has it."""

    __slots__ = ("_index", "_position", "_size")

    def __init__(self, position: Position, index: int, size: int) -> None:
        self._position, self._index, self._size = position, index, size

    def ledger_id(self) -> int:
        """Of the id."""
        return self._position.ledger

    def entry_id(self) -> int:
        """Of the id."""
        return self._position.entry

    def batch_index(self) -> int:
        """-1 outside a producer batch."""
        return self._index

    def serialize(self) -> bytes:
        """As MessageIdData of PulsarApi.proto; outside a batch without an index."""
        place: dict[int, int | str | bytes] = {1: self._position.ledger, 2: self._position.entry}
        return encode(place if self._index < 0 else place | {4: self._index, 6: self._size})


def named(properties: Sequence[Any]) -> dict[str, str]:
    """Properties as pulsar-client gives them: in the order of names, the first of those that have the same.

    Raises UnicodeDecodeError.
    """
    found = {each.key.decode(): each.value.decode() for each in reversed(properties)}
    return dict(sorted(found.items())) if len(found) > 1 else found


def place_of(command: bytes) -> Position:
    """The entry that a command MESSAGE brings. Raises ProtocolError."""
    try:
        found = _Command.FromString(command).message_id
    except Exception:
        raise ProtocolError from None
    return Position(found.ledger, found.entry)


def cut_entry(content: bytes | memoryview, *, check: bool = False) -> tuple[bytes, bytes | memoryview]:
    """The metadata of an entry (MessageMetadata), and what stands behind. Raises ProtocolError.

    ``content`` is what stands behind the command MESSAGE. With ``check`` its checksum has to be right, if it has one;
    raises NotPlainError where it is not: then it is stored so, for the broker looks at it when it takes a message.
    """
    at = 0
    try:
        magic, checksum, size = _HEAD.unpack_from(content)
        if magic == _BROKER_METADATA:
            at = _HEAD.size - _SIZE.size + checksum
            magic, checksum, size = _HEAD.unpack_from(content, at)
        if magic == _CHECKSUM:
            at += _HEAD.size - _SIZE.size
            if check and crc32.iscsi(content[at:]) != checksum:
                raise NotPlainError
        else:
            (size,) = _SIZE.unpack_from(content, at)
    except StructError:
        raise ProtocolError from None
    at += _SIZE.size
    return bytes(content[at : at + size]), content[at + size :]


def _decompressed(metadata: Any, data: _Data) -> _Data:
    compression = metadata.compression
    if not compression:
        return data
    size = metadata.uncompressed_size
    decompress = _DECOMPRESS.get(compression)
    if decompress is None or size > MAX_FRAME:
        raise NotPlainError
    try:
        found = memoryview(decompress(data, size))
    except Exception:
        raise NotPlainError from None
    if len(found) != size:
        raise NotPlainError
    return found


def _unpacked(data: _Data, messages: int) -> tuple[list[Any], list[bytes]]:
    """The metadata and the payloads of a batch: each is the size of its metadata, the metadata and the payload."""
    singles: list[Any] = []
    payloads: list[bytes] = []
    parse, at = _Single.FromString, 0
    try:
        for _ in range(messages):
            begin = at + _SIZE.size
            end = begin + _SIZE.unpack_from(data, at)[0]
            single = parse(bytes(data[begin:end]))
            at = end + single.payload_size
            if single.compacted_out or end > len(data) or at > len(data) or at < end:
                raise NotPlainError
            singles.append(single)
            payloads.append(bytes(data[end:at]))
    except NotPlainError:
        raise
    except Exception:
        raise NotPlainError from None
    if at != len(data):
        raise NotPlainError
    return singles, payloads
