"""The two ends of a partition, asked of its broker in Pulsar's binary protocol.

pulsar-client cannot tell the last message of a partition without a durable subscription, and it creates a topic that is
missing. So this subscribes by itself, in a way that creates no topic, asks, and goes.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from transforms.errors import AccessError, BackupError, SourceError, TopicNotFoundError
from transforms.pulsar import wire
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.connection import PulsarConnection, read_token
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import Fields, ProtocolError

_CONSUMER = 1
_LATEST, _EARLIEST = 0, 1
# Of the enum ServerError.
_METADATA, _UNAUTHENTICATED, _UNAUTHORIZED, _CONSUMER_BUSY, _TOPIC_NOT_FOUND = 1, 3, 4, 5, 11
_REDIRECT, _CONNECT = 0, 1
_MOST_REDIRECTS = 8
#: Answers of a broker that has no message yet: entry -1, which protobuf carries as an unsigned number.
_NO_ENTRY = 2**63


@dataclass(frozen=True, slots=True)
class PartitionEnds:
    """What the broker tells of a partition."""

    behind_last: Position | None
    """Behind the entry of the last message; None for a partition that holds none."""
    unacknowledged: Position | None
    """The first entry that the subscription has not acknowledged; None where none was asked for or none is told."""


def partition_ends(
    connection: PulsarConnection,
    partition: TopicPartition,
    subscription: str | None = None,
    *,
    create_at_end: bool = False,
) -> PartitionEnds:
    """Ask for the last message and, with a subscription, for where that one stands.

    A durable subscription that is missing is created, at the earliest message or at the end. A topic never is. Raises
    TopicNotFoundError, AccessError, and SourceError (also where another consumer holds the subscription).
    """
    subscribe: dict[int, int | str | bytes] = {
        1: partition.name,
        2: subscription or f"tdmq-backup-{uuid.uuid4().hex}",
        3: 0,  # exclusive
        4: _CONSUMER,
        5: 1,
        8: int(subscription is not None),  # durable
        13: _LATEST if create_at_end or subscription is None else _EARLIEST,
        15: 0,  # do not create the topic
    }
    with explained(partition, subscription), owner(connection, partition) as broker:
        broker.request(wire.Kind.SUBSCRIBE, subscribe)
        answer = broker.request(wire.Kind.GET_LAST_MESSAGE_ID, {1: _CONSUMER, 2: 2})
    last, marked = entry_of(answer, 1), entry_of(answer, 3)
    return PartitionEnds(
        behind_last=last.next_entry() if last is not None and last.entry >= 0 else None,
        unacknowledged=marked.next_entry() if subscription is not None and marked is not None else None,
    )


def entry_of(answer: Fields, number: int) -> Position | None:
    """The entry that a field of type MessageIdData names; None where it is absent. Before the first it is -1."""
    encoded = answer.strings(number)
    if not encoded:
        return None
    ids = Fields(encoded[0])
    ledger, entry = ids.number(1), ids.number(2)
    return Position(ledger, entry if entry < _NO_ENTRY else -1)


def login_of(connection: PulsarConnection) -> tuple[str | None, wire.Tls]:
    """What ``wire.connect`` needs of a connection: its token, read anew, and its TLS files."""
    token = read_token(connection.token) if connection.token else None
    return token, wire.Tls(connection.tls_trust_certs, connection.tls_cert, connection.tls_key)


@contextlib.contextmanager
def owner(connection: PulsarConnection, partition: TopicPartition) -> Iterator[wire.Connection]:
    """A connection to the broker that owns the partition."""
    token, tls = login_of(connection)
    url = connection.service_url
    if urlsplit(url).scheme in ("http", "https"):
        url = PulsarAdmin(connection, url).broker_of(partition, connection.listener_name)
    authoritative = 0
    for _ in range(_MOST_REDIRECTS):
        with wire.connect(url, token=token, tls=tls) as broker:
            lookup: dict[int, int | str | bytes] = {1: partition.name, 2: 0, 3: authoritative}
            if connection.listener_name:
                lookup[7] = connection.listener_name
            answer = broker.request(wire.Kind.LOOKUP, lookup)
            outcome, proxied = answer.number(3), answer.number(8)
            if outcome not in (_REDIRECT, _CONNECT):
                raise wire.ServerRefusal(answer.number(6), answer.text(7))
            named = answer.text(2) if url.startswith("pulsar+ssl") else answer.text(1)
            if outcome == _CONNECT and not proxied and named.rstrip("/") in ("", url.rstrip("/")):
                yield broker
                return
        if outcome == _CONNECT:
            # Behind a proxy, the broker is reached at the same address and named in the connection.
            address, behind = (url, named) if proxied else (named, "")
            with wire.connect(address, token=token, tls=tls, proxy_to=behind) as its_owner:
                yield its_owner
            return
        url, authoritative = named, answer.number(5)
    raise SourceError(f"{partition.name}: brokers send from one to another; none says that it owns the topic.")


@contextlib.contextmanager
def explained(partition: TopicPartition, subscription: str | None = None) -> Iterator[None]:
    """Turn refusals and broken connections into our errors."""
    try:
        yield
    except wire.ServerRefusal as refusal:
        raise _refused(refusal, partition, subscription) from refusal
    except (OSError, ProtocolError) as error:
        raise SourceError(
            f"{partition.name}: the broker did not answer ({type(error).__name__}). It may be starting, or moving the "
            "topic: try again."
        ) from error


def _refused(refusal: wire.ServerRefusal, partition: TopicPartition, subscription: str | None) -> BackupError:
    match refusal.code:
        case code if code in (_UNAUTHENTICATED, _UNAUTHORIZED):
            return AccessError(
                f"{partition.name}: the role of --token may not consume there ({refusal.sentence!r}). Grant the role "
                "consume permission on the namespace."
            )
        case code if code == _TOPIC_NOT_FOUND or (code == _METADATA and "not found" in refusal.sentence.lower()):
            return TopicNotFoundError(
                f"{partition.name}: no such topic, and a backup creates none. Check its name in the console or with "
                f"pulsar-admin topics list ({refusal.sentence!r})."
            )
        case code if code == _CONSUMER_BUSY:
            return SourceError(
                f"{partition.name}: another consumer holds subscription {subscription}. Stop that one, or give another "
                "--subscription."
            )
        case _:
            return SourceError(f"{partition.name}: the broker says {refusal.sentence!r}.")
