"""The record of a run with an end, kept at the destination: what it has read and written."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from pipelines.options import BackupConfig
from pipelines.results import RunResults
from transforms.cos.store import ObjectStore
from transforms.cos.stored_files import RUNS
from transforms.cos.written import SchemaSeen
from transforms.errors import BackupError
from transforms.files.manifest import GapFound, PartitionRead, RunRecord, SchemaVersion, to_json
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.client import connect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.request import Resolution
from transforms.pulsar.schemas import Schemas, SchemaSource

_MOST_SCHEMA_VERSIONS: Final = 100

_log = logging.getLogger("pipelines.backup")


def write_run_record(
    store: ObjectStore,
    config: BackupConfig,
    run: str,
    times: tuple[datetime, datetime],
    resolution: Resolution,
    found: RunResults,
) -> RunRecord | None:
    """Write ``_runs/{run}.json`` of a run that has stored all that it read; ``times`` are its beginning and its end.

    None, and nothing written, where no partition held anything to read. Raises DestinationError and AccessError.
    """
    read = list(_read(resolution, found))
    gaps = sorted({*resolution.gaps, *found.gaps}, key=lambda gap: (gap.partition.name, gap.start))
    if not read and not gaps:
        return None
    written = found.written.values()
    record = RunRecord(
        run=run,
        rule=config.rule,
        started=times[0],
        ended=times[1],
        path_template=config.layout.template,
        timezone=config.layout.timezone,
        granularity=config.layout.granularity,
        format=config.make_encoder.format,
        payload=config.make_encoder.payload,
        window_by="event_time" if config.windows.by_event_time else "publish_time",
        case_blind=config.layout.case_blind,
        compacted=config.request.compacted,
        files=sum(each.files for each in written),
        bytes=sum(each.bytes for each in written),
        read=tuple(read),
        gaps=tuple(
            GapFound(
                topic=gap.partition.topic,
                partition=gap.partition.index,
                start=gap.start,
                stop=gap.stop,
                certain=gap.certain,
            )
            for gap in gaps
        ),
        schemas=_schemas(config.connection, found.schemas),
    )
    key = f"{config.destination.prefix}{RUNS}{run}.json"
    store.put_document(key, to_json(record))
    _log.info("wrote %s", key)
    return record


def _read(resolution: Resolution, found: RunResults) -> Iterator[PartitionRead]:
    for each in resolution.ranges:
        report = found.partitions.get(each.partition.name)
        if each.start < each.stop:
            yield PartitionRead(
                topic=each.partition.topic,
                partition=each.partition.index,
                start=each.start,
                stop=each.stop,
                messages=report.messages if report is not None else 0,
            )


def _schemas(connection: PulsarConnection, seen: Iterable[SchemaSeen]) -> tuple[SchemaVersion, ...]:
    """The versions of the topics' schemas; a broker that does not tell them is no reason to call a backup failed."""
    topics: dict[str, int] = {}
    for topic, version in sorted(seen):
        topics[topic] = version
    if not topics:
        return ()
    found: list[SchemaVersion] = []
    try:
        admin = PulsarAdmin(connection) if connection.admin_url else None
        source = SchemaSource(connect(connection), admin)
        for topic, last in topics.items():
            found += versions_of(source, topic, last)
    except BackupError as error:
        _log.warning("The record of the run is without schemas that the broker did not tell: %s", error)
    return tuple(found)


def versions_of(schemas: Schemas, topic: str, last: int) -> Iterator[SchemaVersion]:
    """The versions of a topic's schema, whether messages have them or not: up to ``last``, and on until there is none.

    Not guaranteed: versions behind the first 100 that were asked for, counted from ``last`` where that is later.
    """
    first = max(last + 1 - _MOST_SCHEMA_VERSIONS, 0)
    for version in range(first, first + 2 * _MOST_SCHEMA_VERSIONS):
        schema = schemas.get(topic, version)
        if schema is None and version > last:
            return
        if schema is None:
            continue  # somebody has deleted it
        yield SchemaVersion(
            topic=topic,
            schema_version=version,
            type=schema.type,
            definition=schema.definition,
            properties=schema.properties,
        )
