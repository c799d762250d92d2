"""The objects of a backup, window by window, while they are listed.

A window is what stands in one folder under one start: its files, those in quarantine too, and its manifests. A listing
gives files before manifests, so a folder is held until it is listed; one with very many objects is gone through by two
listings side by side instead. Memory: the names of a folder, but not more than ``HELD`` and one window.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Final, NamedTuple

from transforms.cos.store import ObjectStore
from transforms.cos.stored_files import QUARANTINE, OtherObject, StoredFile, stored_objects
from transforms.files.manifest import ManifestName, parse_manifest_name

HELD: Final = 10_000
_MANIFEST: Final = "_manifest-"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class ManifestObject(NamedTuple):
    """An object that is called as a manifest is."""

    key: str
    folder: str
    name: ManifestName
    size: int


@dataclass(slots=True)
class Window:
    """What stands in one folder of one window."""

    folder: str
    """Below the prefix, with the slash at its end unless it is empty."""
    start: int
    """Milliseconds since 1970."""
    files: list[StoredFile] = field(default_factory=list)
    manifests: list[ManifestObject] = field(default_factory=list)


def windows_of(store: ObjectStore, prefix: str, below: Sequence[str] = ("",)) -> Iterator[Window | OtherObject]:
    """Give what stands below ``prefix`` in places that begin with one of ``below``, and is in no area but quarantine.

    Objects that are neither files of messages nor manifests come as they are. ``below`` must be in order, and none of
    it may begin with another.
    """
    open_folders: list[_Folder] = []
    for each in _objects(store, prefix, below):
        while open_folders and not each.folder.startswith(open_folders[-1].name):
            yield from open_folders.pop().rest()
        if not open_folders or open_folders[-1].name != each.folder:
            open_folders.append(_Folder(store, prefix, each.folder))
        if isinstance(each, StoredFile):
            yield from open_folders[-1].take(each)
        elif each.area or not open_folders[-1].take_manifest(each):
            yield each
    while open_folders:
        yield from open_folders.pop().rest()


def files_of(store: ObjectStore, prefix: str, below: Sequence[str] = ("",)) -> Iterator[StoredFile]:
    """Give the files of messages alone, those in quarantine too."""
    for each in _objects(store, prefix, below):
        if isinstance(each, StoredFile):
            yield each


def _objects(store: ObjectStore, prefix: str, below: Sequence[str]) -> Iterator[StoredFile | OtherObject]:
    """Files and quarantine as one listing, in the order of their places."""
    for each in below:
        main = (found for found in stored_objects(store, prefix, each) if not found.area)
        quarantine = stored_objects(store, prefix, QUARANTINE + each)
        yield from heapq.merge(main, quarantine, key=lambda found: found.key[len(prefix) + len(found.area) :])


class _Folder:
    """Gathers the windows of one folder."""

    def __init__(self, store: ObjectStore, prefix: str, name: str) -> None:
        self.name = name
        self._store = store
        self._prefix = prefix
        self._windows: defaultdict[int, Window] = defaultdict(lambda: Window(name, 0))
        self._held = 0
        self._beside: Iterator[ManifestObject] | None = None
        """A listing of the manifests, where the folder is too large to be held."""
        self._next: ManifestObject | None = None

    def take(self, file: StoredFile) -> Iterator[Window]:
        """Take a file in; gives the windows that are complete by that, if files come in the order of windows."""
        start = file.name.window
        self._windows[start].start = start
        self._windows[start].files.append(file)
        self._held += 1
        if self._beside is None and self._held > HELD:
            self._beside = self._manifests()
            self._next = next(self._beside, None)
            for window in self._windows.values():
                window.manifests.clear()  # the other listing gives them again
        if self._beside is not None:
            yield from self._before(start)

    def take_manifest(self, found: OtherObject) -> bool:
        """Take a manifest in; False for anything else."""
        name = parse_manifest_name(found.base)
        if name is None:
            return False
        if self._beside is None:
            self._add(ManifestObject(found.key, found.folder, name, found.size))
            self._held += 1
        return True

    def rest(self) -> Iterator[Window]:
        """All windows that are left."""
        yield from self._before(None)

    def _before(self, start: int | None) -> Iterator[Window]:
        while self._next is not None and (start is None or _start(self._next) < start):
            self._add(self._next)
            self._next = next(self._beside or iter(()), None)
        for each in sorted(self._windows):
            if start is None or each < start:
                window = self._windows.pop(each)
                self._held -= len(window.files)
                yield window

    def _add(self, found: ManifestObject) -> None:
        start = _start(found)
        self._windows[start].start = start
        self._windows[start].manifests.append(found)

    def _manifests(self) -> Iterator[ManifestObject]:
        for found in stored_objects(self._store, self._prefix, self.name + _MANIFEST):
            name = parse_manifest_name(found.base) if isinstance(found, OtherObject) else None
            if name is not None and found.folder == self.name:
                yield ManifestObject(found.key, found.folder, name, found.size)


def _start(found: ManifestObject) -> int:
    return round((found.name.window - _EPOCH).total_seconds()) * 1000
