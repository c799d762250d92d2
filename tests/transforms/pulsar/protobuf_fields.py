"""What is written in protobuf must be read back alike."""

from __future__ import annotations

from collections.abc import Mapping

from transforms.pulsar.protobuf import Fields, encode


def assert_read_back(fields: Mapping[int, int | str | bytes]) -> None:
    read = Fields(encode(fields))
    for number, value in fields.items():
        if isinstance(value, int):
            assert read.number(number) == value, number
        else:
            assert read.strings(number) == [value.encode() if isinstance(value, str) else value], number
