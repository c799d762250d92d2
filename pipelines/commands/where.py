"""Where a backup is: the argument and the options that all commands share that read one."""

# What opens a store loads the client of COS: only who opens one imports it.
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pipelines.commands.words import with_hyphens

if TYPE_CHECKING:
    from transforms.cos.destination import Destination
    from transforms.cos.store import ObjectStore

BackupUrl = Annotated[
    str, typer.Argument(metavar="URL", help="Where the backup is: cos://BUCKET-APPID/PREFIX/ or file:///FOLDER/.")
]
CosRegion = Annotated[
    str | None, typer.Option("--cos-region", metavar="ID", help="Region of the bucket, such as ap-guangzhou.")
]
CosEndpoint = Annotated[
    str | None, typer.Option("--cos-endpoint", metavar="URL", help="Another endpoint, such as http://127.0.0.1:9000.")
]
CosCredentials = Annotated[
    str,
    typer.Option(
        "--cos-credentials",
        metavar="REF",
        help="env (COS_SECRET_ID, COS_SECRET_KEY, COS_TOKEN), file:PATH or cvm-role:NAME.",
    ),
]


class Backup(NamedTuple):
    """A backup that is read: where it is, and the store that is opened there."""

    destination: Destination
    store: ObjectStore

    @property
    def prefix(self) -> str:
        """Begins every key: empty, or ends with ``/``."""
        return self.destination.prefix


def opened_backup(url: str, region: str | None = None, endpoint: str | None = None, credentials: str = "env") -> Backup:
    """Open the backup at a URL to read it, whose last slash may be missing; asks nothing of the network.

    Raises ConfigurationError in the words of these commands; call it inside ``shown.told``.
    """
    from transforms.cos.destination import open_store, parse_destination
    from transforms.cos.folder_store import FolderStore

    whole = url if url.endswith("/") else f"{url}/"
    with in_words_of_commands():
        destination = parse_destination(whole, region=region, endpoint=endpoint, credentials=credentials)
    if destination.folder is not None:
        # One that listing changes nothing in, and that may be mounted read-only.
        return Backup(destination, FolderStore(destination.folder, clean=False))
    return Backup(destination, open_store(destination))


@contextmanager
def in_words_of_commands() -> Iterator[None]:
    """Raise what is wrong with options in the spelling of the command; the job's is another one."""
    from transforms.errors import ConfigurationError

    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(*map(_in_our_words, error.problems)) from None


def _in_our_words(problem: str) -> str:
    """The URL is an argument here, and options have hyphens."""
    return with_hyphens(problem.replace("--destination=", "").replace("--destination ", "The URL "))
