"""Avro container files, read back block by block from an object that arrives piece by piece."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import zstandard

from transforms.errors import DamagedError
from transforms.files.avro import MAGIC
from transforms.files.avro_primitives import MisfitError, read_long

_SYNC_BYTES: Final = 16
_LONGEST_NUMBER: Final = 10
_CHECKSUM_BYTES: Final = 4
_LARGEST_BLOCK: Final = 2**31


class Block(NamedTuple):
    """One block of a container, decompressed."""

    messages: int
    records: bytes


class Container:
    """A container file; its header is read when it is made.

    ``pieces`` is the content of the object ``name``, whole and in order. Raises DamagedError, here and while blocks
    are read, that says at which byte what was found is no container.
    """

    def __init__(self, pieces: Iterable[bytes], name: str) -> None:
        self._source = _Source(pieces, name)
        if self._source.take(len(MAGIC)) != MAGIC:
            raise self._source.damaged("it does not begin as an Avro file does")
        entries = dict(self._metadata())
        self._sync = self._source.take(_SYNC_BYTES)
        self.codec = entries.get("avro.codec", b"null").decode(errors="replace")
        if self.codec not in _CODECS:
            raise self._source.damaged(f"its codec is {self.codec!r}, and {', '.join(_CODECS)} can be read")
        try:
            self.schema: Any = json.loads(entries["avro.schema"])
        except (KeyError, ValueError):
            raise self._source.damaged("its header holds no schema") from None

    def blocks(self) -> Iterator[Block]:
        """Give the blocks in order. Memory: one block."""
        source, decompress = self._source, _CODECS[self.codec]
        while not source.ended():
            count, size = source.number(), source.number()
            if count < 0 or not 0 <= size < _LARGEST_BLOCK:
                raise source.damaged("a block has an impossible size")
            data = source.take(size)
            if source.take(_SYNC_BYTES) != self._sync:
                raise source.damaged("a block does not end with the mark of its file")
            try:
                records = decompress(data)
            except (zlib.error, zstandard.ZstdError, ValueError, OSError) as error:
                raise source.damaged(f"a block cannot be decompressed ({error})") from None
            yield Block(count, records)

    def _metadata(self) -> Iterator[tuple[str, bytes]]:
        source = self._source
        while count := source.number():
            if count < 0:  # Avro: then the size of the map's block follows, for readers that skip it
                source.number()
            for _ in range(abs(count)):
                name = source.sized().decode(errors="replace")
                yield name, source.sized()


class _Source:
    """The bytes of an object in the order in which they come, and how many were taken."""

    def __init__(self, pieces: Iterable[bytes], name: str) -> None:
        self._pieces = iter(pieces)
        self._name = name
        self._buffer = b""
        self._place = 0
        self._before = 0

    def damaged(self, what: str) -> DamagedError:
        return DamagedError(f"{self._name} is damaged at byte {self._before + self._place}: {what}.")

    def ended(self) -> bool:
        return not self._fill(1)

    def take(self, size: int) -> bytes:
        if not self._fill(size):
            raise self.damaged("it ends too early")
        taken = self._buffer[self._place : self._place + size]
        self._place += size
        return taken

    def number(self) -> int:
        self._fill(_LONGEST_NUMBER)
        try:
            value, self._place = read_long(self._buffer, self._place)
        except IndexError:
            raise self.damaged("it ends too early") from None
        except MisfitError as error:
            raise self.damaged(str(error)) from None
        return value

    def sized(self) -> bytes:
        size = self.number()
        if not 0 <= size < _LARGEST_BLOCK:
            raise self.damaged("a text has an impossible size")
        return self.take(size)

    def _fill(self, size: int) -> bool:
        """Hold at least ``size`` bytes in the buffer, if there are as many."""
        held = len(self._buffer) - self._place
        if held >= size:
            return True
        pieces = [self._buffer[self._place :]]
        self._before += self._place
        while held < size and (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
            held += len(piece)
        self._buffer, self._place = b"".join(pieces), 0
        return held >= size


def _snappy(data: bytes) -> bytes:
    import cramjam  # noqa: PLC0415 - only this codec needs the package

    try:
        records = bytes(cramjam.snappy.decompress_raw(data[:-_CHECKSUM_BYTES]))
    except cramjam.DecompressionError as error:
        raise ValueError(str(error)) from None
    if data[-_CHECKSUM_BYTES:] != struct.pack(">I", zlib.crc32(records)):
        msg = "its checksum is another one"
        raise ValueError(msg)
    return records


def _deflate(data: bytes) -> bytes:
    inflate = zlib.decompressobj(-15)
    records = inflate.decompress(data) + inflate.flush()
    if not inflate.eof or inflate.unused_data:
        msg = "it is cut off, or has something behind it"
        raise ValueError(msg)
    return records


_CODECS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "null": lambda data: data,
    "deflate": _deflate,
    "snappy": _snappy,
    "zstandard": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
