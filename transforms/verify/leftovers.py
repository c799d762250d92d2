"""What was left behind beside the files: parts under ``_spool/``, and multipart uploads that nobody completed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from transforms.cos.store import ObjectStore
from transforms.cos.stored_files import SPOOL, stored_objects
from transforms.errors import AccessError
from transforms.verify.findings import Finding, Kind


def check_leftovers(store: ObjectStore, prefix: str, wanted: Callable[[str], bool]) -> Iterator[Finding]:
    """Name what is left. ``wanted`` tells of a folder, below prefix and area, whether it matters."""
    for each in stored_objects(store, prefix, SPOOL):
        if wanted(each.folder):
            yield Finding(Kind.SPOOL, each.key, f"{each.size} bytes")
    try:
        for key, upload in store.list_uploads(prefix):
            if wanted(key[len(prefix) :].rpartition("/")[0] + "/"):
                yield Finding(Kind.UPLOAD, key, f"upload {upload}")
    except AccessError as error:
        yield Finding(Kind.UNSEEN, prefix, str(error))
