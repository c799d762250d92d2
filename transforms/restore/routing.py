"""Which partition of the target a message goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

KeyHash = Literal["java", "murmur3"]
Routing = Literal["partition", "key"]

_POSITIVE: Final = 0x7FFFFFFF
_WORD: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Router:
    """``partition``: the one of the same index. ``key``: by the hash of the key, as producers do it.

    Messages without a key go, by ``key``, to the partition of their own index modulo the number of partitions; so their
    order is that of the partition they come from. ``key_hash`` is the hashing scheme of the application's producers:
    ``java`` is the default of the Java client (``JavaStringHash``), ``murmur3`` its ``Murmur3_32Hash``.
    """

    by: Routing
    partitions: int
    key_hash: KeyHash = "java"

    def target(self, partition: int, key: str | None) -> int:
        """The index in the target for a message of this partition (0 for a topic without any)."""
        if self.by == "partition":
            return partition
        if key is None:
            return partition % self.partitions
        return (java_hash(key) if self.key_hash == "java" else murmur3_hash(key)) % self.partitions


def java_hash(key: str) -> int:
    """``String.hashCode`` without its sign, as Pulsar's JavaStringHash has it."""
    found = 0
    units = key.encode("utf-16-be")
    for place in range(0, len(units), 2):
        found = (31 * found + (units[place] << 8 | units[place + 1])) & _WORD
    return found & _POSITIVE


def murmur3_hash(key: str) -> int:
    """MurmurHash3 x86 32 bit with seed 0, without its sign, as Pulsar's Murmur3_32Hash has it."""
    data = key.encode()
    found = 0
    for place in range(0, len(data) - 3, 4):
        found ^= _mixed(int.from_bytes(data[place : place + 4], "little"))
        found = (_rotated(found, 13) * 5 + 0xE6546B64) & _WORD
    found ^= _mixed(int.from_bytes(data[len(data) & ~3 :], "little")) ^ len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        found = (found ^ found >> shift) * factor & _WORD
    return found & _POSITIVE


def _mixed(block: int) -> int:
    return _rotated(block * 0xCC9E2D51 & _WORD, 15) * 0x1B873593 & _WORD


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & _WORD
