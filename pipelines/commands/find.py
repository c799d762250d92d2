"""``tdmq-backup find``."""

# Only what looks imports what opens a store: help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands import looking
from pipelines.commands.where import BackupUrl, CosCredentials, CosEndpoint, CosRegion

if TYPE_CHECKING:
    from transforms.looking.records import Hit


def find(
    url: BackupUrl,
    message_id: Annotated[
        str | None, typer.Option("--id", metavar="L:E[:B]", help="This message, or all of this entry.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="KEY", help="Messages of this key; repeatable.")
    ] = None,
    since: looking.Since = None,
    until: looking.Until = None,
    topic: looking.Topics = None,
    partition: looking.Partition = None,
    quarantine: looking.Quarantine = False,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    window_by: looking.WindowBy = None,
    path_template: looking.PathTemplate = looking.DEFAULT_TEMPLATE,
    cos_region: CosRegion = None,
    cos_endpoint: CosEndpoint = None,
    cos_credentials: CosCredentials = "env",
) -> None:
    """Tell which objects hold a message, or the messages of a key; a line for each message.

    An id is looked for in objects whose names span it, a key in all that are left: give --topic, --from and --to.

    Exit codes: 0 found, 1 not found, 2 configuration, 3 authentication or permission, 5 destination.

    \b
    tdmq-backup find cos://backup-1250000000/pulsar/ --cos-region ap-guangzhou --topic shop/web/orders --id 12345:42:17
    tdmq-backup find /tmp/backup --key customer-7 --from 2026-11-22T09:45:00Z --to 2026-11-22T09:50:00Z
    """  # noqa: D301 - it is a backspace that keeps lines apart
    from transforms.errors import ConfigurationError
    from transforms.looking.records import Reading

    with looking.streamed():
        if message_id is None and not key:
            raise ConfigurationError("Say what to find: --id L:E[:B], or --key KEY.")
        selection = looking.selected(
            topic, partition, since, until, message_id=message_id, keys=key, quarantine=quarantine
        )
        looking.folders_of(path_template)
        backup = looking.opened_at(url, cos_region, cos_endpoint, cos_credentials)
        found = looking.candidates(backup, selection, path_template, window_by)
        reading = Reading(selection)
        hits = reading.hits(looking.stored_in(backup, found))
        if as_json:
            facts = [_facts(hit) for hit in hits]
            count = len(facts)
            effort = {"listed": found.listed, "manifests_read": found.manifests_read, "read": reading.read}
            print(json.dumps({"found": facts, **effort}, ensure_ascii=False, indent=1))
        else:
            count = looking.print_lines(map(_line, hits))
            print(
                f"{count:,} found: {found.listed:,} objects listed, {found.manifests_read:,} manifests and "
                f"{reading.read:,} objects read.",
                file=sys.stderr,
            )
        if not count:
            raise typer.Exit(1)


def _line(hit: Hit) -> str:
    facts = _facts(hit)
    return f"{facts['url']} record {hit.place + 1:,}: {facts['id']}, published {facts['publish_time']}" + (
        "" if facts["key"] is None else f", key {json.dumps(facts['key'], ensure_ascii=False)}"
    )


def _facts(hit: Hit) -> dict[str, Any]:
    from transforms.files.decode import partition_of, position_of
    from transforms.files.manifest import moment

    record = hit.record
    return {
        "url": hit.object.name,
        "record": hit.place,
        "partition": partition_of(record).name,
        "id": str(position_of(record)),
        "publish_time": f"{moment(record['publish_time']):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        "key": record["key"],
    }
