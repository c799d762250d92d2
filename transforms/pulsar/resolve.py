"""From topics, start and end, as a person gives them, to a stretch of positions for each partition.

Done once, before anything is read. A date-time becomes positions as well: every message between the two belongs
to the run, whatever its publish time; nothing is filtered out that a cumulative acknowledgement would then skip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from transforms.at_once import at_once
from transforms.errors import BackupError, ConfigurationError, SeveralErrors, SourceError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.client import PulsarClient, connect, disconnect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import forbidden, partition_ends, partitions_of, patiently
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.points import Point
from transforms.pulsar.positions import EARLIEST, Position
from transforms.pulsar.request import Request, Resolution, Stored
from transforms.pulsar.restriction import PartitionRange
from transforms.pulsar.subscriptions import SubscriptionState, cursor_of, mark_of, refuse_holes, subscription_state
from transforms.pulsar.trimmed import ledger_gone, trimmed

#: Seconds to wait for a message that the broker has said to be there.
_PATIENCE = 6.0
#: Seconds for a request of the client while positions are looked for: the broker has answered us just before.
_OPERATION_TIMEOUT = 8
#: How often a reader is sent to a time where it answers with a message from before it. To move a reader, the broker
#: cuts it off; on a busy machine the client once gave what it had received before.
_SEEKS = 3


def resolve(request: Request) -> Resolution:
    """Find the partitions and the stretch of each; create the subscription where it is missing.

    Raises as ``examine`` does.
    """
    return secure(request, examine(request))


def examine(request: Request) -> Resolution:
    """Find the partitions and the stretch of each; creates nothing.

    Raises TopicNotFoundError for a topic that does not exist, TrimmedError for a start that is no longer there
    (unless told to continue), SourceError and AccessError for what the broker refuses; SeveralErrors for several
    topics.
    """
    topics = request.all_topics()
    if not topics and request.pattern is not None:
        raise request.pattern.none_there()
    found = at_once([partial(partitions_of, request.connection, topic) for topic in topics])
    partitions = list(dict.fromkeys(partition for of_topic in found for partition in of_topic))
    if len(partitions) > 1 and (request.start.message or request.end.message):
        raise ConfigurationError(
            f"--start and --end as a message id name a place in one partition, and there are {len(partitions)} "
            f"({partitions[0].name}, …). Give one partition as --topic, or a date-time."
        )
    return _resolved(request, partitions, create=False)


def secure(request: Request, found: Resolution) -> Resolution:
    """Create the subscription where ``examine`` found it missing, and look again: what is behind it now stays."""
    if not found.missing:
        return found
    return _resolved(request, [each.partition for each in found.ranges], create=True)


def _resolved(request: Request, partitions: Sequence[TopicPartition], *, create: bool) -> Resolution:
    resolution = Resolution()
    if request.subscription is None and not request.beside:
        resolution.warnings.append(
            "no --subscription: the broker deletes messages as its retention says, read or not, and without a "
            "subscription nothing keeps them until they are stored. A connected reader protects nothing."
        )
    with _client(request.connection) as client:
        try:
            parts = at_once([partial(_resolve_partition, client, request, each, create) for each in partitions])
        except SeveralErrors as several:
            raise _first_of_each_topic(several) from None
    for part in parts:
        resolution.ranges += part.ranges
        resolution.acknowledge |= part.acknowledge
        resolution.gaps += part.gaps
        resolution.warnings += part.warnings
        resolution.missing |= part.missing
        resolution.stands |= part.stands
    return resolution


@contextmanager
def _client(connection: PulsarConnection) -> Iterator[PulsarClient]:
    """A client that is less patient than the one that reads."""
    hasty = replace(connection, operation_timeout=_OPERATION_TIMEOUT)
    try:
        yield connect(hasty)
    finally:
        disconnect(hasty)


def _first_of_each_topic(several: SeveralErrors) -> BackupError:
    """What is wrong with one partition is mostly wrong with all of them: say it once."""
    by_topic: dict[str, BackupError] = {}
    for error in several.errors:
        by_topic.setdefault(str(error).partition("-partition-")[0].partition(": ")[0], error)
    errors = list(by_topic.values())
    return errors[0] if len(errors) == 1 else SeveralErrors(errors)


@dataclass(slots=True)
class _Subscription:
    """What is known of the subscription of a partition."""

    behind_last: Position | None
    """As it is told when the subscription stood: only what came before is sure to be still there."""
    stands: Position | None = None
    missing: bool = False
    at_start: bool = False
    """It was missing, and admin REST creates it at the start point."""


def _subscription(
    client: PulsarClient, request: Request, partition: TopicPartition, behind_last: Position | None, create: bool
) -> _Subscription:
    name, before = request.subscription, request.stored_before(partition)
    if name is None:
        return _Subscription(behind_last)
    state = subscription_state(request.connection, partition, name)
    if state is SubscriptionState.FORBIDDEN:
        raise forbidden(partition, name)
    missing = state is SubscriptionState.MISSING
    if missing and before is not None and not (request.resume and request.resume.recreate_subscription):
        raise SourceError(
            f"{partition.name}: the subscription {name} is gone; somebody has deleted it, or it has expired. What came "
            f"behind {before.upto}, where the last run ended, may be deleted any moment. Run once with "
            "--recreate-subscription: it goes on there, and tells what is gone."
        )
    if missing and not create:
        return _Subscription(behind_last, missing=True, at_start=_admin_creates(request))
    at_start = missing and _admin_creates(request) and _create(client, request, partition)
    ends = partition_ends(request.connection, partition, name, create_at_end=request.start.word == "latest")
    cursor = cursor_of(request.connection, partition, name)
    refuse_holes(partition, name, cursor)
    return _Subscription(ends.behind_last, ends.unacknowledged or mark_of(cursor), at_start=at_start)


def _resolve_partition(client: PulsarClient, request: Request, partition: TopicPartition, create: bool) -> Resolution:
    resolution, request = Resolution(), request.of(partition)
    if request.stretches is not None and request.start.message == request.end.behind:
        resolution.ranges.append(PartitionRange(partition, EARLIEST, EARLIEST))
        return resolution
    before = request.stored_before(partition)
    # First, because what is asked next must not create the topic.
    ends = partition_ends(request.connection, partition)
    subscription = _subscription(client, request, partition, ends.behind_last, create)
    behind_last, stands = subscription.behind_last, subscription.stands
    if stands is not None:
        resolution.stands[partition] = stands
    if subscription.missing:
        resolution.missing.add(partition)
    first = _first(client, request, partition) if behind_last is not None else None
    if behind_last is None or first is None:
        _nothing_there(request, resolution, partition, before)
        return resolution
    if before is not None and before.upto > behind_last:
        raise _another_topic(partition, before.upto, behind_last)
    if subscription.missing:
        stands = behind_last if request.start.word == "latest" else first  # where subscribing will create it
    stop = _stop(client, request, partition, behind_last)
    start = _start(client, request, partition, first, behind_last, stands)
    if start.ledger < first.ledger:
        if before is not None:
            ledger_gone(request, resolution, partition, before.upto, first, stands)
        elif request.start.message is not None:
            trimmed(request, resolution, partition, start, first)
        start = first
    if request.end.behind is not None and request.end.behind > behind_last:
        resolution.warnings.append(
            f"{partition.name}: --end={request.end} lies behind the last message; the run ends with that one."
        )
    resolution.ranges.append(PartitionRange(partition, start, max(start, stop)))
    # Before the first message there is nothing to be acknowledged by mistake.
    covered = start if before is None else before.origin
    if subscription.at_start or start <= first or (stands is not None and stands >= covered):
        resolution.acknowledge.add(partition)
    elif request.subscription is not None:
        resolution.warnings.append(
            f"{partition.name}: subscription {request.subscription} stands at {stands}, before the start {start}. "
            "What lies between is not read, so nothing is acknowledged there; run with --start=subscription to move it."
        )
    return resolution


def _nothing_there(request: Request, resolution: Resolution, partition: TopicPartition, before: Stored | None) -> None:
    if before is None and request.start.message is not None:
        trimmed(request, resolution, partition, request.start.message, None)
    empty = EARLIEST if before is None else before.upto
    resolution.ranges.append(PartitionRange(partition, empty, empty))


def _another_topic(partition: TopicPartition, upto: Position, behind_last: Position) -> SourceError:
    return SourceError(
        f"{partition.name}: the last run ended at {upto}, and the topic ends before that, at {behind_last}. It was "
        "deleted and created again, or this is another cluster. If that is meant, forget the positions: then it is "
        "read from its start point."
    )


def _admin_creates(request: Request) -> bool:
    """Whether a missing subscription is created at the start point itself, which only admin REST can."""
    return request.connection.admin_url is not None and not request.start.word


def _create(client: PulsarClient, request: Request, partition: TopicPartition) -> bool:
    start = request.start.message or _at_time(client, request, partition, request.start)
    if start is None or request.subscription is None:
        return False
    # One that another run has created meanwhile stands where that one begins.
    return PulsarAdmin(client.connection).create_subscription(partition, request.subscription, start)


def _first(
    client: PulsarClient, request: Request, partition: TopicPartition, time: int | None = None
) -> Position | None:
    """The first position, at or behind a publish time if one is given; None where there is none."""

    def ask() -> tuple[Position, int] | None:
        reader = client.open_reader(partition, EARLIEST, queue_size=1, compacted=request.compacted)
        try:
            if time is not None:
                reader.seek_time(time)
            return reader.first(_PATIENCE)
        finally:
            reader.close()

    for _ in range(_SEEKS):
        found = patiently(ask)
        if found is None:
            return None
        position, published = found
        if time is None or published >= time:
            break
    # All answers alike and too early: the broker goes by a clock of its own, not by that of producers.
    return position


def _at_time(client: PulsarClient, request: Request, partition: TopicPartition, point: Point) -> Position | None:
    """The first position at or behind a publish time, less the disorder; None where there is none."""
    if point.time is None:
        return None
    return _first(client, request, partition, max(point.time - request.allowed_disorder, 0))


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
    behind = _first(client, request, partition, point.time + request.allowed_disorder + 1)
    return behind_last if behind is None else min(behind, behind_last)
