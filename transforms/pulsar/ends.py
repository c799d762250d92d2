"""The two ends of a partition, asked of its broker in Pulsar's binary protocol.

pulsar-client cannot tell the last message of a partition without a durable subscription, and it creates a topic that is
missing. So this subscribes by itself, in a way that creates no topic, asks, and goes.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from transforms.errors import AccessError, BackupError, SourceError
from transforms.pulsar import wire
from transforms.pulsar.admin import PulsarAdmin, no_such_listener, no_such_topic
from transforms.pulsar.connection import PulsarConnection, read_token
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import Fields, ProtocolError
from transforms.pulsar.reach import Tls

CONSUMER = 1
_LATEST, _EARLIEST = 0, 1
# Of the enum ServerError.
_METADATA, _UNAUTHENTICATED, _UNAUTHORIZED, CONSUMER_BUSY, NOT_READY = 1, 3, 4, 5, 6
_TOPIC_NOT_FOUND, SUBSCRIPTION_NOT_FOUND, _TOO_MANY_REQUESTS, NOT_ALLOWED = 11, 12, 14, 22
_REDIRECT, _CONNECT = 0, 1
_EXCLUSIVE = 0
#: Seconds to ask again while a topic moves from one broker to another, and between two times.
_MOVING, _PAUSE = 6.0, 0.25
_MOST_REDIRECTS = 8
#: Answers of a broker that has no message yet: entry -1, which protobuf carries as an unsigned number.
_NO_ENTRY = 2**63
#: Said by a broker that has closed a consumer by itself, for the topic moves.
_CLOSED = "Consumer not found"


_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class PartitionEnds:
    """What the broker tells of a partition."""

    behind_last: Position | None
    """Behind the entry of the last message; None for a partition that holds none."""
    unacknowledged: Position | None
    """The first entry that the subscription has not acknowledged; None where none was asked for or none is told."""


def check_reachable(connection: PulsarConnection, topic: str) -> None:
    """Connect and log in once; raises SourceError or AccessError that tell what the client calls a timeout alike.

    ``topic`` is asked for where ``service_url`` is an ``http://`` address; it need not exist.
    """
    if urlsplit(connection.service_url).scheme in ("http", "https"):
        PulsarAdmin(connection, for_lookup=True).check(topic)
    else:
        token, tls = login_of(connection)
        wire.connect(connection.service_url, token=token, tls=tls).close()


def partitions_of(connection: PulsarConnection, topic: str) -> list[TopicPartition]:
    """The partitions of a topic; the topic itself if it has none *or, perhaps, does not exist*. Creates nothing.

    Raises TopicNotFoundError, AccessError and SourceError.
    """
    named = TopicPartition.parse(topic)
    if named.index >= 0:
        return [named]
    if urlsplit(connection.service_url).scheme in ("http", "https"):
        count = PulsarAdmin(connection, for_lookup=True).partitions(topic)
    else:
        count = patiently(lambda: _partition_count(connection, named))
    return [TopicPartition(topic, index) for index in range(count)] or [named]


def _partition_count(connection: PulsarConnection, topic: TopicPartition) -> int:
    token, tls = login_of(connection)
    with explained(topic), wire.connect(connection.service_url, token=token, tls=tls) as broker:
        # Field 6: do not create the topic.
        answer = broker.request(wire.Kind.PARTITIONED_METADATA, {1: topic.name, 2: 1, 6: 0})
        if not answer.number(3):
            return answer.number(1)
        if not answer.text(5):
            # Told not to create it, the broker does not say what is missing; asked for its owner, it does.
            _raise_failed(broker.request(wire.Kind.LOOKUP, {1: topic.name, 2: 2, 3: 0}))
        raise wire.ServerRefusal(answer.number(4), answer.text(5))


def _raise_failed(lookup: Fields) -> None:
    if lookup.number(3) not in (_REDIRECT, _CONNECT):
        raise wire.ServerRefusal(lookup.number(6), lookup.text(7))


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
    subscribe = subscribe_command(
        partition,
        subscription or f"tdmq-backup-{uuid.uuid4().hex}",
        durable=subscription is not None,
        at_end=create_at_end or subscription is None,
    )

    def ask() -> PartitionEnds:
        with explained(partition, subscription), owner(connection, partition) as broker:
            broker.request(wire.Kind.SUBSCRIBE, subscribe)
            answer = broker.request(wire.Kind.GET_LAST_MESSAGE_ID, {1: CONSUMER, 2: 2})
        last, marked = entry_of(answer, 1), entry_of(answer, 3)
        return PartitionEnds(
            behind_last=last.next_entry() if last is not None and last.entry >= 0 else None,
            unacknowledged=marked.next_entry() if subscription is not None and marked is not None else None,
        )

    return patiently(ask)


def subscribe_command(
    partition: TopicPartition, subscription: str, *, durable: bool, at_end: bool = True
) -> dict[int, int | str | bytes]:
    """The command: alone on the subscription, and no topic is created."""
    return {
        1: partition.name,
        2: subscription,
        3: _EXCLUSIVE,
        4: CONSUMER,
        5: 1,
        8: int(durable),
        13: _LATEST if at_end else _EARLIEST,
        15: 0,
    }


class NotReadyError(SourceError):
    """The broker cannot serve the topic now, and may a moment later."""


def patiently(ask: Callable[[], _Result]) -> _Result:
    """Ask again for a while where a broker says that it is not ready: a topic takes a moment to move or to load."""
    deadline = time.monotonic() + _MOVING
    while True:
        try:
            return ask()
        except NotReadyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def entry_of(answer: Fields, number: int) -> Position | None:
    """The entry that a field of type MessageIdData names; None where it is absent. Before the first it is -1."""
    encoded = answer.strings(number)
    if not encoded:
        return None
    ids = Fields(encoded[0])
    ledger, entry = ids.number(1), ids.number(2)
    return Position(ledger, entry if entry < _NO_ENTRY else -1)


def login_of(connection: PulsarConnection) -> tuple[str | None, Tls]:
    """What ``wire.connect`` needs of a connection: its token, read anew, and its TLS files."""
    token = read_token(connection.token) if connection.token else None
    return token, Tls(connection.tls_trust_certs, connection.tls_cert, connection.tls_key)


@contextlib.contextmanager
def owner(connection: PulsarConnection, partition: TopicPartition) -> Iterator[wire.Connection]:
    """A connection to the broker that owns the partition."""
    token, tls = login_of(connection)
    url = connection.service_url
    if urlsplit(url).scheme in ("http", "https"):
        url = PulsarAdmin(connection, for_lookup=True).broker_of(partition, connection.listener_name)
    authoritative = 0
    for _ in range(_MOST_REDIRECTS):
        with wire.connect(url, token=token, tls=tls) as broker:
            lookup: dict[int, int | str | bytes] = {1: partition.name, 2: 0, 3: authoritative}
            if connection.listener_name:
                lookup[7] = connection.listener_name
            answer = broker.request(wire.Kind.LOOKUP, lookup)
            _raise_failed(answer)
            outcome, proxied = answer.number(3), answer.number(8)
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
    except TimeoutError as error:
        raise SourceError(
            f"{partition.name}: the broker let us in, but did not answer a request within {wire.TIMEOUT:g} s. It may "
            "be starting, or moving the topic: look at its log, and try again."
        ) from error
    except (OSError, ProtocolError) as error:
        raise NotReadyError(
            f"{partition.name}: the broker broke the connection off. It may be starting, or moving the topic: look at "
            "its log, and try again."
        ) from error


def _refused(refusal: wire.ServerRefusal, partition: TopicPartition, subscription: str | None) -> BackupError:
    said = f"(the broker says {refusal.sentence!r})"
    moves = refusal.sentence == _CLOSED
    match refusal.code:
        case code if code in (_UNAUTHENTICATED, _UNAUTHORIZED):
            return AccessError(
                f"{partition.name}: the role of --token may not consume there {said}. Grant the role consume "
                "permission on the namespace; a namespace that does not exist is refused in the same words."
            )
        case code if code == _TOPIC_NOT_FOUND or (
            code == _METADATA and "not found" in refusal.sentence.lower() and not moves
        ):
            return no_such_topic(partition.name, refusal.sentence)
        case code if code == CONSUMER_BUSY:
            return SourceError(
                f"{partition.name}: another consumer holds --subscription={subscription} {said}. Stop that one, or "
                "give a subscription of the backup's own."
            )
        case code if code == SUBSCRIPTION_NOT_FOUND:
            return forbidden(partition, subscription)
        case code if code == NOT_READY and "listener" in refusal.sentence:
            return no_such_listener(partition.name, refusal.sentence)
        case code if code in (NOT_READY, _TOO_MANY_REQUESTS) or moves:
            return NotReadyError(f"{partition.name}: the broker is not ready for it {said}. Try again in a moment.")
    if refusal.code == NOT_ALLOWED and "NonDurable" in refusal.sentence:
        # Of our own question, which the broker has not yet forgotten, or of a stranger.
        return NotReadyError(
            f"{partition.name}: a reader has the name of --subscription={subscription} {said}. Stop that one, or give "
            "another --subscription."
        )
    return SourceError(f"{partition.name}: the broker refuses what a backup asks {said}. Look at its log.")


def forbidden(partition: TopicPartition, subscription: str | None) -> SourceError:
    """What is said where the subscription is missing and may not be created."""
    return SourceError(
        f"{partition.name}: there is no --subscription={subscription}, and the broker does not let it be created by "
        "subscribing. Create it in the console or with pulsar-admin topics create-subscription, or give another one."
    )
