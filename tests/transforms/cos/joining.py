"""What the tests of the stores write, and how; and what is there then."""

from __future__ import annotations

import os
from pathlib import Path

from fastcrc import crc64

from transforms.testing.cos_server import TEST_BUCKET

KEY = "backup/t/20261122T094500Z-300s-p0003.avro"
META = {"records-crc64": "7", "records-bytes": "11", "messages": "5"}
MIB = 1 << 20


def join(store, parts, tail=b"the tail", metadata=META, key=KEY):
    keys, contents = parts
    return store.join(key, keys, tail, crc64.xz(b"".join(contents) + tail), metadata)


def uploads(server):
    return [upload.key for upload in server.disk.uploads(TEST_BUCKET, "")]


def files(folder):
    """Every file below the folder, hidden ones too."""
    # Not Path.rglob, which fails where a folder vanishes while it looks, as a job makes and removes one.
    found = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return sorted(str(path.relative_to(folder)) for path in found)
