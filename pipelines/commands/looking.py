"""What ``ls``, ``cat`` and ``find`` share: their options, and what they look at."""

# What opens a store loads the client of COS: only who opens one imports it.
# ruff: noqa: PLC0415

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import unquote

import typer

from pipelines.commands.shown import told
from pipelines.commands.where import Backup, opened_backup
from pipelines.terminal import reader_is_gone

if TYPE_CHECKING:
    from transforms.files.folders import Folders
    from transforms.looking.candidates import Candidates
    from transforms.looking.records import Stored
    from transforms.looking.selection import Selection

_Read = TypeVar("_Read")

# That of transforms.files.naming, which takes longer to load than help may.
DEFAULT_TEMPLATE = "{cluster}/{namespace}/{topic}/dt=%Y-%m-%d/hh=%H/"

Topics = Annotated[
    list[str] | None,
    typer.Option(
        "--topic",
        metavar="TOPIC",
        help="Only this topic, as TENANT/NAMESPACE/NAME or a full name; one partition as NAME-partition-3; repeatable.",
    ),
]
Partition = Annotated[
    int | None, typer.Option("--partition", metavar="N", min=0, help="Only this partition; 0 is also a topic without.")
]
Since = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="Published from here on: 2026-11-22T09:45:00Z, …+08:00, or ms."),
]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Published up to here, this moment included.")]
PathTemplate = Annotated[
    str, typer.Option("--path-template", metavar="TEMPLATE", help="That of the backup, if it was not the usual one.")
]
WindowBy = Annotated[
    str | None,
    typer.Option(
        "--window-by",
        metavar="RULE",
        help="That of the backup: publish_time or event_time. Unless given, run records of the topics tell it, else "
        "publish_time is assumed, and said.",
    ),
]
Quarantine = Annotated[bool, typer.Option("--quarantine", help="Look at what is in quarantine, and at nothing else.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="As JSON, one object a line.")]


@contextmanager
def streamed() -> Iterator[None]:
    """For commands that print while they read: errors as sentences; Ctrl-C ends them without a word."""
    with told():
        try:
            yield
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def print_lines(lines: Iterable[str]) -> int:
    """Print lines as they come, until nobody reads any more; gives how many were."""
    count = 0
    for count, line in enumerate(lines, 1):  # noqa: B007
        sys.stdout.write(f"{line}\n")
        if reader_is_gone():
            break
    return count


def selected(
    topics: list[str] | None,
    partition: int | None,
    since: str | None,
    until: str | None,
    *,
    message_id: str | None = None,
    id_range: str | None = None,
    keys: list[str] | None = None,
    quarantine: bool | None = False,
) -> Selection:
    """Read the options that say which messages are asked for. Raises ConfigurationError with all that is wrong."""
    from transforms.errors import ConfigurationError
    from transforms.looking.selection import Selection, parse_id_range, parse_topic
    from transforms.pulsar.points import parse_id, parse_moment

    problems: list[str] = []

    def read(parse: Callable[[str], _Read], text: str | None) -> _Read | None:
        try:
            return None if text is None else parse(text)
        except ConfigurationError as error:
            problems.extend(error.problems)
            return None

    named = tuple(filter(None, (read(parse_topic, topic) for topic in topics or ())))
    first, last = read(partial(parse_moment, "--from"), since), read(partial(parse_moment, "--to"), until)
    if first is not None and last is not None and last < first:
        problems.append(f"--to={until} is before --from={since}.")
    if message_id is not None and id_range is not None:
        problems.append("--id and --id-range: give one of them.")
    ids = read(partial(parse_id, "--id"), message_id) or read(parse_id_range, id_range)
    if problems:
        raise ConfigurationError(*problems)
    return Selection(named, partition, first, last, ids, frozenset(keys or ()), quarantine)


def folders_of(path_template: str) -> Folders:
    """Read ``--path-template``. Raises ConfigurationError."""
    from transforms.errors import ConfigurationError
    from transforms.files.folders import Folders
    from transforms.files.naming import template_problems

    problems = [each.replace("--path_template", "--path-template") for each in template_problems(path_template)]
    if problems:
        raise ConfigurationError(*problems)
    return Folders(path_template)


def opened_at(place: str, region: str | None, endpoint: str | None, credentials: str) -> Backup:
    """Open a backup at a URL, or at a path of this machine. Raises ConfigurationError and DestinationError."""
    from transforms.errors import ConfigurationError, DestinationError

    path = _local(place)
    if path is None:
        return opened_backup(place, region, endpoint, credentials)
    if "://" not in place and not path.exists():
        raise ConfigurationError(
            f"{place} is neither cos://BUCKET-APPID/PREFIX/ nor file:///FOLDER/, and there is no such file or folder."
        )
    if not path.is_dir():
        raise DestinationError(f"There is no folder {path}.")
    return opened_backup(f"{path.absolute().as_uri()}/")


def opened_object(place: str, region: str | None, endpoint: str | None, credentials: str) -> Stored:
    """Open one object at a URL or a path. Raises ConfigurationError, and DestinationError where there is none."""
    from transforms.errors import DestinationError
    from transforms.looking.records import Stored

    above, slash, base = place.rpartition("/")
    above = above + slash or "./"
    if _local(place) is not None:
        backup, key = opened_at(above, region, endpoint, credentials), base
        if "://" in place:
            key = Path(_local(place) or "").name
    else:
        backup = opened_backup(above, region, endpoint, credentials)
        key = backup.prefix + base
    head = backup.store.head(key)
    if head is None:
        raise DestinationError(f"There is no object {place}.")
    return Stored(backup.store, key, head.size, place)


def is_object(place: str) -> bool:
    """Whether a place is one file of messages, and not all of a backup, by its name."""
    from transforms.looking.records import EXTENSIONS

    return any(place.endswith(f".{extension}") for extension in EXTENSIONS)


def candidates(backup: Backup, selection: Selection, path_template: str, window_by: str | None) -> Candidates:
    """The objects that may hold what is asked for. Raises ConfigurationError.

    Says it on stderr where windows are taken to be by publish time, and nothing tells whether they are.
    """
    from transforms.errors import ConfigurationError
    from transforms.looking.candidates import Candidates, windows_by_event_time

    if window_by not in (None, "publish_time", "event_time"):
        raise ConfigurationError(f"--window-by={window_by}: choose one of publish_time, event_time.")
    folders = folders_of(path_template)
    by_event_time = window_by == "event_time"
    if window_by is None and selection.by_time:
        told_by_records = windows_by_event_time(backup.store, backup.prefix, selection)
        by_event_time = bool(told_by_records)
        if told_by_records is None:
            print(
                "Run records do not tell by what time all of these windows are: publish time is assumed. Where it is "
                "event time, messages are missed: give --window-by=event_time, or publish_time to be told no more.",
                file=sys.stderr,
            )
    return Candidates(backup.store, backup.prefix, selection, folders, by_event_time=by_event_time)


def stored_in(backup: Backup, found: Candidates) -> Iterator[Stored]:
    """The candidates of a backup, to be read."""
    from transforms.looking.records import Stored

    for file in found.files():
        yield Stored(backup.store, file.key, file.size, name_of(backup, file.key))


def name_of(backup: Backup, key: str) -> str:
    """The URL of an object."""
    destination = backup.destination
    return f"cos://{destination.bucket}/{key}" if destination.bucket else f"{destination.url}{key}"


def _local(place: str) -> Path | None:
    """The path that a place on this machine has; None for a bucket, or for what is neither."""
    if "://" not in place:
        return Path(place).expanduser()
    return Path(unquote(place[len("file://") :])) if place.startswith("file:///") else None
