"""``--check``: what a run would do, as far as the broker tells; nothing is created and nothing is left behind."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from io import BytesIO
from typing import Any

import fastavro
from rich.console import Console
from rich.table import Table

from pipelines.local_workers.shares import workers
from pipelines.options import BackupConfig
from pipelines.preflight import Preflight
from pipelines.sizes import human_size
from transforms.at_once import at_once
from transforms.errors import BackupError
from transforms.files.format import RecordEncoder
from transforms.files.naming import name_prefix
from transforms.files.pieces import Pieces
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.amounts import amount, last_entry
from transforms.pulsar.client import connect
from transforms.pulsar.entries import stored_entries
from transforms.pulsar.message_columns import LATEST_TIME
from transforms.pulsar.messages import MessageBatch
from transforms.pulsar.positions import Position
from transforms.pulsar.restriction import PartitionRange
from transforms.pulsar.windows import MAX_TIME

_PATIENCE = 6.0
_LONGEST_TEXT = 200


@dataclass(slots=True)
class PartitionPlan:
    """What a run would read of one partition. Positions are written ``ledger:entry:batch``, times are ISO 8601.

    A time that is no date is ``after the year 9999``.
    """

    partition: str
    start: str
    stop: str
    """From ``start`` up to before ``stop``."""
    entries: int | None
    """Producer batches and single messages; None where the broker does not tell."""
    messages: int | None
    """About so many, by the size that messages had since the broker loaded the topic; None where it does not tell."""
    bytes: int | None
    """As the broker stores them."""
    first_published: str | None
    last_published: str | None
    files: int | None
    """About so many at most, by windows and limits; None where the messages are not known."""
    subscription: str | None
    """What would become of the subscription; None without one."""
    not_told: str | None
    """Why admin REST did not tell how much the broker holds; None where it did, or was not asked."""


@dataclass(slots=True)
class Plan:
    """What a run would do."""

    check: bool
    """True: tells this from the summary of a run."""
    destination: str
    told_by_admin: bool
    """Whether admin REST told counts and sizes of all partitions; without it only positions are known."""
    first_object: str | None
    """Folder and beginning of the name of the first object; None where there is nothing to read."""
    sample: dict[str, Any] | None
    """The first message as the format would write it, long texts cut."""
    partitions: list[PartitionPlan]
    local_workers: int | None
    """Processes on this machine that would read; None on a cluster, and where there is nothing to read."""
    warnings: list[str]


def plan(config: BackupConfig, ready: Preflight, make_encoder: Callable[[], RecordEncoder]) -> Plan:
    """Tell what a run would do after this preflight. Raises as reading from the broker does."""
    resolution = ready.resolution
    parts = at_once([partial(_partition_plan, config, ready, each) for each in resolution.ranges])
    to_read = resolution.to_read
    first_object, sample = _sample(config, ready, to_read[0], make_encoder) if to_read else (None, None)
    return Plan(
        check=True,
        destination=config.destination.url,
        told_by_admin=config.connection.admin_url is not None and all(part.not_told is None for part in parts),
        first_object=first_object,
        sample=sample,
        partitions=parts,
        local_workers=workers(config.local_workers, len(to_read)) if to_read and not config.on_cluster else None,
        warnings=[*resolution.warnings, *ready.warnings],
    )


def _partition_plan(config: BackupConfig, ready: Preflight, each: PartitionRange) -> PartitionPlan:
    entries = size = messages = 0
    known, counted = True, True
    first = last = told = not_told = None
    if each.start < each.stop:
        first, last = _published(config, each.start, each), _published(config, last_entry(each.stop), each)
        try:
            told = _stored(config, each)
        except BackupError as error:
            not_told = str(error)
        if told is None:
            known = counted = False
            if each.start.ledger == each.stop.ledger:
                known, entries = True, last_entry(each.stop).entry + 1 - each.start.entry
        else:
            entries, size, each_message = told
            counted, messages = each_message > 0, round(size / each_message) if each_message else 0
    return PartitionPlan(
        partition=each.partition.name,
        start=str(each.start),
        stop=str(each.stop),
        entries=entries if known else None,
        messages=messages if counted else None,
        bytes=size if counted or size else None,
        first_published=_iso(first),
        last_published=_iso(last),
        files=_files(config, first, last, messages if counted else None, size),
        subscription=_subscription(config, ready, each),
        not_told=not_told,
    )


def _published(config: BackupConfig, entry: Position, each: PartitionRange) -> int | None:
    """When an entry was published, milliseconds; None where it is not there."""
    if entry.entry < 0:
        return None
    at = Position(entry.ledger, entry.entry)
    found = stored_entries(config.connection, each.partition, at, at.next_entry())
    return found[0].publish_time if found else None


def _stored(config: BackupConfig, each: PartitionRange) -> tuple[int, int, float] | None:
    """Entries and bytes of the range, and bytes of a message; None without admin REST. Raises BackupError."""
    if config.connection.admin_url is None:
        return None
    admin = PulsarAdmin(config.connection)
    entries, size = amount(admin, each)
    counters = admin.stats(each.partition)
    written = counters.get("msgInCounter") or 0
    return entries, size, (counters.get("bytesInCounter") or 0) / written if written else 0.0


def _files(config: BackupConfig, first: int | None, last: int | None, messages: int | None, size: int) -> int | None:
    """At most about how many: one for each window between the first and the last message, more where limits cut."""
    if not messages:
        return messages
    if first is None or last is None:
        return None
    rule, limits = config.windows, config.limits
    windows = abs(rule.window(rule.time(last, 0)) - rule.window(rule.time(first, 0))) // rule.size + 1
    return min(windows, messages) + messages // limits.messages + size // limits.bytes


def _subscription(config: BackupConfig, ready: Preflight, each: PartitionRange) -> str | None:
    resolution, name = ready.resolution, config.request.subscription
    if name is None:
        return None
    if each.partition in resolution.missing:
        there = "would be created"
    else:
        stands = resolution.stands.get(each.partition)
        there = f"stands at {stands}" if stands is not None else "is there"
    if not config.acknowledge:
        return f"{name} {there}; nothing is acknowledged"
    if each.partition in resolution.acknowledge and each.start < each.stop:
        return f"{name} {there}; moves to {each.stop}"
    return f"{name} {there}; stays"


def _sample(
    config: BackupConfig, ready: Preflight, each: PartitionRange, make_encoder: Callable[[], RecordEncoder]
) -> tuple[str | None, dict[str, Any] | None]:
    reader = connect(config.connection).open_reader(
        each.partition, each.start, queue_size=1, compacted=config.request.compacted
    )
    try:
        message = reader.next(_PATIENCE)
    finally:
        reader.close()
    if message is None:
        return None, None
    found = message.message_id()  # type: ignore[attr-defined]
    published = min(message.publish_timestamp(), LATEST_TIME)
    time = config.windows.time(published, message.event_timestamp())
    message_id = found.ledger_id(), found.entry_id(), found.batch_index()
    (encoded,) = make_encoder().encode(MessageBatch.of(each.partition, [message], [message_id], [published], time))
    window = config.windows.window(time)
    folder = ready.layout.folder(each.partition, window, encoded.lane)
    begun = f"{folder}{name_prefix(window, ready.layout.granularity, each.partition.index)}"
    if config.file_format.extension == "avro":
        record: Any = _avro_record(
            encoded.header + bytes(config.file_format.block(Pieces(encoded.data), 1)), encoded.data
        )
    else:
        record = json.loads(encoded.data)
    return f"{begun}….{config.file_format.extension}", {name: _shown(value) for name, value in record.items()}


def _avro_record(file: bytes, record: bytes) -> Any:
    """The one record of a file; times beyond the year 9999, which are no dates, as the numbers they are."""
    reader = fastavro.reader(BytesIO(file))
    try:
        return next(iter(reader))
    except (OverflowError, ValueError):
        schema = json.loads(reader.metadata["avro.schema"], object_hook=_without_logical_type)
        return fastavro.schemaless_reader(BytesIO(record), schema, None)


def _without_logical_type(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "logicalType"}


def _shown(value: Any) -> Any:
    """A value as JSON can hold it, long texts cut."""
    if isinstance(value, dict):
        return {str(name): _shown(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            value = f"base64:{base64.b64encode(value).decode()}"
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text)} characters)"


def _iso(time: int | None) -> str | None:
    if time is None:
        return None
    if time > MAX_TIME:
        return "after the year 9999"
    return datetime.fromtimestamp(time / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def print_plan(found: Plan, console: Console) -> None:
    """A table, one row a partition; below it what else is known, the warnings, and a sample."""
    table = Table(title=f"What a backup to {found.destination} would do", title_justify="left")
    table.add_column("partition", overflow="fold")
    for column in ("from", "to before", "published", "entries", "messages", "size", "files"):
        table.add_column(column, justify="right")
    for part in found.partitions:
        table.add_row(
            part.partition.removeprefix("persistent://"),
            part.start if part.first_published else "–",
            part.stop if part.first_published else "–",
            f"{part.first_published or '?'}\n{part.last_published or '?'}" if part.first_published else "–",
            _number(part.entries),
            _number(part.messages, "about"),
            "?" if part.bytes is None else human_size(part.bytes),
            _number(part.files, "up to"),
        )
    console.print(table)
    reasons = [part.not_told for part in found.partitions if part.not_told]
    if reasons:
        some = f"{len(reasons)} of {len(found.partitions)} partitions"
        console.print(f"How much {some} hold could not be asked. The first of them: {reasons[0]}")
    elif not found.told_by_admin:
        console.print("How many messages and bytes that is, the broker tells by admin REST only: give --admin_url.")
    for text in dict.fromkeys(f"{part.partition}: subscription {part.subscription}." for part in found.partitions):
        if "subscription None" not in text:
            console.print(text)
    console.print(f"First object: {found.first_object or 'none, there is nothing to read'}")
    if found.local_workers is not None:
        console.print(f"Processes on this machine that would read: {found.local_workers}")
    for warning in found.warnings:
        console.print(f"warning: {warning}")
    if found.sample is not None:
        console.print("The first message, as it would be written:")
        console.print(json.dumps(found.sample, indent=2, ensure_ascii=False))
    console.print("Nothing was created, written or acknowledged.")


def _number(value: int | None, how: str = "") -> str:
    if value is None:
        return "?"
    return f"{how} {value:,}".strip() if value else "0"


def plan_json(found: Plan, indent: int | None = None) -> str:
    """The plan as a JSON object; without ``indent`` on one line."""
    return json.dumps(asdict(found), indent=indent, ensure_ascii=False)
