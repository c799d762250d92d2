"""Where a run was to start, and the broker has deleted what was there."""

from __future__ import annotations

from datetime import datetime, timezone

from transforms.errors import TrimmedError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.request import Request, Resolution


def ledger_gone(
    request: Request,
    resolution: Resolution,
    partition: TopicPartition,
    start: Position,
    first: Position,
    stands: Position | None,
) -> None:
    """The ledger in which earlier runs ended is gone, which is as it should be if it held nothing more.

    The subscription kept what was not stored, unless something else moved it: a person, or the message TTL, which acts
    on messages older than itself. That it was moved shows where it stands behind the first message that is there.
    """
    if stands is not None and stands > first:
        trimmed(request, resolution, partition, start, first)
    elif request.connection.admin_url is None:
        resolution.warnings.append(
            f"{partition.name}: the ledger in which the last run ended is gone. The subscription kept what was not "
            "stored, if no message TTL moved it; with --admin_url that is known."
        )
    elif request.resume is not None:
        ttl = PulsarAdmin(request.connection).message_ttl(partition.topic)
        if 0 < ttl <= (datetime.now(timezone.utc) - request.resume.ended).total_seconds():
            trimmed(request, resolution, partition, start, first, certain=False)


def trimmed(
    request: Request,
    resolution: Resolution,
    partition: TopicPartition,
    start: Position,
    first: Position | None,
    *,
    certain: bool = True,
) -> None:
    """Messages from ``start`` to ``first``, which is the first one left, are gone: a gap, or TrimmedError."""
    there = f"the first one still there is {first}" if first is not None else "it holds none any more"
    verb = "have" if certain else "may have"
    said = f"{partition.name}: messages from {start} on {verb} been deleted by the broker; {there}."
    if not request.continue_trimmed:
        raise TrimmedError(f"{said} Start there, or give --on_trimmed=continue to go on with a gap.")
    resolution.warnings.append(said)
    resolution.gaps.append(Gap(partition, start, first or start, certain))
