"""The encoding of what is known of a partition, as it waits in a runner's state. A contract, as that of elements is."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import fields
from typing import Any

import orjson

from transforms.files.roll import OpenFile, PartitionFiles
from transforms.pulsar.positions import Position

_VERSION = 1
_BYTES = ("header", "packed")
_POSITIONS = ("first", "last")


def encode_state(state: PartitionFiles) -> bytes:
    """Encode as JSON, bytes within as base64."""
    values: dict[str, Any] = {"version": _VERSION}
    for field in fields(PartitionFiles):
        value = getattr(state, field.name)
        values[field.name] = [_file_to_json(file) for file in value.values()] if field.name == "files" else value
    return orjson.dumps(values, default=list)  # a Position is a list of three


def decode_state(encoded: bytes) -> PartitionFiles:
    """Decode what ``encode_state`` gave. Raises ValueError for anything else."""
    try:
        values = orjson.loads(encoded)
        version = values.pop("version")
        if version != _VERSION:
            raise ValueError(f"state in an encoding of number {version}; this build reads {_VERSION}")
        files = [_file_from_json(value) for value in values.pop("files")]
        for name in (*_POSITIONS, "settled"):
            values[name] = _position(values[name])
        return PartitionFiles({(file.window, file.lane): file for file in files}, **values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"state that was not written by this job: {error!r}") from error


def _file_to_json(file: OpenFile) -> dict[str, Any]:
    return {
        field.name: b64encode(getattr(file, field.name)).decode() if field.name in _BYTES else getattr(file, field.name)
        for field in fields(OpenFile)
    }


def _file_from_json(values: dict[str, Any]) -> OpenFile:
    for name in _BYTES:
        values[name] = b64decode(values[name])
    for name in (*_POSITIONS, "begin"):
        values[name] = _position(values[name])
    values["parts"] = tuple(values["parts"])
    return OpenFile(**values)


def _position(value: list[int] | None) -> Position | None:
    return None if value is None else Position(*value)
