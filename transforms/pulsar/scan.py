"""Reading a partition step by step, and missing nothing: what the client passes over, what the broker has deleted."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from transforms.errors import BackupError, SourceError, TopicNotFoundError
from transforms.memory import LARGE_PAYLOAD, MESSAGE_BYTES
from transforms.pulsar.chunks import PassedEntries
from transforms.pulsar.client import ClientError, MessageReader, NoMessageInTime, PulsarClient, batch_size, start_of
from transforms.pulsar.client_queue import ClientQueue
from transforms.pulsar.ends import check_reachable
from transforms.pulsar.entries import StoredEntry, first_entry, stored_entries
from transforms.pulsar.ledgers import Gap, Ledgers
from transforms.pulsar.message_columns import LATEST_TIME, EntryRun
from transforms.pulsar.messages import ClientMessage, TopicPartition
from transforms.pulsar.portion import Portion
from transforms.pulsar.positions import Position
from transforms.pulsar.seen_end import SeenEnd
from transforms.wall_clock import now_ms

_log = logging.getLogger(__name__)

#: What is handed over at once, at most.
PORTION_MESSAGES = 1_000
PORTION_BYTES = 768 * 1024
#: The same where messages are large: these are not copied together, and each portion has its price.
_LARGE_PORTION_BYTES = 4 * 1024 * 1024
#: Seconds after which less is handed over: it comes slowly.
PORTION_SECONDS = 0.1
#: How far back to look for the first chunk of a message of which later ones stand behind the start.
LOOK_BACK_ENTRIES = 1_000
#: Milliseconds to wait for a message before the broker is asked whether there is one; and where others wait already to
#: be handed over.
PATIENT_MS = 200
HASTY_MS = 10
#: After so many waits for a message that the broker says to be there, it is asked what it really holds.
STALLED = 10
#: Between two questions to a broker that is away.
_LONGEST_PAUSE = 10.0
#: How often a message is read again that the client should have delivered.
_TRIES = 10

#: A place in a partition as Pulsar has it: ledger, entry, batch index.
_Place = tuple[int, int, int]

#: The client connects again 0.1 s, less a tenth, after a connection has broken: so not twice within these seconds.
_NO_TWO_RECONNECTIONS = 0.05
#: Of the messages that follow each other in a batch, each of how many is asked for its place.
_ASKED_EACH = 32


@dataclass(frozen=True, slots=True)
class _Again:
    """Reading has to start again at ``look_from``; all up to ``last`` has been handed over."""

    last: _Place
    look_from: Position
    reason: BackupError | None = None
    """Why, if the broker failed; else the client did not deliver the message at ``look_from``, or its queue changes."""


class PartitionScan:
    """Reads one partition from ``start`` on. For one thread at a time, which may be another one at each step.

    ``look_from`` is where the reader starts; what lies before ``start`` is read for the chunks in it and left out.
    Where the client says before ``stop`` that there is no more, it is not believed without a look.

    ``pause`` waits so many seconds, less if there is no more to be read for anybody. Errors come once the broker has
    been away for ``retry_seconds``.
    """

    def __init__(
        self,
        client: PulsarClient,
        partition: TopicPartition,
        start: Position,
        *,
        look_from: Position,
        stop: Position | None,
        queue: ClientQueue,
        most_bytes: int,
        compacted: bool,
        retry_seconds: float,
        pause: Callable[[float], object],
    ) -> None:
        self.hasty = False
        """Whether the next step gives None soon where no message comes."""
        self._client = client
        self._partition = partition
        self._start = start
        self._look_from = look_from
        self._stop = stop
        self._queue = queue
        self._most_bytes = min(most_bytes, PORTION_BYTES)
        self._most_large_bytes = min(most_bytes, _LARGE_PORTION_BYTES)
        self._most_messages = min(max(self._most_bytes // MESSAGE_BYTES, 1), PORTION_MESSAGES)
        self._compacted = compacted
        self._retry_seconds = retry_seconds
        self._pause = pause
        self._ledgers = Ledgers(client.connection, partition)
        self._end = SeenEnd(client.connection, partition)
        self._passed = PassedEntries(look_from)
        self._gaps: list[Gap] = []
        self._answered = time.monotonic()

    def steps(self) -> Generator[Portion | None, None, None]:
        """Read on with each ``next``: gives the next messages, or that there are none, or None before what takes long.

        It starts again further back where a message turns out to begin there. Has no end, but for errors.
        """
        last = before(self._start)
        look_from, tries = self._look_from, 0
        may_look_back = look_from == self._start and self._start.entry > 0 and not self._compacted
        yield None
        self._ledgers.look()
        while True:
            again = yield from self._read_on(look_from, last, may_look_back=may_look_back)
            yield None
            tries = tries + 1 if again.last == last else 0
            if again.reason is not None:
                self._bear(again.reason, tries)
            elif tries > _TRIES:
                raise SourceError(
                    f"{self._partition.name}: the client does not deliver the message at {again.look_from}, which the "
                    "broker holds. Look at the log of the client (--log_level=DEBUG) for the reason."
                )
            last, look_from = again.last, again.look_from
            may_look_back = may_look_back and look_from >= self._start

    def gap(self, start: Position, stop: Position) -> Gap | None:
        """What was deleted between the two, all of which has been passed."""
        if self._compacted or start >= stop:
            return None
        for tries in itertools.count(1):
            try:
                return self._ledgers.gap(start, stop)
            except BackupError as error:
                self._bear(error, tries)
        return None

    def _bear(self, trouble: BackupError, tries: int) -> None:
        """Wait a while for a broker that is away, restarts, or refuses a token that has expired; but not for ever."""
        if isinstance(trouble, TopicNotFoundError):
            raise trouble
        if time.monotonic() > self._answered + self._retry_seconds:
            # Knows better why, where it cannot be reached.
            check_reachable(self._client.connection, self._partition.name)
            raise trouble
        _log.info("%s Trying again.", trouble)
        self._pause(min(0.1 * 2 ** min(tries, 10), _LONGEST_PAUSE))

    def _read_on(
        self, look_from: Position, last: _Place, *, may_look_back: bool
    ) -> Generator[Portion | None, None, _Again]:
        try:
            reader = self._client.open_reader(
                self._partition, look_from, queue_size=self._queue.size, compacted=self._compacted
            )
        except BackupError as error:
            return _Again(last, look_from, error)
        try:
            self._queue.reader = reader
            return (yield from self._read_from(reader, look_from, last, may_look_back=may_look_back))
        finally:
            reader.close()

    def _read_from(  # noqa: PLR0912, PLR0915 - the hot loop, in one piece: a call costs what all else here does
        self, reader: MessageReader, look_from: Position, last: _Place, *, may_look_back: bool
    ) -> Generator[Portion | None, None, _Again]:
        """What comes behind ``last``, until reading has to start again elsewhere."""
        read_next = reader.read_next
        passed = self._passed
        passed.go_to(look_from)
        compacted = self._compacted
        waited = 0
        last_size: int | None = None
        """How many messages the batch has that the last message is of, if it is of one that may have more."""
        unsure: deque[ClientMessage] = deque()
        """Read already; each is looked at by itself."""
        trouble: Exception | None = None
        while True:
            portion = Portion()
            columns = portion.columns
            messages, payloads = columns.messages, columns.payloads
            most_messages, most_bytes, size = self._most_messages, self._most_bytes, 0
            late = math.inf
            """When the portion is handed over, if it is not complete before."""
            again: _Again | None = None
            while len(messages) < most_messages and size < most_bytes:
                try:
                    if trouble is not None and not unsure:
                        raise trouble
                    patience = HASTY_MS if messages or self.hasty else PATIENT_MS
                    message = unsure.popleft() if unsure else read_next(patience)
                except NoMessageInTime:
                    if messages:
                        break
                    if self.hasty:
                        yield None
                        continue
                    waited += 1
                    asked = now_ms()
                    try:
                        if reader.has_next():
                            # The broker holds entries that the client does not deliver, or not yet.
                            if waited % STALLED or compacted:
                                continue
                            again = self._look(passed, last, passed.next, None, may_look_back=may_look_back)
                        else:
                            again = self._look_behind_the_end(passed, last)
                            if again is None and self._stop is None and (last_size is None or last[2] + 1 == last_size):
                                self._end.no_more(
                                    last, _behind(last) if last_size is None else _behind(last).next_entry()
                                )
                    except BackupError as error:
                        # The client connects again by itself.
                        self._bear(error, waited)
                        continue
                    portion.caught_up = asked if again is None else 0
                    break
                except ClientError as error:
                    again = _Again(last, passed.behind_all_complete(_behind(last)), reader.trouble(error))
                    break
                waited = 0
                found = message.message_id()
                ledger, entry, batch = found.ledger_id(), found.entry_id(), found.batch_index()
                in_batches = not compacted and (batch > 0 or last_size is not None)
                if in_batches and _leaves_a_hole(last, last_size, (ledger, entry, batch)):
                    again = _Again(last, passed.behind_all_complete(_behind(last)))
                    break
                publish_time = min(message.publish_timestamp(), LATEST_TIME)
                now = time.monotonic()
                if not messages:
                    late = now + PORTION_SECONDS
                elif now > late:
                    most_messages = 0
                gap = passed.deliver(ledger, entry)
                if gap is not None and not compacted:
                    first = start_of(message)
                    # A message of two chunks stands in for its own first one; all else is looked at.
                    if gap != first or gap.next_entry() != Position(ledger, entry):
                        yield None
                        again = self._look(
                            passed, last, gap, Position(ledger, entry), delivered=first, may_look_back=may_look_back
                        )
                    if again is not None:
                        break
                    passed.complete(first)
                elif batch < 0 and passed.incomplete:
                    passed.complete(start_of(message))
                place = (ledger, entry, batch)
                if place <= last:
                    continue  # read only for the chunks before the start, or given twice after a reconnection
                last, last_size = place, None if batch < 0 or compacted else batch_size(found)
                payload = message.data()
                messages.append(message)
                payloads.append(payload)
                columns.indexes.append(batch)
                columns.entries.append(EntryRun(1, ledger, entry, publish_time))
                size += len(payload)
                if len(payload) >= LARGE_PAYLOAD:
                    most_bytes = self._most_large_bytes
                follow = min((last_size or 0) - batch - 1, most_messages - len(messages))
                if follow > 0 and not unsure:
                    # The rest of a batch follows in a row, and shares all that was asked.
                    more: list[ClientMessage] = []
                    try:
                        more.extend(map(read_next, repeat(HASTY_MS, follow)))
                    except NoMessageInTime:
                        pass  # what came is in the list, and the next message is waited for above
                    except ClientError as error:
                        trouble = error
                    if time.monotonic() < now + _NO_TWO_RECONNECTIONS and _follow(found, more):
                        last = (ledger, entry, batch + len(more))
                        contents = list(map(type(message).data, more))
                        messages += more
                        payloads += contents
                        columns.indexes.extend(range(batch + 1, batch + 1 + len(more)))
                        columns.entries[-1] = EntryRun(1 + len(more), ledger, entry, publish_time)
                        size += sum(map(len, contents))
                    else:
                        unsure.extend(more)
            if messages or portion.caught_up:
                yield self._finished(portion, size, passed)
                self._answered = time.monotonic()  # while nobody asked, the broker was not asked either
            if again is not None:
                return again
            if messages and self._queue.resized(len(messages), size):
                return _Again(last, portion.look_from(_behind(last)) or _behind(last))

    def _finished(self, portion: Portion, size: int, passed: PassedEntries) -> Portion:
        portion.bytes = size
        portion.gaps, self._gaps = self._gaps, []
        portion.resume = passed.oldest(portion.caught_up or portion.columns.entries[-1].publish_time)
        self._answered = time.monotonic()
        return portion

    def _look(
        self,
        passed: PassedEntries,
        last: _Place,
        gap: Position,
        stop: Position | None,
        *,
        delivered: Position | None = None,
        may_look_back: bool,
    ) -> _Again | None:
        """Look at the entries of a gap. Where to start again, if a message in them should have been delivered."""
        came_at_the_end = self._end.is_fresh(last)
        try:
            entries = stored_entries(self._client.connection, self._partition, gap, stop)
            if stop is not None and stop.ledger != gap.ledger and not self._compacted:
                if came_at_the_end:
                    self._ledgers.look()
                else:
                    self._look_for_deleted(max(gap, _behind(last)), stop)
        except BackupError as error:
            # What was passed over is not known, so it is read again.
            return _Again(last, passed.behind_all_complete(gap), error)
        lost = passed.look(_to_come(entries, last), delivered)
        if passed.headless and may_look_back:
            return _Again(last, Position(self._start.ledger, max(self._start.entry - LOOK_BACK_ENTRIES, 0)))
        return None if lost is None else _again_at(lost, passed, last)

    def _look_behind_the_end(self, passed: PassedEntries, last: _Place) -> _Again | None:
        """Where to start again, if there is more before the stop although the client says that there is not.

        It may say so when its connection was cut, also in the middle of a batch.
        """
        behind = _behind(last)
        if self._stop is None or self._compacted or behind >= self._stop:
            return None
        connection, partition = self._client.connection, self._partition
        first = first_entry(connection, partition)
        if first is None or first >= self._stop:
            return None  # deleted, which is told elsewhere
        begin = max(min(passed.next, behind._replace(batch=0)), first)
        lost = passed.look(_to_come(stored_entries(connection, partition, begin, self._stop), last))
        return None if lost is None else _again_at(lost, passed, last)

    def _look_for_deleted(self, start: Position, stop: Position) -> None:
        gap = self._ledgers.gap(start, stop) if start < stop else None
        if gap is not None and gap not in self._gaps:
            self._gaps.append(gap)
        self._ledgers.look()


def _leaves_a_hole(last: _Place, size: int | None, place: _Place) -> bool:
    """Whether the client has passed over the end of the batch that the last message is of, or the beginning of another.

    ``size``: how many messages the batch of the last one has; None where it is of none, or was not read.
    """
    if place[:2] == last[:2]:
        return place[2] > max(last[2], -1) + 1
    return place > last and (place[2] > 0 or (size is not None and last[2] + 1 < size))


def _follow(found: Any, more: list[ClientMessage]) -> bool:
    """Whether these messages follow that of the id ``found`` in its batch, none left out and none twice.

    The client gives out a batch in a row, and again from some place on when it has connected again. Where that happens
    once, first and last index tell: as many messages as lie between them have come if and only if none was passed over
    or repeated. That two breaks make up for each other is ruled out by time, for the client waits between them, and by
    those that are asked in between. To ask each message costs an eighth of all that reading does.
    """
    ledger, entry, index = found.ledger_id(), found.entry_id(), found.batch_index()
    for place in {*range(_ASKED_EACH - 1, len(more), _ASKED_EACH), len(more) - 1} if more else ():
        asked = more[place].message_id()
        if (asked.ledger_id(), asked.entry_id(), asked.batch_index()) != (ledger, entry, index + 1 + place):
            return False
    return True


def before(position: Position) -> _Place:
    """The place right before a position; a message outside a batch has batch index -1."""
    return position.ledger, position.entry, position.batch - 1 if position.batch else -2


def _again_at(lost: Position, passed: PassedEntries, last: _Place) -> _Again:
    # Of the entry of the last message, only the rest of its batch is lost.
    return _Again(last, passed.behind_all_complete(_behind(last) if lost == Position(*last[:2]) else lost))


def _to_come(entries: Iterable[StoredEntry], last: _Place) -> Iterator[StoredEntry]:
    """Without the entry of the last message, if that was the last one of its batch."""
    for entry in entries:
        if entry.position != Position(*last[:2]) or last[2] < -1 or 0 <= last[2] < entry.messages - 1:
            yield entry


def _behind(last: _Place) -> Position:
    """The first position behind what ``before`` gives, or behind a message."""
    ledger, entry, batch = last
    if batch < 0:
        return Position(ledger, entry + (batch == -1))
    return Position(ledger, entry, batch + 1)
