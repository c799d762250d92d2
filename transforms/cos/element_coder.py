"""How encoded records travel between stages."""

from __future__ import annotations

from apache_beam.coders import Coder

from transforms.files.records import Element, decode_element, encode_element


class ElementCoder(Coder):  # type: ignore[misc]
    """The stable encoding of Records and SealMark."""

    def encode(self, value: Element) -> bytes:
        """Encode."""
        return encode_element(value)

    def decode(self, encoded: bytes) -> Element:
        """Decode."""
        return decode_element(encoded)

    def is_deterministic(self) -> bool:
        """True."""
        return True

    def to_type_hint(self) -> type:
        """What it is registered for."""
        return Element
