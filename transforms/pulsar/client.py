"""The only module that imports pulsar-client.

One client per process and connection is shared by all that read there; DoFn instances come and go.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pulsar

from transforms.errors import AccessError, BackupError, SourceError, TopicNotFoundError
from transforms.pulsar.connection import PulsarConnection, read_token
from transforms.pulsar.ends import NotReadyError
from transforms.pulsar.messages import ClientMessage, TopicPartition
from transforms.pulsar.positions import EARLIEST, Position
from transforms.pulsar.protobuf import Fields

#: Raised by ``MessageReader.read_next`` when no message came in time, and all else that it raises.
NoMessageInTime = pulsar.Timeout
ClientError = pulsar.PulsarException

log_file = "/dev/stderr"
"""Where the C++ side logs; read when a client is made."""

_log = logging.getLogger(__name__)
_clients: dict[PulsarConnection, PulsarClient] = {}
_open: weakref.WeakSet[PulsarClient] = weakref.WeakSet()
_lock = threading.Lock()


def connect(connection: PulsarConnection) -> PulsarClient:
    """The client of this process for the connection; made when first asked for. Nothing is sent yet."""
    with _lock:
        client = _clients.get(connection)
        if client is None:
            client = _clients[connection] = PulsarClient(connection)
        return client


def disconnect(connection: PulsarConnection) -> None:
    """Close this process's client for the connection, if there is one."""
    with _lock:
        client = _clients.pop(connection, None)
    if client is not None:
        client.close()


def full_topic_name(topic: str) -> str:
    """``orders``, ``tenant/namespace/orders`` or a full name, as ``persistent://tenant/namespace/orders``."""
    name = topic.removeprefix("persistent://")
    parts = name.split("/", 2)
    return f"persistent://{name}" if len(parts) == 3 else f"persistent://public/default/{name}"  # noqa: PLR2004


@atexit.register
def _close_all() -> None:
    """Close what is left while there is still a Python: the client's threads ask it for tokens."""
    for client in list(_open):
        client.close()


class PulsarClient:
    """A thin face on pulsar-client, in our terms and with our errors. Thread-safe."""

    def __init__(self, connection: PulsarConnection) -> None:
        self.connection = connection
        token = connection.token
        authentication = None
        if token is not None:
            # A supplier: the client asks again when it connects again, so a replaced token is found.
            authentication = pulsar.AuthenticationToken(lambda: read_token(token))
        elif connection.tls_cert is not None:
            authentication = pulsar.AuthenticationTLS(connection.tls_cert, connection.tls_key)
        # Not a logger of Python's: the client's threads outlive its close, and one that touches Python while the
        # interpreter ends aborts the process, whatever it has done.
        level = pulsar.LoggerLevel.Debug if _log.isEnabledFor(logging.DEBUG) else pulsar.LoggerLevel.Error
        self._client = pulsar.Client(
            connection.service_url,
            authentication=authentication,
            operation_timeout_seconds=connection.operation_timeout,
            tls_trust_certs_file_path=connection.tls_trust_certs,
            tls_validate_hostname=True,
            tls_certificate_file_path=connection.tls_cert,
            tls_private_key_file_path=connection.tls_key,
            listener_name=connection.listener_name,
            logger=pulsar.FileLogger(level, log_file),
        )
        _open.add(self)

    def close(self) -> None:
        """Close all readers and connections; closing twice is no error."""
        if self in _open:
            _open.discard(self)
            self._client.close()

    def open_reader(
        self, partition: TopicPartition, start: Position, *, queue_size: int = 1000, compacted: bool = False
    ) -> MessageReader:
        """A reader whose first message is the first at or behind ``start``.

        The topic must exist: a reader creates it.
        """
        message_id = pulsar.MessageId.earliest if start <= EARLIEST else _inclusive_id(start)
        return self._open(partition, message_id, queue_size=queue_size, compacted=compacted)

    def _open(self, partition: TopicPartition, message_id: Any, *, queue_size: int, compacted: bool) -> MessageReader:
        with explained(self.connection, partition.name):
            reader = self._client.create_reader(
                partition.name,
                message_id,
                receiver_queue_size=queue_size,
                is_read_compacted=compacted,
                start_message_id_inclusive=True,
                # Encrypted messages are kept as they are.
                crypto_failure_action=pulsar.ConsumerCryptoFailureAction.CONSUME,
            )
        return MessageReader(reader, self.connection, partition)

    @contextmanager
    def subscription(self, partition: TopicPartition, name: str) -> Iterator[Subscription]:
        """Hold the subscription of one partition, alone.

        Raises SourceError where another consumer holds it, and where the broker does not answer when it is given back.
        """
        with explained(self.connection, f"{partition.name} (subscription {name})"):
            consumer = self._client.subscribe(
                partition.name,
                name,
                pulsar.ConsumerType.Exclusive,
                receiver_queue_size=1,
                initial_position=pulsar.InitialPosition.Earliest,
            )
        try:
            yield Subscription(consumer, self.connection, partition)
        except BaseException:
            with suppress(pulsar.PulsarException):
                consumer.close()
            raise
        # What was acknowledged may go out only now.
        with explained(self.connection, f"{partition.name} (subscription {name})"):
            consumer.close()

    def schema_info(self, topic: str, version: int) -> Any:
        """The schema of a version as the client gives it; raises pulsar's own TopicNotFound where there is none."""
        return self._client._client.get_schema_info(topic, version)


