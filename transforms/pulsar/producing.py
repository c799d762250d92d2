"""A producer of one partition that knows what the broker has stored: entries are sent in order, each once.

Spoken in the binary protocol itself, because pulsar-client can neither send under a schema of every type nor tell the
broker how far a producer batch reaches (see ``outgoing.py``).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Final

from transforms.errors import AccessError, BackupError, SourceError, TopicNotFoundError
from transforms.pulsar import wire
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import owner
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.outgoing import OutgoingMessage, frames
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import Fields, ProtocolError, encode
from transforms.pulsar.schemas import TYPE_NAMES, TopicSchema

_PRODUCER: Final = 1
#: What was sent and is not yet confirmed, at most.
_WINDOW_ENTRIES: Final = 64
_WINDOW_BYTES: Final = 16 << 20
#: Seconds between two attempts to go on.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
#: Seconds for an answer: a broker that moves a topic leaves some entries without one [measured, 4.0.8]. Asking anew is
#: safe where it deduplicates; where not, an entry could be stored after it was looked for.
_ANSWER_SECONDS, _LONGEST_ANSWER_SECONDS = 4.0, 30.0
#: Seconds before it is looked for.
_SETTLED: Final = 1.0
#: An id of 64 bits that is -1: none.
_NONE: Final = 2**63
# Of the enum ServerError.
_UNAUTHENTICATED, _UNAUTHORIZED, _TOPIC_NOT_FOUND, _TERMINATED, _PRODUCER_BUSY, _INCOMPATIBLE = 3, 4, 11, 15, 16, 18
_METADATA, _INVALID_NAME, _NOT_ALLOWED, _FENCED = 1, 17, 22, 25
_TYPES: Final = {name: number for number, name in TYPE_NAMES.items()}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """Messages that are sent together, and so are stored together or not at all.

    ``first`` and ``last`` are their sequence ids, which count from 1; ``origin`` is the original place of the last.
    """

    first: int
    messages: Sequence[OutgoingMessage]
    origin: Position
    size: int

    @property
    def last(self) -> int:
        """The sequence id of the last message."""
        return self.first + len(self.messages) - 1


class Interrupted(Exception):
    """The connection is gone, or the broker wants the producer to come again."""


class OvertakenError(SourceError):
    """Another attempt has sent what comes next, while this one was not connected."""


class PartitionProducer:
    """Sends entries to one partition, in order, under one name. Not thread-safe.

    The broker lets nobody else in under that name meanwhile; where it deduplicates, it tells how far the name has come
    (``stored``), and takes nothing twice. Where it does not, ``look`` is asked instead, first and whenever a connection
    broke: given where the last entry went that was confirmed, it tells the origin of the last message that the
    partition holds of ours, None where it holds none. One that is further than all that was sent is OvertakenError.
    Without either, what was not yet confirmed when a connection broke is sent again, and counted in ``doubtful``.

    Raises SourceError and AccessError for what does not pass within ``retry_seconds``. The topic must exist: a broker
    may create it.
    """

    def __init__(
        self,
        connection: PulsarConnection,
        partition: TopicPartition,
        name: str,
        *,
        schema: TopicSchema | None = None,
        look: Callable[[Position | None], Position | None] | None = None,
        retry_seconds: float = 600,
    ) -> None:
        self._connection, self._partition, self._name = connection, partition, name
        self._schema, self._retry_seconds = schema, retry_seconds
        self._look: Callable[[Position | None], Position | None] | None = None
        self._pending: deque[Entry] = deque()
        self._unanswered: deque[int] = deque()
        """How many answers are still to come for each of the first of them, which are sent."""
        self._sent_bytes = 0
        self._confirmed: Position | None = None
        self._last: Position | None = None
        """The furthest origin that was sent, or there before."""
        self._open = ExitStack()
        self._broker: wire.Connection | None = None
        self._moved = time.monotonic()
        self._asked = False
        self.stored = 0
        """The last sequence id that the broker holds of this name, as it told when it was last asked; 0 for none."""
        self.doubtful = 0
        """Messages that may stand twice."""
        self.deduplicated = 0
        """Messages that the broker has refused because it held them."""
        self._go_on()
        # A broker that does not deduplicate remembers nothing, and one that does forgets after some hours.
        self.reached = look(None) if look is not None and not self.stored else None
        """What ``look`` told first; None also where it was not asked, as the broker knows."""
        self._look, self._last = look, self.reached

    def send(self, entry: Entry) -> None:
        """Send an entry; waits only while too much is not yet confirmed."""
        if not self._pending:
            # What is waited for begins here: brokers drop connections on which nothing comes for long.
            self._moved = time.monotonic()
        self._pending.append(entry)
        self._advance(entry.size)
        if not self.stored and not self._asked:
            # Once, so that it is known how to go on where a connection breaks.
            self._asked = True
            self.deduplicates()

    def flush(self) -> None:
        """Wait until all that was sent is stored."""
        self._advance(None)

    def deduplicates(self) -> bool:
        """Whether the broker deduplicates, as far as that shows in what it remembers of this name. Flushes."""
        self.flush()
        self._close()
        self._moved = time.monotonic()
        self._go_on()
        return self.stored > 0

    def close(self) -> None:
        """Leave; what is not confirmed may be stored or not."""
        self._close()

    def _advance(self, room: int | None) -> None:
        """Send what waits and take what is confirmed; ``room`` None: until nothing is left."""
        while True:
            try:
                self._send_waiting()
                while self._pending and (room is None or self._is_full()):
                    self._take(time.monotonic() + (_ANSWER_SECONDS if self.stored else _LONGEST_ANSWER_SECONDS))
                while self._pending and self._broker is not None and self._has_answer():
                    pass
            except Interrupted as error:
                if time.monotonic() - self._moved > self._retry_seconds:
                    raise self._explained(error) from error
                self._go_on()
                continue
            return

    def _is_full(self) -> bool:
        return len(self._unanswered) >= _WINDOW_ENTRIES or self._sent_bytes >= _WINDOW_BYTES

    def _send_waiting(self) -> None:
        for entry in list(islice(self._pending, len(self._unanswered), None)):
            # Before it is sent: what is broken off may be stored. The furthest: what is pending is sent again.
            self._last = entry.origin if self._last is None else max(self._last, entry.origin)
            self._unanswered.append(self._write(entry))
            self._sent_bytes += entry.size

    def _write(self, entry: Entry) -> int:
        """Send an entry, or the chunks of a message; returns how many answers are to come."""
        if self._broker is None:
            raise Interrupted
        answers = 0
        for frame in frames(self._name, entry.first, entry.messages, int(time.time() * 1000)):
            answers += 1
            fields: dict[int, int | str | bytes] = {1: _PRODUCER, 2: entry.first, 3: frame.messages}
            if frame.messages > 1:
                fields[6] = entry.last
            if frame.is_chunk:
                fields[7] = 1
            try:
                self._broker.send(wire.Kind.SEND, fields, frame.tail)
            except OSError as error:
                raise Interrupted(str(error)) from error
        return answers

    def _has_answer(self) -> bool:
        if self._broker is None:
            raise Interrupted
        try:
            answer = self._broker.arriving(0)
        except (OSError, ProtocolError, wire.ServerRefusal) as error:
            raise Interrupted(str(error)) from error
        if answer is None:
            return False
        self._read(*answer[:2])
        return True

    def _take(self, deadline: float) -> None:
        if self._broker is None:
            raise Interrupted
        try:
            kind, fields, _ = self._broker.answer(deadline)
        except (OSError, ProtocolError, wire.ServerRefusal) as error:
            raise Interrupted(str(error)) from error
        self._read(kind, fields)

    def _read(self, kind: int, fields: Fields) -> None:
        if kind == wire.Kind.SEND_ERROR:
            code, said = fields.number(3), fields.text(4)
            if code in (_TERMINATED, _NOT_ALLOWED, _UNAUTHORIZED):
                raise self._explained(wire.ServerRefusal(code, said))
            raise Interrupted(said)
        if kind == wire.Kind.CLOSE_PRODUCER:
            raise Interrupted("the broker has closed the producer")
        if kind != wire.Kind.SEND_RECEIPT:
            return
        if not self._unanswered or fields.number(2) != self._pending[0].first:
            return
        # Each chunk of a message is answered by itself; the last one has made it whole.
        self._unanswered[0] -= 1
        if self._unanswered[0]:
            return
        entry = self._pending.popleft()
        self._unanswered.popleft()
        self._sent_bytes -= entry.size
        self._moved = time.monotonic()
        ids = Fields(fields.strings(3)[0]) if fields.strings(3) else None
        if ids is None or ids.number(1) >= _NONE:
            self.deduplicated += len(entry.messages)
        else:
            self._confirmed = Position(ids.number(1), ids.number(2))

    def _go_on(self) -> None:
        """Connect, again and again, and find out what of that which waits is stored already."""
        pause = _FIRST_PAUSE
        self._close()
        if self._unanswered and not self.stored:
            time.sleep(_SETTLED)
        while True:
            self._close()
            try:
                self._connect()
                self._drop_stored()
            except OvertakenError:
                raise
            except (Interrupted, OSError, ProtocolError, SourceError, wire.ServerRefusal) as error:
                failure = self._explained(error)
                if not self._passes(error) or time.monotonic() - self._moved > self._retry_seconds:
                    raise failure from error
                _log.info("%s Trying again.", failure)
            else:
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _connect(self) -> None:
        self._broker = self._open.enter_context(owner(self._connection, self._partition))
        asked: dict[int, int | str | bytes] = {1: self._partition.name, 2: _PRODUCER, 3: 1, 4: self._name, 9: 1}
        if self._schema is not None:
            asked[7] = schema_message(self._schema)
        answer = self._broker.request(wire.Kind.PRODUCER, asked)
        last = answer.number(3)
        self.stored = last if last < _NONE else 0

    def _drop_stored(self) -> None:
        """Of what was sent and not confirmed, drop what the broker holds; the rest is sent again."""
        if not self.stored:
            if self._look is None:
                self.doubtful += sum(len(entry.messages) for entry in islice(self._pending, len(self._unanswered)))
            elif self._pending or self._confirmed is not None:
                self._look_again(self._look)
        while self._pending and self._pending[0].last <= self.stored:
            self._pending.popleft()
        self._unanswered.clear()
        self._sent_bytes = 0

    def _look_again(self, look: Callable[[Position | None], Position | None]) -> None:
        origin = look(self._confirmed)
        if origin is None:
            return
        if self._last is None or origin > self._last:
            raise OvertakenError(
                f"{self._partition.name}: another attempt of the same restore has gone on meanwhile. Let it end, or "
                "run this one again: it goes on behind what is there."
            )
        while self._pending and self._pending[0].origin <= origin:
            self._pending.popleft()

    def _close(self) -> None:
        broker, self._broker = self._broker, None
        if broker is not None:
            try:
                broker.send(wire.Kind.CLOSE_PRODUCER, {1: _PRODUCER, 2: 2})
            except OSError as error:
                _log.debug("%s: closing: %s", self._partition.name, error)
        self._open.close()

    def _passes(self, error: Exception) -> bool:
        """Whether it may go by itself."""
        if isinstance(error, wire.ServerRefusal):
            lasting = (_UNAUTHENTICATED, _UNAUTHORIZED, _TOPIC_NOT_FOUND, _TERMINATED, _INCOMPATIBLE, _INVALID_NAME)
            return error.code not in (*lasting, _NOT_ALLOWED)
        return True

    def _explained(self, error: Exception) -> BackupError:
        name = self._partition.name
        if isinstance(error, BackupError):
            return error
        if not isinstance(error, wire.ServerRefusal):
            return SourceError(
                f"{name}: the connection to the broker broke off while messages were sent "
                f"({error or 'no reason is told'}). Look at the broker's log; run it again to go on."
            )
        return refused(name, error)


def refused(name: str, error: wire.ServerRefusal) -> BackupError:
    """One of our errors for what a broker says to a producer or to a schema of the topic ``name``."""
    said = f"(the broker says {error.sentence!r})"
    match error.code:
        case code if code in (_UNAUTHENTICATED, _UNAUTHORIZED):
            return AccessError(
                f"{name}: the role of --token may not produce there {said}. Grant the role the permissions produce and "
                "consume on the namespace."
            )
        case code if code == _TOPIC_NOT_FOUND or (code == _METADATA and "not found" in error.sentence.lower()):
            return TopicNotFoundError(f"{name}: no such topic {said}. --create_topic=N creates it.")
        case code if code == _TERMINATED:
            return SourceError(f"{name}: the topic is terminated, and takes no message any more. Give another one.")
        case code if code in (_PRODUCER_BUSY, _FENCED):
            return SourceError(
                f"{name}: another attempt of the same restore is connected {said}. Stop it, or wait until the broker "
                "has noticed that it is gone."
            )
        case code if code == _INCOMPATIBLE:
            return SourceError(
                f"{name}: the topic does not take the schema of the messages {said}. Restore into a new topic, or have "
                "the namespace's schema compatibility changed; --schemas=none sends the messages without one."
            )
    return SourceError(f"{name}: the broker does not take messages {said}. Look at its log.")


def schema_message(schema: TopicSchema) -> bytes:
    """A schema as the protocol has it (``Schema`` of PulsarApi.proto)."""
    fields: dict[int, int | str | bytes] = {1: schema.type, 3: schema.definition, 4: _TYPES[schema.type]}
    properties = (schema.properties or {}).items()
    return encode(fields) + b"".join(encode({5: encode({1: name, 2: value})}) for name, value in properties)


def register_schema(connection: PulsarConnection, partition: TopicPartition, schema: TopicSchema) -> bytes:
    """Give a topic a schema, if it does not have it yet; returns the version as the broker names it.

    ``partition`` is any partition of the topic. Raises SourceError and AccessError.
    """
    topic = TopicPartition(partition.topic)
    try:
        with owner(connection, partition) as broker:
            # By the name of a partition: of a topic that has some, the broker says that there is none.
            asked: dict[int, int | str | bytes] = {1: 1, 2: partition.name, 3: schema_message(schema)}
            answer = broker.request(wire.Kind.GET_OR_CREATE_SCHEMA, asked)
    except wire.ServerRefusal as refusal:
        raise refused(topic.name, refusal) from refusal
    except (OSError, ProtocolError) as error:
        raise SourceError(f"{topic.name}: the broker did not answer when it was given a schema. Try again.") from error
    if answer.strings(3):  # an error has a sentence
        raise refused(topic.name, wire.ServerRefusal(answer.number(2), answer.text(3)))
    (version,) = answer.strings(4)
    return version
