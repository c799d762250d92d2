"""From topics, start and end, as a person gives them, to a stretch of positions for each partition.

Done once, before anything is read. A date-time becomes positions as well: every message between the two belongs
to the run, whatever its publish time; nothing is filtered out that a cumulative acknowledgement would then skip.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from transforms.errors import ConfigurationError, SourceError, TrimmedError
from transforms.pulsar import wire
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.client import PulsarClient, connect, full_topic_name
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import login_of, partition_ends
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.points import EARLIEST_POINT, NOW, Point
from transforms.pulsar.positions import EARLIEST, Position
from transforms.pulsar.restriction import PartitionRange

#: Seconds to wait for a message that the broker has said to be there.
_PATIENCE = 10.0
_AT_ONCE = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What a run is asked to read."""

    connection: PulsarConnection
    topics: tuple[str, ...]
    start: Point = EARLIEST_POINT
    end: Point = NOW
    subscription: str | None = None
    allowed_disorder: int = 30_000
    """Milliseconds by which publish times may be out of order."""
    continue_trimmed: bool = False
    compacted: bool = False


@dataclass(slots=True)
class Resolution:
    """What a run reads."""

    ranges: list[PartitionRange] = field(default_factory=list)
    """One for each partition, also where there is nothing to read."""
    acknowledge: set[TopicPartition] = field(default_factory=set)
    """Where the subscription may be moved to what has been stored."""
    gaps: list[Gap] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def resolve(request: Request) -> Resolution:
    """Find the partitions and the stretch of each; create the subscription where it is missing.

    Raises TopicNotFoundError for a topic that does not exist, TrimmedError for a start that is no longer there
    (unless told to continue), SourceError and AccessError for what the broker refuses.
    """
    check_reachable(request.connection)
    client = connect(request.connection)
    partitions = [partition for topic in request.topics for partition in client.partitions(topic)]
    partitions = list(dict.fromkeys(partitions))
    if len(partitions) > 1 and (request.start.message or request.end.message):
        raise ConfigurationError(
            f"--start and --end as a message id name a place in one partition, and there are {len(partitions)} "
            f"({partitions[0].name}, …). Give one partition as --topic, or a date-time."
        )
    resolution = Resolution()
    if request.subscription is None:
        resolution.warnings.append(
            "no --subscription: the broker deletes messages as its retention says, read or not, and without a "
            "subscription nothing keeps them until they are stored. A connected reader protects nothing."
        )
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="resolve") as pool:
        for part in pool.map(lambda partition: _resolve_partition(client, request, partition), partitions):
            resolution.ranges += part.ranges
            resolution.acknowledge |= part.acknowledge
            resolution.gaps += part.gaps
            resolution.warnings += part.warnings
    return resolution


def check_reachable(connection: PulsarConnection) -> None:
    """Connect and log in once; raises SourceError or AccessError that tell what the client calls a timeout alike."""
    if connection.service_url.startswith("pulsar"):
        token, tls = login_of(connection)
        wire.connect(connection.service_url, token=token, tls=tls).close()


def _resolve_partition(client: PulsarClient, request: Request, partition: TopicPartition) -> Resolution:
    resolution = Resolution()
    # First, because what is asked next must not create the topic.
    behind_last = partition_ends(request.connection, partition).behind_last
    created = request.subscription is not None and _create_subscription(client, request, partition)
    stands = None
    if request.subscription is not None:
        ends = partition_ends(
            request.connection, partition, request.subscription, create_at_end=request.start.word == "latest"
        )
        # Only what came before the subscription stood is sure to be still there.
        behind_last, stands = ends.behind_last, ends.unacknowledged or _told_by_admin(request, partition)
    first = _first(client, request, partition) if behind_last is not None else None
    if behind_last is None or first is None:
        if request.start.message is not None:
            _trimmed(request, resolution, partition, request.start.message, None)
        resolution.ranges.append(PartitionRange(partition, EARLIEST, EARLIEST))
        return resolution
    stop = _stop(client, request, partition, behind_last)
    start = _start(client, request, partition, first, behind_last, stands)
    if start.ledger < first.ledger:
        if request.start.message is not None:
            _trimmed(request, resolution, partition, start, first)
        start = first
    if request.end.behind is not None and request.end.behind > behind_last:
        resolution.warnings.append(
            f"{partition.name}: --end={request.end} lies behind the last message; the run ends with that one."
        )
    resolution.ranges.append(PartitionRange(partition, start, max(start, stop)))
    if request.subscription is not None:
        # Before the first message there is nothing to be acknowledged by mistake.
        if created or start <= first or (stands is not None and stands >= start):
            resolution.acknowledge.add(partition)
        else:
            resolution.warnings.append(
                f"{partition.name}: subscription {request.subscription} stands at {stands}, before the start {start}. "
                "What lies between is not read, so nothing is acknowledged there; run with --start=subscription to "
                "move it."
            )
    return resolution


