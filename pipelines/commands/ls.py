"""``tdmq-backup ls``."""

# Only what looks imports what opens a store: help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands import looking
from pipelines.commands.where import BackupUrl, CosCredentials, CosEndpoint, CosRegion

if TYPE_CHECKING:
    from pipelines.commands.where import Backup
    from transforms.cos.stored_files import StoredFile
    from transforms.files.folders import Folders
    from transforms.looking.inventory import TopicInventory

_PIPED_WIDTH = 160


def ls(
    url: BackupUrl,
    topic: looking.Topics = None,
    partition: looking.Partition = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only windows that end behind this moment.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Only windows that begin up to this moment.")
    ] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="A line for each file, while they are listed.")] = False,
    as_json: looking.AsJsonLines = False,
    path_template: looking.PathTemplate = looking.DEFAULT_TEMPLATE,
    cos_region: CosRegion = None,
    cos_endpoint: CosEndpoint = None,
    cos_credentials: CosCredentials = "env",
) -> None:
    """Show what a backup holds: a line for each topic, or with --long for each file.

    All of it is read from names: 1,000 objects a request, and nothing is opened.

    \b
    tdmq-backup ls cos://backup-1250000000/pulsar/ --cos-region ap-guangzhou
    tdmq-backup ls file:///tmp/backup/ --topic shop/web/orders --from 2026-11-22T09:00:00Z --long
    """  # noqa: D301 - it is a backspace that keeps lines apart
    from transforms.looking.candidates import Candidates
    from transforms.looking.inventory import take_inventory

    with looking.streamed():
        selection = looking.selected(topic, partition, since, until, quarantine=None)
        folders = looking.folders_of(path_template)
        backup = looking.opened_at(url, cos_region, cos_endpoint, cos_credentials)
        found = Candidates(backup.store, backup.prefix, selection, folders, by_names_alone=True)
        files = found.files()
        if long:
            shown = looking.print_lines(_lines(files, backup, folders, as_json=as_json))
        else:
            shown = _print_inventory(take_inventory(files, folders), as_json=as_json)
        if not shown:
            print(f"No files of messages are there ({found.listed:,} objects were listed).", file=sys.stderr)


def _lines(files: Iterator[StoredFile], backup: Backup, folders: Folders, *, as_json: bool) -> Iterator[str]:
    from transforms.cos.stored_files import QUARANTINE
    from transforms.files.manifest import moment
    from transforms.looking.inventory import topic_in

    for file in files:
        name = file.name
        if not as_json:
            yield (
                f"{moment(name.window):%Y-%m-%d %H:%M:%SZ} {name.granularity:>5}s p{name.partition:<3} "
                f"{name.run.first!s:>16} {name.run.last!s:>16} {name.run.messages:>7,} {file.size:>13,} {file.key}"
            )
            continue
        facts: dict[str, Any] = {
            "url": looking.name_of(backup, file.key),
            "topic": topic_in(file.folder, folders),
            "window": f"{moment(name.window):%Y-%m-%dT%H:%M:%SZ}",
            "granularity": name.granularity,
            "partition": name.partition,
            "first": str(name.run.first),
            "last": str(name.run.last),
            "messages": name.run.messages,
            "bytes": file.size,
            "quarantined": file.area == QUARANTINE,
        }
        yield json.dumps(facts, ensure_ascii=False)


def _print_inventory(found: list[TopicInventory], *, as_json: bool) -> int:
    from rich.table import Table

    from pipelines.sizes import human_size
    from pipelines.terminal import console
    from transforms.files.manifest import moment

    if as_json:
        return looking.print_lines(json.dumps(_facts(each), ensure_ascii=False) for each in found)
    table = Table(box=None, pad_edge=False)
    table.add_column("topic", overflow="fold")
    columns = ["partitions", "windows", "from", "to", "files", "messages", "size"]
    quarantined = any(each.quarantined for each in found)
    for column in [*columns, *(["in quarantine"] if quarantined else [])]:
        table.add_column(column, justify="right")
    for each in found:
        ends = [
            "–" if time is None else f"{moment(time):%Y-%m-%d %H:%M:%S}Z"
            for time in (each.first_window, each.last_window_end)
        ]
        cells = [f"{each.partitions:,}", f"{each.windows:,}", *ends, f"{each.files:,}", f"{each.messages:,}"]
        cells += [human_size(each.bytes), *([f"{each.quarantined:,}"] if quarantined else [])]
        table.add_row(each.topic.removeprefix("persistent://"), *cells)
    if found:
        console(piped_width=_PIPED_WIDTH).print(table)
    return len(found)


def _facts(found: TopicInventory) -> dict[str, Any]:
    from transforms.files.manifest import moment

    ends = {"from": found.first_window, "to": found.last_window_end}
    return {
        "topic": found.topic,
        "partitions": found.partitions,
        "windows": found.windows,
        **{name: None if time is None else f"{moment(time):%Y-%m-%dT%H:%M:%SZ}" for name, time in ends.items()},
        "files": found.files,
        "messages": found.messages,
        "bytes": found.bytes,
        "quarantined": found.quarantined,
    }
