"""What stands below the prefix of a backup, told apart by names alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from transforms.cos.store import ObjectStore
from transforms.files.naming import FileName, parse_name

QUARANTINE: Final = "_quarantine/"
#: Our own areas below the prefix, which hold no messages of a backup's own.
SPOOL: Final = "_spool/"
RUNS: Final = "_runs/"


class StoredFile(NamedTuple):
    """An object that holds messages, by its key."""

    key: str
    area: str
    """``_quarantine/``, or empty."""
    folder: str
    """Below prefix and area, with the slash at its end unless it is empty."""
    name: FileName
    size: int
    """Bytes."""


class OtherObject(NamedTuple):
    """Any other object: a manifest, a run record, a spooled part, or something of other people."""

    key: str
    area: str
    """``_quarantine/``, ``_spool/``, ``_runs/``, or empty."""
    folder: str
    base: str
    """The name, without folder."""
    size: int


def stored_objects(
    store: ObjectStore, prefix: str, below: str = "", *, after: str = ""
) -> Iterator[StoredFile | OtherObject]:
    """Give all objects below ``prefix`` whose keys begin with ``below`` there, in the order of their keys.

    Within a folder that is the order of windows, then of partitions, then of messages. Those up to ``after``, a key
    below the prefix, are passed over. Memory: a page of a listing.
    """
    for key, size in store.list_objects(prefix + below, prefix + after if after else ""):
        place = key[len(prefix) :]
        area = next((area for area in (QUARANTINE, SPOOL, RUNS) if place.startswith(area)), "")
        folder, slash, base = place[len(area) :].rpartition("/")
        name = parse_name(base) if area in ("", QUARANTINE) else None
        # A name that we would have written otherwise is not one of ours.
        if name is not None and str(name) == base:
            yield StoredFile(key, area, folder + slash, name, size)
        else:
            yield OtherObject(key, area, folder + slash, base, size)
