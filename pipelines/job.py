"""The pipeline of a backup: from partitions to files, and how its parts are set up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import apache_beam as beam
from apache_beam.coders import registry

from pipelines.options import BackupConfig
from transforms.cos.sink import WriteSettings, WriteToCos
from transforms.files.format import RecordEncoder
from transforms.files.formats import EncoderFactory
from transforms.memory import share
from transforms.pulsar.acknowledge import AcknowledgePositions, AcknowledgeSettings
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.client import connect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.discover import Beginning, DiscoverPartitions
from transforms.pulsar.feeds import ReadSettings
from transforms.pulsar.restriction import PartitionRange, PartitionRangeCoder
from transforms.pulsar.source import ReadBatches

registry.register_coder(PartitionRange, PartitionRangeCoder)

# The labels below are a contract: savepoints know the stages by them.


def add_backup(
    pipeline: beam.Pipeline,
    ranges: Iterable[PartitionRange],
    read: ReadSettings,
    write: WriteSettings,
    results: beam.PTransform,
) -> None:
    """Add the whole path of a run with an end to a pipeline. ``results`` takes what it tells."""
    messages = (
        pipeline
        | "Partitions" >> beam.Create(list(ranges)).with_output_types(PartitionRange)
        # So that partitions spread over workers; without it one subtask would read them all.
        | "SpreadPartitions" >> beam.Reshuffle()
        | "ReadFromPulsar" >> ReadBatches(read)
    )
    written = messages.batches | "WriteToCos" >> WriteToCos(write)
    told = {"files": written.files, "partitions": written.partitions, "gaps": messages.gaps}
    _ = told | "Results" >> results


def add_stream(
    pipeline: beam.Pipeline,
    beginning: Beginning,
    config: BackupConfig,
    read: ReadSettings,
    write: WriteSettings,
) -> None:
    """Add the whole path of a stream to a pipeline."""
    messages = (
        pipeline
        | "Start" >> beam.Impulse()
        # Never chained to its source, which has no name: savepoints know it by what is chained to it, and with one
        # subtask that would be more than with several.
        | "FromAnywhere" >> beam.Reshuffle()
        | "Beginning" >> beam.ParDo(_Begin(beginning)).with_output_types(Beginning)
        | "DiscoverPartitions" >> DiscoverPartitions(config.request, config.discovery_interval)
        | "SpreadPartitions" >> beam.Reshuffle()
        | "ReadFromPulsar" >> ReadBatches(read, bounded=False)
    )
    written = messages.batches | "WriteToCos" >> WriteToCos(write)
    if config.acknowledge and config.request.subscription is not None:
        acknowledge = AcknowledgeSettings(config.connection, config.request.subscription, write.run)
        _ = written.positions | "AcknowledgePositions" >> AcknowledgePositions(acknowledge)


class _Begin(beam.DoFn):  # type: ignore[misc]
    """As ``Create``, whose stages have the line numbers of Beam's source in their names."""

    def __init__(self, beginning: Beginning) -> None:
        self._beginning = beginning

    def process(self, element: bytes) -> Iterator[Beginning]:
        yield self._beginning


def settings(config: BackupConfig, name: str, partitions: int, subtasks: int = 1) -> tuple[ReadSettings, WriteSettings]:
    """How the parts of the job are set up; the memory budget is shared among them.

    ``subtasks``: of a stage in one worker process.
    """
    shares = share(config.memory_budget, partitions, subtasks)
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
        run=name,
    )
    return read, write


def make_encoder(factory: EncoderFactory, connection: PulsarConnection) -> RecordEncoder:
    """An encoder, on the worker; with a view of the topic's schemas where it needs one."""
    if not factory.needs_schemas:
        return factory()
    from transforms.pulsar.schemas import SchemaSource  # noqa: PLC0415 - only --payload=value needs it

    admin = PulsarAdmin(connection) if connection.admin_url else None
    return factory(SchemaSource(connect(connection), admin))
