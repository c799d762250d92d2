"""An encoder that fails as nobody has thought of; by its name here, other processes find it."""

from __future__ import annotations

from transforms.files.format import RecordEncoder


class Odd(Exception):
    """Can be pickled, and not be made again of that."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def odd_encoder() -> RecordEncoder:
    """Raise Odd."""
    raise Odd("what nobody", "has thought of")
