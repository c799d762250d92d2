"""Reading ahead: a thread that keeps the next messages of a partition coming while the last ones are worked on."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transforms.errors import BackupError, SourceError, TopicNotFoundError
from transforms.memory import MESSAGE_BYTES, MemoryWatch
from transforms.pulsar.chunks import PassedEntries
from transforms.pulsar.client import ClientError, MessageReader, NoMessageInTime, PulsarClient, batch_size, start_of
from transforms.pulsar.ends import check_reachable
from transforms.pulsar.entries import StoredEntry, first_entry, stored_entries
from transforms.pulsar.ledgers import Gap, Ledgers
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.pace import PROMPT_SECONDS, Pace
from transforms.pulsar.portion import Portion
from transforms.pulsar.positions import Position
from transforms.pulsar.seen_end import SeenEnd
from transforms.wall_clock import now_ms

_log = logging.getLogger(__name__)

#: What is handed over at once, at most.
PORTION_MESSAGES = 1_000
PORTION_BYTES = 4 * 1024 * 1024
#: How far back to look for the first chunk of a message of which later ones stand behind the start.
LOOK_BACK_ENTRIES = 1_000
#: Messages that the client may hold ready. It counts messages only, so the reader begins with what fits of the largest
#: that a broker takes, and is opened anew when their size shows that more fit into memory, or fewer.
_LARGEST_MESSAGE = 5 * 1024 * 1024
_LARGEST_QUEUE = 2_000
_MORE_FIT = 4
_FEWER_FIT = 2
_ENOUGH_MESSAGES = 100
#: How often one that waits to read on looks whether the client's queue has filled memory.
_WATCH_SECONDS = 0.1
_PATIENT_MS = 200
_HASTY_MS = 10
#: After so many waits for a message that the broker says to be there, it is asked what it really holds.
_STALLED = 10
#: Between two questions to a broker that is away.
_LONGEST_PAUSE = 10.0
#: How often a message is read again that the client should have delivered.
_TRIES = 10


#: A place in a partition as Pulsar has it: ledger, entry, batch index.
_Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Again:
    """Reading has to start again at ``look_from``; all up to ``last`` has been handed over."""

    last: _Place
    look_from: Position
    reason: BackupError | None = None
    """Why, if the broker failed; else the client did not deliver the message at ``look_from``, or its queue changes."""


class PartitionFeed:
    """Messages of one partition from ``start`` on, read ahead up to ``max_bytes`` in memory.

    Half of it is for what waits to be taken, the rest for what is in the client's queue and on its way out of it. The
    queue counts messages: where they suddenly become larger, it holds more until ``watch`` tells, and is dropped then.
    A few messages are held in any case: one in the queue, one on its way, one that waits. What the client holds ready
    is taken out of its queue when it is asked for, or at leisure (see ``pace``).

    ``look_from`` is where the reader starts; what lies before ``start`` is read for the chunks in it and left out.
    Where the client says before ``stop`` that there is no more, it is not believed without a look.
    Ends by ``close``, or with an error once the broker has been away for ``retry_seconds``. ``take`` is for one thread
    at a time.
    """

    def __init__(
        self,
        client: PulsarClient,
        partition: TopicPartition,
        start: Position,
        *,
        look_from: Position | None = None,
        stop: Position | None = None,
        max_bytes: int = 32 * 1024 * 1024,
        compacted: bool = False,
        retry_seconds: float = 600,
        watch: MemoryWatch | None = None,
        pace: Pace | None = None,
    ) -> None:
        if look_from is not None and look_from > start:
            raise ValueError(f"{partition.name}: reading at {look_from} would leave out what begins at {start}")
        self.next = start
        """Position behind what ``take`` has given out."""
        self._client = client
        self._partition = partition
        self._start = start
        self._look_from = look_from or start
        self._stop = stop
        self._max_bytes = max_bytes
        self._queue_bytes = max_bytes // 4
        self._portion_bytes = min(max_bytes // 4, PORTION_BYTES)
        self._portion_messages = min(max(self._portion_bytes // MESSAGE_BYTES, 1), PORTION_MESSAGES)
        self._watch = watch
        self._pace = pace or Pace()
        self._wanted = False
        """Whether somebody waits, or has waited in vain, for the next messages."""
        self._dropped = False
        """Whether the reader was closed to free what the client held ready."""
        self._queue_size = self._first_queue = max(self._queue_bytes // _LARGEST_MESSAGE, 1)
        self._seen_messages = self._seen_bytes = 0
        self._compacted = compacted
        self._retry_seconds = retry_seconds
        self._ledgers = Ledgers(client.connection, partition)
        self._end = SeenEnd(client.connection, partition)
        self._passed = PassedEntries(self._look_from)
        self._gaps: list[Gap] = []
        self._answered = time.monotonic()
        self._portions: deque[Portion] = deque()
        self._bytes = 0
        self._error: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._pace.join(self)
        self._thread = threading.Thread(target=self._run, name=f"read {partition.name}", daemon=True)
        self._thread.start()

    def take(self, timeout: float) -> Portion | None:
        """The next messages, or that there are none; None if neither is known within ``timeout`` seconds."""
        if not self._comes(min(timeout, PROMPT_SECONDS)) and timeout > PROMPT_SECONDS:
            with self._pace.waiting(self):
                self._comes(timeout - PROMPT_SECONDS)
        with self._changed:
            if self._portions:
                portion = self._portions.popleft()
                self._bytes -= portion.held
                if portion.ids:
                    self.next = portion.behind(-1)
                return portion
            if self._error is not None:
                raise self._error
        return None

    def _comes(self, timeout: float) -> bool:
        """Whether there is something to tell; waits for it."""
        with self._changed:
            if not self._portions and not self._wanted:
                self._wanted = True
                self._changed.notify_all()
            return bool(self._changed.wait_for(lambda: self._portions or self._error or self._closed, timeout))

    def wake(self) -> None:
        """Have it look again whether there is leisure to read ahead."""
        with self._changed:
            self._changed.notify_all()

    def gap_before(self, stop: Position) -> Gap | None:
        """What was deleted between all that ``take`` has given out and ``stop``, once the broker holds no more."""
        if self._compacted or self.next >= stop:
            return None
        for tries in itertools.count(1):
            try:
                return self._ledgers.gap(self.next, stop)
            except BackupError as error:
                self._bear(error, tries)
        return None

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed

    def close(self) -> None:
        """Stop reading and close the reader. Waits for the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # raised again where the messages are taken
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _read(self) -> None:
        """Read until closed, starting again further back where a message turns out to begin there."""
        last = _before(self._start)
        look_from, tries = self._look_from, 0
        may_look_back = look_from == self._start and self._start.entry > 0 and not self._compacted
        self._ledgers.look()
        while True:
            again = self._read_on(look_from, last, may_look_back=may_look_back)
            if again is None:
                return
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

    def _bear(self, trouble: BackupError, tries: int) -> None:
        """Wait a while for a broker that is away, restarts, or refuses a token that has expired; but not for ever."""
        if isinstance(trouble, TopicNotFoundError):
            raise trouble
        if time.monotonic() > self._answered + self._retry_seconds:
            check_reachable(
                self._client.connection, self._partition.name
            )  # knows better why, where it cannot be reached
            raise trouble
        _log.info("%s Trying again.", trouble)
        with self._changed:
            self._changed.wait_for(lambda: self._closed, min(0.1 * 2 ** min(tries, 10), _LONGEST_PAUSE))

    def _read_on(self, look_from: Position, last: _Place, *, may_look_back: bool) -> _Again | None:
        if self._closed:
            return None
        try:
            reader = self._client.open_reader(
                self._partition, look_from, queue_size=self._queue_size, compacted=self._compacted
            )
        except BackupError as error:
            return _Again(last, look_from, error)
        try:
            self._reader = reader
            return self._read_from(reader, look_from, last, may_look_back=may_look_back)
        finally:
            reader.close()

    def _read_from(  # noqa: PLR0912, PLR0915 - the hot loop, in one piece: a call costs what all else here does
        self, reader: MessageReader, look_from: Position, last: _Place, *, may_look_back: bool
    ) -> _Again | None:
        """Hand over what comes behind ``last``, until closed (None) or until reading has to start again elsewhere."""
        read_next = reader.read_next
        passed = self._passed
        passed.go_to(look_from)
        compacted, most_messages, most_bytes = self._compacted, self._portion_messages, self._portion_bytes
        portion = Portion()
        messages, ids, times = portion.messages, portion.ids, portion.publish_times
        size = publish_time = waited = 0
        ledger = entry = batch = -1
        last_id = None
        """Of the message before, if it is of a batch that may have more."""
        while not self._closed:
            try:
                message = read_next(_HASTY_MS if ids else _PATIENT_MS)
            except NoMessageInTime:
                if not ids:
                    waited += 1
                    asked = now_ms()
                    try:
                        if reader.has_next():
                            # The broker holds entries that the client does not deliver, or not yet.
                            if waited % _STALLED or compacted:
                                continue
                            again = self._look(passed, last, passed.next, None, may_look_back=may_look_back)
                            if again is not None:
                                return again
                        else:
                            again = self._look_behind_the_end(passed, last)
                            if again is not None:
                                return again
                            if self._stop is None and (last_id is None or last[2] + 1 == batch_size(last_id)):
                                self._end.no_more(
                                    last, _behind(last) if last_id is None else _behind(last).next_entry()
                                )
                    except BackupError as error:
                        # The client connects again by itself.
                        self._bear(error, waited)
                        continue
                    self._answered = time.monotonic()
                portion.caught_up = 0 if ids else asked
                self._hand_over(portion, size, passed)
                if ids and self._resize_queue(len(ids), size):
                    return _Again(last, portion.look_from(_behind(last)) or _behind(last))
                portion = Portion()
                messages, ids, times, size = portion.messages, portion.ids, portion.publish_times, 0
                continue
            except ClientError as error:
                self._hand_over(portion, size, passed)
                return _Again(last, passed.behind_all_complete(_behind(last)), reader.trouble(error))
            waited = 0
            found = message.message_id()
            batch, previous = found.batch_index(), batch
            # The rest of a batch follows in a row, and shares what is asked here: each question costs a call.
            if batch <= 0 or batch != previous + 1 or compacted:
                ledger, entry = found.ledger_id(), found.entry_id()
                if last_id is not None and last[:2] < (ledger, entry) and last[2] + 1 < batch_size(last_id):
                    # The client has passed over the rest of a batch.
                    self._hand_over(portion, size, passed)
                    return _Again(last, passed.behind_all_complete(_behind(last)))
                publish_time = message.publish_timestamp()
                gap = passed.deliver(ledger, entry)
                if gap is not None and not compacted:
                    first, again = start_of(message), None
                    # A message of two chunks stands in for its own first one; all else is looked at.
                    if gap != first or gap.next_entry() != Position(ledger, entry):
                        again = self._look(
                            passed, last, gap, Position(ledger, entry), delivered=first, may_look_back=may_look_back
                        )
                    if again is not None:
                        self._hand_over(portion, size, passed)
                        return again
                    passed.complete(first)
                elif batch < 0 and passed.incomplete:
                    passed.complete(start_of(message))
            place = (ledger, entry, batch)
            if place <= last:
                continue  # read only for the chunks before the start, or given twice after a reconnection
            last, last_id = place, None if batch < 0 or compacted else found
            messages.append(message)
            ids.append(place)
            times.append(publish_time)
            size += message.length()
            if len(ids) >= most_messages or size >= most_bytes:
                self._hand_over(portion, size, passed)
                if self._resize_queue(len(ids), size):
                    return _Again(last, portion.look_from(_behind(last)) or _behind(last))
                portion = Portion()
                messages, ids, times, size = portion.messages, portion.ids, portion.publish_times, 0
        return None

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

    def _resize_queue(self, messages: int, size: int) -> bool:
        """Fit the client's queue to its share of memory; True if that needs another reader."""
        self._seen_messages += messages
        self._seen_bytes += size
        if self._dropped:
            self._dropped = False
            return True
        if self._seen_messages < _ENOUGH_MESSAGES and self._seen_bytes < self._portion_bytes:
            return False
        message_size = MESSAGE_BYTES + self._seen_bytes // self._seen_messages
        self._seen_messages = self._seen_bytes = 0
        fitting = min(max(self._queue_bytes // message_size, 1), _LARGEST_QUEUE)
        if self._queue_size > fitting * _FEWER_FIT or self._queue_size * _MORE_FIT <= fitting:
            self._queue_size = fitting
            return True
        return False

    def _hand_over(self, portion: Portion, size: int, passed: PassedEntries) -> None:
        if not portion.ids and not portion.caught_up:
            return
        portion.bytes = size
        portion.gaps, self._gaps = self._gaps, []
        portion.resume = passed.oldest(portion.caught_up or portion.publish_times[-1])
        with self._changed:
            self._answered = time.monotonic()
            if portion.caught_up and self._portions and self._portions[-1].caught_up and not portion.gaps:
                # Said already, and not yet heard.
                portion.gaps = self._portions.pop().gaps
            self._portions.append(portion)
            self._bytes += portion.held
            self._changed.notify_all()
            if not portion.ids:
                return  # while there is nothing to read, it is watched what becomes of the end
            self._wanted = False
        while not self._may_read_on():
            if self._queue_size > self._first_queue and self._watch and self._watch.exceeded():
                self._queue_size, self._dropped = self._first_queue, True
                self._reader.close()
            elif not self._portions:
                # What was taken may be all there is, and be stored and deleted while nobody asks: the end is watched.
                break
        self._answered = time.monotonic()  # while nobody asked, the broker was not asked either

    def _may_read_on(self) -> bool:
        """Whether more is asked for, or may wait to be taken; waits a while for it."""

        def may() -> bool:
            return self._wanted or self._closed or (self._bytes < self._max_bytes // 2 and self._pace.has_leisure(self))

        with self._changed:
            return self._changed.wait_for(may, _WATCH_SECONDS)


def _before(position: Position) -> _Place:
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
    """The first position behind what ``_before`` gives, or behind a message."""
    ledger, entry, batch = last
    if batch < 0:
        return Position(ledger, entry + (batch == -1))
    return Position(ledger, entry, batch + 1)