class MessageReader:
    """Reads one partition. Not thread-safe, but for ``close``."""

    def __init__(self, reader: Any, connection: PulsarConnection, partition: TopicPartition) -> None:
        self._reader = reader
        self._connection = connection
        self._partition = partition
        self._closed = False
        # The inner method: the wrapper around it and around its message costs more than the call.
        self.read_next: Callable[[int], ClientMessage] = reader._reader.read_next

    def has_next(self) -> bool:
        """Whether the broker holds a message behind the last one read. Asks the broker."""
        with explained(self._connection, self._partition.name):
            return bool(self._reader.has_message_available())

    def next(self, timeout: float) -> ClientMessage | None:
        """The next message; None if none came within ``timeout`` seconds."""
        try:
            return self.read_next(int(timeout * 1000))
        except pulsar.Timeout:
            return None

    def first(self, timeout: float) -> tuple[Position, int] | None:
        """Where the next message begins, and its publish time; None where the broker holds none."""
        if not self.has_next():
            return None
        message = self.next(timeout)
        if message is None:
            raise SourceError(
                f"{self._partition.name}: the broker says that there is a message, but sent none within {timeout:g} s. "
                "Look at the broker's log, or try again."
            )
        return start_of(message), message.publish_timestamp()

    def seek_time(self, time: int) -> None:
        """Go to about the first entry published at or after ``time`` (milliseconds); entries are not sorted by it."""
        with explained(self._connection, self._partition.name):
            self._reader.seek(time)

    def close(self) -> None:
        """Close the reader, once. What a broker says to that, which may be gone, has no consequence."""
        if self._closed:
            return
        self._closed = True
        try:
            self._reader.close()
        except pulsar.PulsarException as error:
            _log.debug("%s: closing the reader: %s", self._partition.name, error)

    def trouble(self, error: Exception) -> BackupError:
        """One of our errors for what ``read_next`` has raised, other than NoMessageInTime."""
        return explain(error, self._connection, self._partition.name)


class Subscription:
    """A durable subscription of one partition, held by us alone."""

    def __init__(self, consumer: Any, connection: PulsarConnection, partition: TopicPartition) -> None:
        self._consumer = consumer
        self._connection = connection
        self._partition = partition

    def acknowledge_before(self, position: Position) -> Position | None:
        """Acknowledge, cumulatively, what lies before ``position``; of an entry begun, nothing.

        Returns the first position that is not acknowledged by this; None where there was nothing to acknowledge.

        Going backwards is ignored by the broker. Not guaranteed: that it outlives an unload of the topic within the
        next moment, while the broker makes a ledger for the cursor; the protocol has no answer that tells.
        """
        if position.entry == 0:
            return None  # the entry before is in a ledger whose number we do not know; the next time covers it
        # Always the entry before: the client knows no batch size of an id made by hand, and takes an index inside a
        # batch for all of its entry. [measured with pulsar-client 3.13]
        with explained(self._connection, self._partition.name):
            self._consumer.acknowledge_cumulative(_wire_id(position.ledger, position.entry - 1, -1))
        return Position(position.ledger, position.entry)


def start_of(message: Any) -> Position:
    """Where a message of the client begins: for a chunked one, its first chunk; its own id is that of the last."""
    found = message.message_id()
    # pulsar-client has no accessor for it. Field 7 of MessageIdData is first_chunk_message_id.
    chunk = Fields(found.serialize()).strings(7)
    if chunk:
        first = Fields(chunk[0])
        return Position(first.number(1), first.number(2))
    return Position(found.ledger_id(), found.entry_id(), max(found.batch_index(), 0))


def batch_size(message_id: Any) -> int:
    """How many messages the producer batch has of which a received id is; 0 outside one."""
    # pulsar-client has no accessor for it. Field 6 of MessageIdData is batch_size.
    return Fields(message_id.serialize()).number(6)


@contextmanager
def explained(connection: PulsarConnection, what: str) -> Iterator[None]:
    """Turn the client's exceptions into ours, with a sentence about ``what``."""
    try:
        yield
    except pulsar.PulsarException as error:
        raise explain(error, connection, what) from error


def explain(error: Exception, connection: PulsarConnection, what: str) -> BackupError:
    """One of our errors for an exception of the client."""
    url = connection.service_url
    match error:
        case pulsar.ConnectError():
            return SourceError(f"{url}: cannot connect. Check host and port of --service_url, and the network.")
        case pulsar.Timeout():
            return SourceError(
                f"{url}: no answer about {what} within {connection.operation_timeout} s. Either nothing listens there, "
                "or the broker did not accept the token (the client cannot tell): check --service_url and --token."
            )
        case pulsar.BrokerMetadataError() | pulsar.ServiceUnitNotReady():
            return NotReadyError(f"{what}: the broker is not ready for it ({error}). Try again in a moment.")
        case pulsar.AuthenticationError() | pulsar.AuthorizationError():
            return AccessError(
                f"{what}: the role of --token may not consume there, or the namespace does not exist. "
                "Grant the role consume permission on the namespace."
            )
        case pulsar.TopicNotFound():
            return TopicNotFoundError(
                f"{what}: no such topic. Check its name in the console or with pulsar-admin topics list."
            )
        case pulsar.ConsumerBusy():
            return SourceError(f"{what}: another consumer holds it. Stop that one, or give another --subscription.")
        case pulsar.SubscriptionNotFound():
            return SourceError(
                f"{what}: no such subscription, and it may not be created here. Create it in the console."
            )
        case _:
            return SourceError(f"{what}: the Pulsar client says: {error}.")


def _inclusive_id(start: Position) -> Any:
    # Measured: an entry outside any batch is skipped by an inclusive id with batch index 0, so 0 is given as -1.
    return _wire_id(start.ledger, start.entry, start.batch or -1)


def _wire_id(ledger: int, entry: int, batch: int) -> Any:
    # An id made by hand does not compare with a received one until it went through its serialized form.
    return pulsar.MessageId.deserialize(pulsar.MessageId(-1, ledger, entry, batch).serialize())
