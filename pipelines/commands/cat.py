"""``tdmq-backup cat``."""

# Only what looks imports what opens a store: help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands import looking
from pipelines.commands.where import CosCredentials, CosEndpoint, CosRegion

if TYPE_CHECKING:
    from transforms.looking.records import Stored
    from transforms.looking.selection import Selection


def cat(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="URL…", help="A backup (cos://BUCKET-APPID/PREFIX/, file:///FOLDER/, a path), or objects of one."
        ),
    ],
    message_id: Annotated[
        str | None, typer.Option("--id", metavar="L:E[:B]", help="Only this message, or all of this entry.")
    ] = None,
    id_range: Annotated[
        str | None, typer.Option("--id-range", metavar="FIRST..LAST", help="Only messages from this id to that one.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="KEY", help="Only messages of this key; repeatable.")
    ] = None,
    since: looking.Since = None,
    until: looking.Until = None,
    topic: looking.Topics = None,
    partition: looking.Partition = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many messages.")] = None,
    quarantine: looking.Quarantine = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON lines, as a backup with --format=jsonl has them.")
    ] = False,
    window_by: looking.WindowBy = None,
    path_template: looking.PathTemplate = looking.DEFAULT_TEMPLATE,
    cos_region: CosRegion = None,
    cos_endpoint: CosEndpoint = None,
    cos_credentials: CosCredentials = "env",
) -> None:
    """Show messages: window by window, in a window partition by partition, there in their order.

    A line for each: publish time, partition, id, key, properties, and the start of the payload. Only objects that may
    hold what is asked for are read; names tell that, and manifests.

    \b
    tdmq-backup cat cos://backup-1250000000/pulsar/ --cos-region ap-guangzhou --topic shop/web/orders --limit 20
    tdmq-backup cat /tmp/backup --key customer-7 --from 2026-11-22T09:45:00Z --to 2026-11-22T09:50:00Z --json
    tdmq-backup cat 20261122T094500Z-300s-p0003-….avro
    """  # noqa: D301 - it is a backspace that keeps lines apart
    from transforms.looking.record_text import record_json, record_line
    from transforms.looking.records import Reading

    with looking.streamed():
        selection = looking.selected(
            topic, partition, since, until, message_id=message_id, id_range=id_range, keys=key, quarantine=quarantine
        )
        looking.folders_of(path_template)
        where = (cos_region, cos_endpoint, cos_credentials)
        objects = _objects(places, selection, (path_template, window_by), where)
        hits = itertools.islice(Reading(selection).hits(objects), limit)
        if as_json:
            looking.print_lines(record_json(hit.record)[:-1].decode() for hit in hits)
        else:
            looking.print_lines(record_line(hit.record) for hit in hits)


def _objects(
    places: list[str],
    selection: Selection,
    names: tuple[str, str | None],
    where: tuple[str | None, str | None, str],
) -> Iterator[Stored]:
    for place in places:
        if looking.is_object(place):
            yield looking.opened_object(place, *where)
        else:
            backup = looking.opened_at(place, *where)
            yield from looking.stored_in(backup, looking.candidates(backup, selection, *names))
