"""The pipeline of a backup: from partitions to files, and how its parts are set up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.coders import registry

from pipelines.options import BackupConfig
from transforms.cos.manifests import OfTopics, ToldOfTopic, WriteManifests, gap_told, partitions_told
from transforms.cos.sink import WriteSettings, WriteToCos
from transforms.cos.window_manifest import ManifestSettings
from transforms.files.format import RecordEncoder
from transforms.files.formats import EncoderFactory
from transforms.memory import share
from transforms.pulsar.acknowledge import AcknowledgePositions, AcknowledgeSettings
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.client import connect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.discover import Beginning, DiscoverPartitions
from transforms.pulsar.feeds import ReadSettings
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.positions import LATEST
from transforms.pulsar.request import Resolution
from transforms.pulsar.restriction import PartitionRange, PartitionRangeCoder
from transforms.pulsar.source import ReadBatches

registry.register_coder(PartitionRange, PartitionRangeCoder)

# The labels below are a contract: savepoints know the stages by them.


def add_backup(
    pipeline: beam.Pipeline,
    resolution: Resolution,
    read: ReadSettings,
    write: WriteSettings,
    manifests: ManifestSettings | None,
    results: beam.PTransform,
) -> None:
    """Add the whole path of a run with an end to a pipeline. ``results`` takes what it tells."""
    found = add_files(pipeline, resolution.to_read, read, write, results)
    if manifests is not None:
        begun = pipeline | "Known" >> beam.Create(known_of_topics(resolution))
        _ = (
            begun | "KnownOfTopics" >> OfTopics(),
            found.told | "FilesOfTopics" >> OfTopics(),
            found.gaps | "GapsOfTopics" >> OfTopics(),
        ) | "Manifests" >> WriteManifests(manifests)


class FilesTold(NamedTuple):
    """What manifests are made of, as the path to the files tells it."""

    told: beam.PCollection
    """As ``WriteToCosResult.told``."""
    gaps: beam.PCollection
    """Gap, each at least once."""


def add_files(
    pipeline: beam.Pipeline,
    ranges: Iterable[PartitionRange],
    read: ReadSettings,
    write: WriteSettings,
    results: beam.PTransform,
) -> FilesTold:
    """Add the path from partitions to files. There is something to read in each; ``results`` takes what it tells."""
    messages = (
        pipeline
        | "Partitions" >> beam.Create(ranges).with_output_types(PartitionRange)
        # So that partitions spread over workers; without it one subtask would read them all.
        | "SpreadPartitions" >> beam.Reshuffle()
        | "ReadFromPulsar" >> ReadBatches(read)
    )
    written = messages.batches | "WriteToCos" >> WriteToCos(write)
    told = {
        "files": written.files,
        "partitions": written.partitions,
        "gaps": messages.gaps,
        "schemas": written.schemas,
    }
    _ = told | "Results" >> results
    return FilesTold(written.told, messages.gaps)


def known_of_topics(resolution: Resolution) -> list[ToldOfTopic]:
    """What is told of topics before anything is read."""
    # Partitions of which nothing is read, too: a topic's window is complete over all of them.
    return [*partitions_told(resolution.ranges), *map(gap_told, resolution.gaps)]


def add_stream(
    pipeline: beam.Pipeline,
    beginning: Beginning,
    config: BackupConfig,
    read: ReadSettings,
    write: WriteSettings,
    gaps: Iterable[Gap] = (),
) -> None:
    """Add the whole path of a stream to a pipeline; ``gaps`` are those found before it begins."""
    begun = (
        pipeline
        | "Start" >> beam.Impulse()
        # Never chained to its source, which has no name: savepoints know it by what is chained to it, and with one
        # subtask that would be more than with several.
        | "FromAnywhere" >> beam.Reshuffle()
    )
    partitions = (
        begun
        | "Beginning" >> beam.ParDo(_Begin([beginning])).with_output_types(Beginning)
        | "DiscoverPartitions" >> DiscoverPartitions(config.request, config.discovery_interval)
    )
    messages = (
        partitions | "SpreadPartitions" >> beam.Reshuffle() | "ReadFromPulsar" >> ReadBatches(read, bounded=False)
    )
    written = messages.batches | "WriteToCos" >> WriteToCos(write)
    if config.acknowledge and config.request.subscription is not None:
        acknowledge = AcknowledgeSettings(config.connection, config.request.subscription, write.run)
        _ = written.positions | "AcknowledgePositions" >> AcknowledgePositions(acknowledge)
    manifests = manifest_settings(config, write)
    if manifests is not None:
        first = [PartitionRange(partition, start, LATEST) for partition, start in beginning.starts]
        known = [*partitions_told(first), *map(gap_told, gaps)]
        _ = (
            begun | "Known" >> beam.ParDo(_Begin(known)) | "KnownOfTopics" >> OfTopics(),
            partitions | "PartitionsOfTopics" >> OfTopics(),
            written.told | "FilesOfTopics" >> OfTopics(),
            messages.gaps | "GapsOfTopics" >> OfTopics(),
        ) | "Manifests" >> WriteManifests(manifests, bounded=False)


class _Begin(beam.DoFn):  # type: ignore[misc]
    """As ``Create``, whose stages have the line numbers of Beam's source in their names."""

    def __init__(self, elements: Iterable[Any]) -> None:
        self._elements = list(elements)

    def process(self, element: bytes) -> Iterator[Any]:
        yield from self._elements


def settings(config: BackupConfig, name: str, partitions: int, subtasks: int = 1) -> tuple[ReadSettings, WriteSettings]:
    """How the parts of the job are set up; the memory budget is shared among them.

    ``subtasks``: of a stage in one worker process.
    """
    by_reference = not config.on_cluster
    shares = share(config.memory_budget, partitions, subtasks, by_reference=by_reference)
    read = ReadSettings(
        connection=config.connection,
        windows=config.windows,
        compacted=config.request.compacted,
        run=name,
        retry_seconds=config.destination.retry_deadline,
        read_ahead_bytes=shares.read_ahead,
        slice_bytes=shares.slice,
        bundle_bytes=shares.bundle,
        memory_budget=config.memory_budget,
    )
    write = WriteSettings(
        destination=config.destination,
        layout=config.layout,
        file_format=config.file_format,
        make_encoder=partial(make_encoder, config.make_encoder, config.connection),
        limits=config.limits,
        part_bytes=shares.part,
        waiting_bytes=shares.waiting,
        upload_bytes=shares.uploads,
        by_reference=by_reference,
        run=name,
    )
    return read, write


def manifest_settings(config: BackupConfig, write: WriteSettings) -> ManifestSettings | None:
    """How manifests are written; None where none are."""
    if not config.manifest:
        return None
    return ManifestSettings(
        write.destination,
        write.layout,
        write.format_name,
        write.run,
        config.rule,
        compacted=config.request.compacted,
        quarantines=config.make_encoder.needs_schemas,
    )


def make_encoder(factory: EncoderFactory, connection: PulsarConnection) -> RecordEncoder:
    """An encoder, on the worker; with a view of the topic's schemas where it needs one."""
    if not factory.needs_schemas:
        return factory()
    from transforms.pulsar.schemas import SchemaSource  # noqa: PLC0415 - only --payload=value needs it

    admin = PulsarAdmin(connection) if connection.admin_url else None
    return factory(SchemaSource(connect(connection), admin))
