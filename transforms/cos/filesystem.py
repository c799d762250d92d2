"""``cos://`` as a file system of Apache Beam: ``ReadFromAvro``, ``ReadFromText`` and ``fileio`` work on a bucket.

Importing this module registers it, also on the workers of the pipelines that are built then. Region, endpoint and the
reference to the credentials are pipeline options of the job's own names, else ``COS_REGION``, ``COS_ENDPOINT`` and
``env``. Options never hold a secret.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from apache_beam.io.filesystem import BeamIOError, CompressedFile, CompressionTypes, FileMetadata, FileSystem
from apache_beam.options.pipeline_options import PipelineOptions

from transforms.cos.bucket import Bucket, open_bucket
from transforms.cos.destination import Destination, parse_destination
from transforms.cos.object_files import READ_AT_ONCE, ObjectReader, ObjectWriter
from transforms.errors import BackupError, ConfigurationError

_SCHEME: Final = "cos://"
_MIME_TYPE: Final = "application/octet-stream"


class CosOptions(PipelineOptions):  # type: ignore[misc]
    """Where the buckets of ``cos://`` are, and by which key they are opened."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--cos_region", help="Region of the buckets of cos://, such as ap-guangzhou.")
        parser.add_argument("--cos_endpoint", help="Another endpoint of COS, such as http://127.0.0.1:9000.")
        parser.add_argument(
            "--cos_credentials", help="Reference to the key for COS: env, file:PATH or cvm-role:NAME; never the key."
        )
        # Only the Dataflow runner tells its workers of file systems by itself. Others pass on options, and a worker
        # imports what is in beam_plugin. Options that have their default are not passed on by all: but a default that
        # is text is read by its type, and so differs from itself.
        parser.add_argument("--cos_plugin", dest="beam_plugin", type=_one, default=__name__, help="Leave it alone.")


def _one(text: str) -> list[str]:
    return [text]


class CosIOError(BeamIOError):  # type: ignore[misc]
    """What COS, or the options of the pipeline, stand against: a sentence, and the errors by path."""

    def __init__(self, message: str, exception_details: Any = None) -> None:
        super().__init__(message, exception_details)
        # Beam would put all details behind the sentence, in which they are already.
        self.args = (message,)


