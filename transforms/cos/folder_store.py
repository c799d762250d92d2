"""Objects as files below a folder, with the promises of a bucket: whole or not there, never overwritten."""

from __future__ import annotations

import errno
import filecmp
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fastcrc import crc64 as crc64_of

from transforms.cos.direct_file import DirectFile, direct_file, read_directly, write_directly
from transforms.cos.store import ObjectHead, StoredSize
from transforms.errors import AccessError, BackupError, DestinationError, ObjectConflictError
from transforms.files.pieces import Body, pieces_of

_CHUNK = 1 << 20
_HOST = re.sub(r"[^A-Za-z0-9]", "-", socket.gethostname())[:64]
_LIFE = uuid.uuid4().hex[:8]
"""Tells this process from an earlier one that had the same id."""
_PARTIAL = re.compile(r"\.partial-(?P<host>[A-Za-z0-9-]*)-(?P<process>\d+)-(?P<life>[0-9a-f]{8})-[0-9a-f]{32}")


class FolderStore:
    """An ObjectStore below a folder of a file system with hard links, local or shared. Thread-safe, picklable.

    A file is written under a hidden name, flushed to the disk, and then linked to its own name, which fails if the
    name is taken. Metadata is not kept: equal means equal bytes.
    """

    def __init__(self, folder: str | os.PathLike[str], *, clean: bool = True) -> None:
        """``clean`` says that listing removes partial files whose writers have died; else it changes nothing."""
        self._folder = Path(folder)
        self._clean = clean

    @property
    def retries(self) -> int:
        """None: what a file system refuses it refuses for good."""
        return 0

    def list_keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with ``prefix``, in the order of their UTF-8 bytes; hidden partial files are left out."""
        start = prefix.rpartition("/")[0]
        with self._explained("list"):
            yield from self._walk(self._path(start) if start else self._folder, f"{start}/" if start else "", prefix)

    def list_objects(self, prefix: str, after: str = "") -> Iterator[StoredSize]:
        """All files whose keys begin with ``prefix`` and come behind ``after``, in the order of ``list_keys``."""
        mark = os.fsencode(after)
        for key in self.list_keys(prefix):
            if os.fsencode(key) > mark:
                # What others have put there may have a name that no key of ours has, or be gone by now.
                with self._explained(key), suppress(FileNotFoundError):
                    yield StoredSize(key, (self._folder / key).stat().st_size)

    def head(self, key: str) -> ObjectHead | None:
        """Give size and time of a file; None if there is none. A folder keeps neither CRC64 nor metadata."""
        with self._explained(key):
            path = self._path(key)
            if not path.is_file():
                return None
            found = path.stat()
            return ObjectHead(found.st_size, found.st_mtime, None, {})

    def put(self, key: str, body: Body, metadata: Mapping[str, str]) -> bool:
        """Write a whole object; True if it was created, False if a file with equal bytes stood there already."""
        return self._create(key, lambda file: file.write(body))

    def put_document(self, key: str, body: bytes) -> bool:
        """Write a small object that is read again; the same as ``put``."""
        return self.put(key, body, {})

    def put_part(self, key: str, body: Body) -> None:
        """Write a spooled part; what stands there is replaced."""
        with self._explained(key):
            path = self._path(key)
            with self._written(path, lambda file: file.write(body)) as partial:
                partial.replace(path)

    def join(self, key: str, parts: Sequence[str], tail: Body, crc64: int, metadata: Mapping[str, str]) -> bool:
        """Make one object of spooled parts and a tail; the result is that of ``put``."""

        def write(file: DirectFile) -> None:
            found = 0
            for part in parts:
                with self._explained(part):
                    for piece in read_directly(self._path(part)):
                        found = crc64_of.xz(piece, found)
                        file.write(piece)
            file.write(tail)
            found = pieces_of(tail).crc64(found)
            if found != crc64:
                raise DestinationError(
                    f"{self._folder}/{key} was not written: its parts have CRC64 {found} instead of {crc64}. "
                    "Check the disk; do parts under _spool/ get changed?"
                )

        return self._create(key, write)

    def delete_parts(self, keys: Sequence[str]) -> None:
        """Delete spooled parts. One that is not there is no error."""
        for key in keys:
            with self._explained(key):
                self._path(key).unlink(missing_ok=True)

    def begin_growing(self, key: str) -> str:
        """Make an empty file of this process beside ``key``, which grows until its own key is known; gives its name.

        The file is hidden. Left alone, it is removed by a listing once this process has ended.
        """
        with self._explained(key):
            path = self._new_partial(self._path(key))
            path.touch(exist_ok=False)
            return str(path.relative_to(self._folder))

    def grow(self, hidden: str, offset: int, body: Body) -> None:
        """Write bytes of a growing file, not flushed yet; where and how many is as ``write_directly`` wants it."""
        with self._explained(hidden):
            write_directly(self._folder / hidden, offset, body, flush=False)

    def finish_growing(self, hidden: str, key: str, offset: int, tail: Body) -> bool:
        """Make an object of a growing file of ``offset`` bytes and a tail; the result is that of ``put``."""
        path = self._folder / hidden
        with self._explained(hidden):
            try:
                if path.stat().st_size != offset:
                    raise DestinationError(
                        f"{self._folder}/{key} was not written: {path} has {path.stat().st_size} bytes instead of "
                        f"{offset}. Check the disk; does anything else write under _spool/?"
                    )
                write_directly(path, offset, tail, flush=True)
                self._make_folder(self._path(key).parent)
                return self._link(path, key)
            finally:
                path.unlink(missing_ok=True)

    def discard_growing(self, hidden: str) -> None:
        """Delete a growing file. One that is not there is no error."""
        with self._explained(hidden):
            (self._folder / hidden).unlink(missing_ok=True)

    def list_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Give nothing: a partial file is removed by the next listing once its writer has died."""
        return iter(())

    def abort_upload(self, key: str, upload: str) -> None:
        """Do nothing: there are no uploads."""

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read an object piece by piece, from byte ``start`` to before ``stop``."""
        with self._explained(key), self._path(key).open("rb") as file:
            file.seek(start)
            left = None if stop is None else stop - start
            while chunk := file.read(_CHUNK if left is None else min(_CHUNK, left)):
                left = None if left is None else left - len(chunk)
                yield chunk

    def is_case_blind(self) -> bool:
        """Tell whether names that differ in case only are the same file here."""
        with self._explained("write"), self._written(self._folder / "probe", lambda file: file.write(b"")) as partial:
            return partial.with_name(partial.name.upper()).exists()

    def _create(self, key: str, write: Callable[[DirectFile], object]) -> bool:
        with self._explained(key), self._written(self._path(key), write) as partial:
            return self._link(partial, key)

    def _link(self, partial: Path, key: str) -> bool:
        """Give a flushed file its name."""
        path = self._path(key)
        try:
            os.link(partial, path)
        except FileExistsError:
            if path.is_file() and filecmp.cmp(partial, path, shallow=False):
                return False
            raise ObjectConflictError(
                f"{path} is taken by other content, which is never overwritten: {_size(path)} there, "
                f"{_size(partial)} to be written. Use another folder, or move that file away."
            ) from None
        _flush_folder(path.parent)
        return True

    @contextmanager
    def _written(self, path: Path, write: Callable[[DirectFile], object]) -> Iterator[Path]:
        """Give a flushed file beside ``path`` under a hidden name, and remove that name at the end."""
        partial = self._new_partial(path)
        try:
            with direct_file(partial) as file:
                write(file)
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def _new_partial(self, path: Path) -> Path:
        """A hidden name beside ``path``, in a folder that is there."""
        self._make_folder(path.parent)
        return path.with_name(f".partial-{_HOST}-{os.getpid()}-{_LIFE}-{uuid.uuid4().hex}")

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            _flush_folder(folder.parent)

    def _path(self, key: str) -> Path:
        """Give the file of a key; raises DestinationError for a key that would leave the folder or hide."""
        names = key.split("/")
        if (
            any(name in ("", ".", "..") or _PARTIAL.fullmatch(name) for name in names)
            or any(ord(character) < ord(" ") or character == "\x7f" for character in key)
            or (os.sep != "/" and os.sep in key)
        ):
            raise DestinationError(f"{key!r} cannot be the name of a file below {self._folder}.")
        return self._folder.joinpath(*names)

    def _walk(self, folder: Path, place: str, prefix: str) -> Iterator[str]:
        """Give the keys below ``folder``, whose keys begin with ``place``."""
        try:
            with os.scandir(folder) as entries:
                # A folder sorts as its keys do, which go on with a slash.
                found = sorted((place + e.name + "/" * e.is_dir() for e in entries), key=os.fsencode)
        except (FileNotFoundError, NotADirectoryError):
            return
        for key in found:
            name = key[len(place) :]
            if partial := _PARTIAL.fullmatch(name):
                if self._clean:
                    _remove_if_stale(folder / name, partial)
            elif key.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(folder / name[:-1], key, prefix)
            elif key.startswith(prefix):
                yield key

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _explain(error, self._folder, what) from error


def _explain(error: OSError, folder: Path, what: str) -> BackupError:
    """Put an error of the file system into a sentence with a cure."""
    where = error.filename or folder / what
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessError(f"{where} may not be read, written or linked by this user. Grant it, or use another folder.")
    sentences = {
        errno.ENOSPC: f"The file system of {folder} is full. Make room and run again.",
        errno.EDQUOT: f"The quota of this user on {folder} is used up. Make room and run again.",
        errno.EROFS: f"{folder} is on a file system that is mounted read-only. Mount it writable.",
        errno.ENAMETOOLONG: f"{where} is too long a name for this file system. Shorten the path template.",
        errno.ENOENT: f"{where} is not there. Was it deleted while the job ran?",
        errno.ENOTDIR: f"{where} cannot be made: a part of its path is a file. Use another folder.",
        errno.EEXIST: f"{where} cannot be made: a part of its path is a file. Use another folder.",
        errno.EISDIR: f"{where} is a folder and should be a file. Use another folder.",
        errno.EOPNOTSUPP: f"The file system of {folder} has no hard links. Use another one.",
    }
    default = f"{where} cannot be read or written: {error.strerror or error}."
    return DestinationError(sentences.get(error.errno or 0, default))


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_if_stale(path: Path, name: re.Match[str]) -> None:
    """Remove a partial file whose writer has died. One of another host is left: its writer cannot be seen here."""
    process = int(name["process"])
    if name["host"] != _HOST:
        return
    if process == os.getpid():
        alive = name["life"] == _LIFE
    else:
        try:
            os.kill(process, 0)
            alive = True
        except ProcessLookupError:
            alive = False
        except PermissionError:
            alive = True
    if not alive:
        path.unlink(missing_ok=True)


def _size(path: Path) -> str:
    return f"{path.stat().st_size} bytes" if path.is_file() else "a folder"
