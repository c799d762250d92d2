"""A durable subscription of a partition: whether it is there, and whether a backup may have it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from transforms.errors import SourceError
from transforms.pulsar import wire
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import (
    CONSUMER,
    CONSUMER_BUSY,
    NOT_ALLOWED,
    SUBSCRIPTION_NOT_FOUND,
    explained,
    owner,
    patiently,
    subscribe_command,
)
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

_SHARED = 1
_LONGEST_SHOWN = 80


class SubscriptionState(enum.Enum):
    """Whether a durable subscription of a partition is there."""

    THERE = "there"
    MISSING = "missing, and would be created by subscribing"
    FORBIDDEN = "missing, and may not be created by subscribing"


def subscription_state(connection: PulsarConnection, partition: TopicPartition, subscription: str) -> SubscriptionState:
    """Tell whether a durable subscription is there, without creating it. Raises as ``partition_ends`` does.

    No request of the binary protocol asks that, so it is read from two refusals [measured on Pulsar 4.0.8]: one that is
    not durable may not have the name of one that is; and one that may not be created is refused before one whose type
    does not fit what it asks for. A broker that refuses neither has the subscription from then on.
    """
    temporary = subscribe_command(partition, subscription, durable=False)
    impossible = {**subscribe_command(partition, subscription, durable=True), 3: _SHARED, 11: 1}

    def ask() -> SubscriptionState:
        with explained(partition, subscription), owner(connection, partition) as broker:
            try:
                broker.request(wire.Kind.SUBSCRIBE, temporary)
                # And wait: until it is gone, a durable one of its name is refused.
                broker.request(wire.Kind.CLOSE_CONSUMER, {1: CONSUMER, 2: 2})
            except wire.ServerRefusal as refusal:
                if refusal.code in (NOT_ALLOWED, CONSUMER_BUSY):
                    return SubscriptionState.THERE
                raise
            try:
                broker.request(wire.Kind.SUBSCRIBE, impossible)
            except wire.ServerRefusal as refusal:
                if refusal.code == SUBSCRIPTION_NOT_FOUND:
                    return SubscriptionState.FORBIDDEN
                if refusal.code != NOT_ALLOWED:
                    raise
                return SubscriptionState.MISSING
            return SubscriptionState.THERE

    return patiently(ask)


def delete_subscription(connection: PulsarConnection, partition: TopicPartition, subscription: str) -> bool:
    """Delete a durable subscription; False where there is none. Raises as ``partition_ends`` does.

    One that another consumer uses is not deleted: AccessError or SourceError says so.
    """
    if subscription_state(connection, partition, subscription) is not SubscriptionState.THERE:
        return False
    ours = subscribe_command(partition, subscription, durable=True)

    def ask() -> bool:
        with explained(partition, subscription), owner(connection, partition) as broker:
            broker.request(wire.Kind.SUBSCRIBE, ours)
            broker.request(wire.Kind.UNSUBSCRIBE, {1: CONSUMER, 2: 2})
            return True

    return patiently(ask)


def cursor_of(connection: PulsarConnection, partition: TopicPartition, subscription: str) -> dict[str, Any]:
    """What admin REST tells of a subscription; empty without ``admin_url``, or where it is not told."""
    if connection.admin_url is None:
        return {}
    cursors = PulsarAdmin(connection).internal_stats(partition).get("cursors", {})
    return dict(cursors.get(subscription) or {})


def mark_of(cursor: Mapping[str, Any]) -> Position | None:
    """The first entry that is not acknowledged: of some brokers, admin REST alone tells it."""
    marked = cursor.get("markDeletePosition")
    return Position(*map(int, marked.split(":"))).next_entry() if marked else None


def refuse_holes(partition: TopicPartition, subscription: str, cursor: Mapping[str, Any]) -> None:
    """Raise SourceError where single messages have been acknowledged behind ones that have not."""
    holes = cursor.get("individuallyDeletedMessages") or "[]"
    if holes != "[]":
        raise SourceError(
            f"{partition.name}: --subscription={subscription} has single messages acknowledged out of order, "
            f"as the consumers of a shared subscription do it ({_shortened(holes)}). It serves an application: give a "
            "subscription of the backup's own."
        )


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