class CosFileSystem(FileSystem):  # type: ignore[misc]
    """Objects of COS as files. There are no folders, only names with slashes.

    Files appear whole when they are closed, and replace what had their name; but nothing that has the name of a file
    or a manifest of a backup is replaced by other content. ``copy`` and ``rename`` take 5 GB a file at most, and
    buckets of one region; ``rename`` copies and deletes what was copied, so it is not one step. Deleting a path that
    ends with ``/`` deletes all that is below it.
    """

    def __init__(self, pipeline_options: Any) -> None:
        super().__init__(pipeline_options)
        self._options = pipeline_options

    @classmethod
    def scheme(cls) -> str:
        """Give ``cos``."""
        return "cos"

    def join(self, basepath: str, *paths: str) -> str:
        """Join names with one slash between each two."""
        _require_scheme(basepath)
        for path in paths:
            basepath = f"{basepath.rstrip('/')}/{path.lstrip('/')}"
        return basepath

    def split(self, path: str) -> tuple[str, str]:
        """Give what stands before the last slash, and the name behind it; of a bucket alone, the bucket and nothing."""
        rest = _require_scheme(path)
        head, slash, tail = rest.rpartition("/")
        return (_SCHEME + head, tail) if slash else (_SCHEME + tail, "")

    def mkdirs(self, path: str) -> None:
        """Do nothing: there are no folders to make."""

    def has_dirs(self) -> bool:
        """Tell that there are none."""
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        with _told(dir_or_prefix):
            name, _, prefix = _require_scheme(dir_or_prefix).partition("/")
            for entry in self._bucket(name).list(prefix):
                yield FileMetadata(f"{_SCHEME}{name}/{entry.key}", entry.size, entry.modified)

    def create(self, path: str, mime_type: str = _MIME_TYPE, compression_type: str = CompressionTypes.AUTO) -> Any:
        """Open a new file for writing; it appears when it is closed, in place of what had its name."""
        compression = self._get_compression_type(path, compression_type)
        with _told(path):
            bucket, key = self._place(path)
            file = ObjectWriter(bucket, key, CompressionTypes.mime_type(compression, mime_type))
        return file if compression == CompressionTypes.UNCOMPRESSED else CompressedFile(file, compression)

    def open(self, path: str, mime_type: str = _MIME_TYPE, compression_type: str = CompressionTypes.AUTO) -> Any:
        """Open a file for reading, from any place; what its extension says is compressed is decompressed."""
        compression = self._get_compression_type(path, compression_type)
        with _told(path):
            file = io.BufferedReader(ObjectReader(*self._place(path)), READ_AT_ONCE)
        return file if compression == CompressionTypes.UNCOMPRESSED else CompressedFile(file, compression)

    def copy(self, source_file_names: Sequence[str], destination_file_names: Sequence[str]) -> None:
        """Copy files; with a source that ends with ``/``, all that is below it."""
        self._for_each(_pairs(source_file_names, destination_file_names), self._copy)

    def rename(self, source_file_names: Sequence[str], destination_file_names: Sequence[str]) -> None:
        """Copy files, and delete those that were copied; what comes to stand below a source meanwhile is left.

        A source that is its own destination, or would be moved to below itself, is an error.
        """

        def move(source: str, destination: str) -> None:
            self._place(source)
            if _lands_on_itself(source, destination):
                raise ConfigurationError(f"{source} cannot be renamed to {destination}: that is itself, or below it.")
            for bucket, key in self._copy(source, destination):
                bucket.delete(key)

        self._for_each(_pairs(source_file_names, destination_file_names), move)

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object."""
        with _told(path):
            bucket, key = self._place(path)
            return bucket.head(key) is not None

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return self.metadata(path).size_in_bytes  # type: ignore[no-any-return]

    def last_updated(self, path: str) -> float:
        """Seconds since 1970."""
        return self.metadata(path).last_updated_in_seconds  # type: ignore[no-any-return]

    def checksum(self, path: str) -> str:
        """The CRC-64/XZ that COS has computed, as a decimal number."""
        with _told(path):
            bucket, key = self._place(path)
            return str(bucket.require(key).crc64)

    def metadata(self, path: str) -> FileMetadata:
        """Size and time of a file."""
        with _told(path):
            bucket, key = self._place(path)
            head = bucket.require(key)
            return FileMetadata(path, head.size, head.modified)

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files; with a path that ends with ``/``, all that is below it. What is not there is no error."""
        self._for_each([(path,) for path in paths], self._delete)

    def _copy(self, source: str, destination: str) -> list[tuple[Bucket, str]]:
        """Copy a file, or all that is below a path; gives the files that were copied."""
        if not source.endswith("/"):
            return [self._copy_one(source, destination)]
        below = _as_folder(destination)
        # To the end first: copies may come to stand below the source.
        return [self._copy_one(file.path, below + file.path[len(source) :]) for file in list(self._list(source))]

    def _copy_one(self, source: str, destination: str) -> tuple[Bucket, str]:
        """Copy one object, also one whose name ends with a slash, as consoles write it for a folder."""
        (bucket, key), (target, target_key) = self._place(source), self._place(destination)
        target.copy(target_key, bucket, key)
        return bucket, key

    def _delete(self, path: str) -> None:
        bucket, key = self._place(path)
        for each in [entry.key for entry in bucket.list(key)] if path.endswith("/") else [key]:
            bucket.delete(each)

    def _for_each(self, arguments: Iterable[tuple[str, ...]], act: Callable[..., object]) -> None:
        """Act on each, whatever becomes of the others; raises one CosIOError for all that failed."""
        failed: dict[Any, Exception] = {}
        for each in arguments:
            try:
                with _told(each[0]):
                    act(*each)
            except BeamIOError as error:
                failed[each if len(each) > 1 else each[0]] = error
        if failed:
            raise CosIOError(" ".join(map(str, failed.values())), failed)

    def _place(self, path: str) -> tuple[Bucket, str]:
        """The bucket and the key of a path; raises ConfigurationError."""
        bucket, _, key = _require_scheme(path).partition("/")
        if not key:
            raise ConfigurationError(f"{path} names a bucket and no object in it: write cos://BUCKET-APPID/NAME.")
        return self._bucket(bucket), key

    def _bucket(self, name: str) -> Bucket:
        url = f"{_SCHEME}{name}/"
        region, endpoint = self._option("cos_region"), self._option("cos_endpoint")
        if not region and not endpoint:
            raise ConfigurationError(
                f"{url}: nobody says where the bucket is. Give the pipeline option --cos_region=ap-guangzhou (the "
                "bucket's own), or set COS_REGION where the workers run."
            )
        return open_bucket(_destination(url, region, endpoint, self._option("cos_credentials") or "env"))

    def _option(self, name: str) -> str | None:
        options = self._options or {}
        if isinstance(options, PipelineOptions):
            found = getattr(options.view_as(CosOptions), name)
        else:
            found = options.get(name)
        return found or os.environ.get(name.upper()) or None


@lru_cache(maxsize=256)
def _destination(url: str, region: str | None, endpoint: str | None, credentials: str) -> Destination:
    """Checked once, not with each file."""
    try:
        return parse_destination(url, region=region, endpoint=endpoint, credentials=credentials)
    except ConfigurationError as error:
        raise ConfigurationError(*(each.replace("--destination=", "") for each in error.problems)) from None


def _pairs(sources: Sequence[str], destinations: Sequence[str]) -> list[tuple[str, str]]:
    if len(sources) != len(destinations):
        raise CosIOError(f"There are {len(sources)} files and {len(destinations)} names for them.")
    return list(zip(sources, destinations, strict=True))


def _as_folder(path: str) -> str:
    return path if path.endswith("/") else f"{path}/"


def _lands_on_itself(source: str, destination: str) -> bool:
    """Whether a file, or one of those below a path, would be renamed to what is to be deleted."""
    return _as_folder(destination).startswith(source) if source.endswith("/") else destination == source


def _require_scheme(path: str) -> str:
    """What follows ``cos://``."""
    if not path.startswith(_SCHEME):
        raise ValueError(f"{path} does not begin with {_SCHEME}.")
    return path[len(_SCHEME) :]


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Errors of ours as Beam expects them."""
    try:
        yield
    except BackupError as error:
        raise CosIOError(str(error), {path: error}) from error