def _told_by_admin(request: Request, partition: TopicPartition) -> Position | None:
    """Where the subscription stands, of brokers that tell it by admin REST only."""
    if request.connection.admin_url is None:
        return None
    cursors = PulsarAdmin(request.connection).internal_stats(partition).get("cursors", {})
    marked = cursors.get(request.subscription, {}).get("markDeletePosition")
    return Position(*map(int, marked.split(":"))).next_entry() if marked else None


def _create_subscription(client: PulsarClient, request: Request, partition: TopicPartition) -> bool:
    """Create it at the start point, which only the admin interface can; True if it was missing and is there now."""
    if client.connection.admin_url is None or request.subscription is None:
        return False
    admin = PulsarAdmin(client.connection)
    if request.start.word or request.subscription in admin.subscriptions(partition):
        return False  # earliest and latest are places at which subscribing creates it
    start = request.start.message or _at_time(client, request, partition, request.start)
    if start is None:
        return False
    admin.create_subscription(partition, request.subscription, start)
    return True


def _first(client: PulsarClient, request: Request, partition: TopicPartition) -> Position | None:
    reader = client.open_reader(partition, EARLIEST, queue_size=1, compacted=request.compacted)
    try:
        return reader.first(_PATIENCE)
    finally:
        reader.close()


def _at_time(client: PulsarClient, request: Request, partition: TopicPartition, point: Point) -> Position | None:
    """The first position at or behind a publish time, less the disorder; None where there is none."""
    if point.time is None:
        return None
    return _seek(client, request, partition, max(point.time - request.allowed_disorder, 0))


def _seek(client: PulsarClient, request: Request, partition: TopicPartition, time: int) -> Position | None:
    reader = client.open_reader(partition, EARLIEST, queue_size=1, compacted=request.compacted)
    try:
        reader.seek_time(time)
        return reader.first(_PATIENCE)
    finally:
        reader.close()


def _start(
    client: PulsarClient,
    request: Request,
    partition: TopicPartition,
    first: Position,
    behind_last: Position,
    stands: Position | None,
) -> Position:
    point = request.start
    if point.word == "earliest":
        return first
    if point.word == "latest":
        return behind_last
    if point.word == "subscription":
        if stands is None:
            raise SourceError(
                f"{partition.name}: the broker does not tell where subscription {request.subscription} stands. Give "
                "--admin_url, or a date-time as --start."
            )
        return stands
    if point.message is not None:
        return point.message
    return _at_time(client, request, partition, point) or behind_last


def _stop(client: PulsarClient, request: Request, partition: TopicPartition, behind_last: Position) -> Position:
    point = request.end
    if point.behind is not None:
        return min(point.behind, behind_last)
    if point.time is None:
        return behind_last
    behind = _seek(client, request, partition, point.time + request.allowed_disorder + 1)
    return behind_last if behind is None else min(behind, behind_last)


def _trimmed(
    request: Request, resolution: Resolution, partition: TopicPartition, start: Position, first: Position | None
) -> None:
    there = f"the first one still there is {first}" if first is not None else "it holds none any more"
    said = f"{partition.name}: messages from {start} on have been deleted by the broker; {there}."
    if not request.continue_trimmed:
        raise TrimmedError(f"{said} Start there, or give --on_trimmed=continue to go on with a gap.")
    resolution.warnings.append(said)
    resolution.gaps.append(Gap(partition, start, first or start))


def topic_names(topics: Iterable[str]) -> tuple[str, ...]:
    """Full names, each once. Raises ConfigurationError for what cannot be a topic."""
    names: Sequence[str] = [full_topic_name(topic) for topic in topics]
    for given, name in zip(topics, names, strict=True):
        parts = name.partition("://")[2].split("/")
        if "://" in name.removeprefix("persistent://") or not all(parts) or name.startswith("non-persistent"):
            raise ConfigurationError(
                f"--topic={given}: not a topic. Give a name, tenant/namespace/name or persistent://tenant/namespace/name."
            )
    return tuple(dict.fromkeys(names))
