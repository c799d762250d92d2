"""Compression of one block of records, and the names that codecs have in each format.

Chosen by measuring blocks of 256 KiB of 200-byte messages with an envelope (CPU of one core of an AVX-512 machine;
ratio for Avro / for JSON lines):

===================  ============  ===============
zlib 6                 31-56 MB/s    6.2 / 11.4
zlib-ng 6             51-100 MB/s    6.2 / 11.6
zlib-ng 1            209-371 MB/s    4.4 /  7.7
isal 1               370-674 MB/s    5.9 / 10.9
zstd 1               257-418 MB/s    7.2 / 13.1
zstd 3               176-302 MB/s    6.3 / 11.8
snappy               550-791 MB/s    3.8 /  6.1
===================  ============  ===============

So deflate and gzip are made by ISA-L. Equal records must give equal bytes wherever a worker runs, and ISA-L picks its
inner loops by processor: for 70 inputs (text, noise, repetition) its levels 0 to 2 gave the same bytes on an emulated
Nehalem (SSE 4.2), an emulated Haswell (AVX2) and a real AVX-512 processor, its level 3 gave three different outputs.
Hence levels 1 and 2 only. Not measured: processors that are not x86-64. zstd and snappy gave the same bytes everywhere.
Nothing is promised across versions of the libraries: pin them, and compare files by their records.
"""

from __future__ import annotations

import struct
import threading
import zlib
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import zstandard
from isal import isal_zlib

from transforms.errors import ConfigurationError
from transforms.files.pieces import Pieces


class Compressor(Protocol):
    """Compresses one block. Picklable, immutable, usable by several threads at once."""

    def compress(self, records: Pieces) -> Pieces:
        """Compress; a pure function of the bytes of ``records``, not of how they are pieced."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """No compression."""

    def compress(self, records: Pieces) -> Pieces:
        """See `Compressor.compress`."""
        return records


@dataclass(frozen=True, slots=True)
class Deflate:
    """Raw deflate (RFC 1951), as Avro wants it: without a header and without a checksum."""

    level: int = 1

    def compress(self, records: Pieces) -> Pieces:
        """See `Compressor.compress`."""
        return Pieces(isal_zlib.compress(records.whole(), self.level, -15))


#: RFC 1952: magic, deflate, no flags, mtime 0 (none), no extra flags, operating system unknown.
_GZIP_HEADER: Final = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255))


@dataclass(frozen=True, slots=True)
class Gzip:
    """One whole gzip member; members may stand one behind the other in a file (RFC 1952, 2.2)."""

    level: int = 1

    def compress(self, records: Pieces) -> Pieces:
        """See `Compressor.compress`."""
        data = records.whole()
        body = isal_zlib.compress(data, self.level, -15)
        return Pieces(_GZIP_HEADER, body, struct.pack("<II", isal_zlib.crc32(data), len(data) & 0xFFFFFFFF))


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.compressors: dict[int, Any] = {}


_of_thread = _OfThread()


@dataclass(frozen=True, slots=True)
class Zstandard:
    """One zstd frame with its content size and a checksum, without a dictionary."""

    level: int = 1

    def compress(self, records: Pieces) -> Pieces:
        """See `Compressor.compress`."""
        # A zstandard compressor must not be used by two threads at once and is dear to make, so each thread has one.
        compressor = _of_thread.compressors.get(self.level)
        if compressor is None:
            compressor = zstandard.ZstdCompressor(level=self.level, write_content_size=True, write_checksum=True)
            _of_thread.compressors[self.level] = compressor
        return Pieces(compressor.compress(records.whole()))


@dataclass(frozen=True, slots=True)
class Snappy:
    """Raw snappy and the big-endian CRC-32 of the uncompressed data (Avro specification, "snappy")."""

    def compress(self, records: Pieces) -> Pieces:
        """See `Compressor.compress`."""
        import cramjam  # noqa: PLC0415 - only this codec needs the package

        data = records.whole()
        return Pieces(bytes(cramjam.snappy.compress_raw(data)), struct.pack(">I", zlib.crc32(data)))


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec as one format has it."""

    name: str
    """In Avro, the name in a file's header."""
    compressor: Compressor
    suffix: str = ""
    """What it adds to a file's extension."""


_NO_LEVEL: Final = range(0)
_DEFLATE_LEVELS: Final = range(1, 3)
_ZSTD_LEVELS: Final = range(1, 20)

#: By format: the name a person gives, the codec without a level, and the levels it may have.
_AVRO: Final[dict[str, tuple[Codec, range]]] = {
    "null": (Codec("null", Stored()), _NO_LEVEL),
    "deflate": (Codec("deflate", Deflate()), _DEFLATE_LEVELS),
    "snappy": (Codec("snappy", Snappy()), _NO_LEVEL),
    "zstandard": (Codec("zstandard", Zstandard()), _ZSTD_LEVELS),
}
_JSONL: Final[dict[str, tuple[Codec, range]]] = {
    "none": (Codec("none", Stored()), _NO_LEVEL),
    "gzip": (Codec("gzip", Gzip(), ".gz"), _DEFLATE_LEVELS),
    "zstd": (Codec("zstd", Zstandard(), ".zst"), _ZSTD_LEVELS),
}
_ALIASES: Final = {"avro": {"none": "null", "zstd": "zstandard"}, "jsonl": {"null": "none", "zstandard": "zstd"}}
_DEFAULTS: Final = {"avro": "deflate", "jsonl": "gzip"}


def codec_of(file_format: str, codec: str | None) -> Codec:
    """Find the codec that a person asked for: ``name`` or ``name:level`` such as ``zstd:9``; None is the default.

    The default is what every reader of the format has. Raises ConfigurationError, which lists what is valid.
    """
    known = {"avro": _AVRO, "jsonl": _JSONL}[file_format]
    name, _, level_text = (codec or _DEFAULTS[file_format]).partition(":")
    name = _ALIASES[file_format].get(name, name)
    if name not in known:
        msg = f"--codec={codec} is not a codec of --format={file_format}: choose one of {', '.join(known)}."
        raise ConfigurationError(msg)
    found, levels = known[name]
    if ":" not in (codec or ""):
        return found
    if not levels:
        msg = f"--codec={codec}: {name} has no levels; write --codec={name}."
        raise ConfigurationError(msg)
    level = int(level_text) if level_text.isascii() and level_text.isdigit() else -1
    if level not in levels:
        msg = f"--codec={codec}: the level of {name} is a number from {levels[0]} to {levels[-1]}."
        raise ConfigurationError(msg)
    return replace(found, compressor=type(found.compressor)(level))  # type: ignore[call-arg]
