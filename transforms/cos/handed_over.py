"""Records that stages of one process hand to each other as they are, while the runner passes tokens on.

A runner encodes all that goes from one stage to another, and all state, many bytes of which are records: each way costs
copies of them. Where all stages are in the process, and state is never read by another one, a token does as well.

A token is decoded once. What a run that failed has left here stays until its process ends.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import Any

from apache_beam.coders import Coder, registry

from transforms.files.records import Element, Records

_TOKEN = struct.Struct("<q")

_numbers = itertools.count()
_elements: dict[bytes, Element] = {}


class HandedOver(Element):
    """Type of elements that go by token; they are Records and SealMarks as any other."""


class HandedOverCoder(Coder):  # type: ignore[misc]
    """Gives a token for an element, and the element for a token, once."""

    def encode(self, value: Element) -> bytes:
        """Keep it here."""
        return _keep(value)

    def decode(self, encoded: bytes) -> Element:
        """Give it out. Raises KeyError for a token of another process, or one that was decoded before."""
        return _elements.pop(encoded)

    def estimate_size(self, value: Element) -> int:
        """Bytes of the records; Beam samples it for its counters."""
        return len(value.data) if isinstance(value, Records) else _TOKEN.size

    def is_deterministic(self) -> bool:
        """Never used as a key."""
        return False

    def to_type_hint(self) -> type:
        """What it is registered for."""
        return HandedOver


registry.register_coder(HandedOver, HandedOverCoder)


class WaitingRecords:
    """The records of open files in a bag of the runner's state: encoded, or as tokens with ``by_reference``."""

    def __init__(self, bag: Any, *, by_reference: bool) -> None:
        self._bag = bag
        self._by_reference = by_reference

    def add(self, piece: Records) -> None:
        """Put one behind the others."""
        self._bag.add(_keep(piece) if self._by_reference else piece.to_bytes())

    def read(self) -> Iterator[Records]:
        """All of them, in order."""
        if not self._by_reference:
            yield from map(Records.from_bytes, self._bag.read())
            return
        for token in self._bag.read():
            kept = _elements[token]
            assert isinstance(kept, Records)  # noqa: S101 - nothing else is put in
            yield kept

    def clear(self) -> None:
        """Leave none."""
        if self._by_reference:
            for token in self._bag.read():
                del _elements[token]
        self._bag.clear()


def _keep(value: Element) -> bytes:
    token = _TOKEN.pack(next(_numbers))
    _elements[token] = value
    return token
