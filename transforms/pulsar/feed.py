"""The next messages of a partition: read by whoever asks for them while they flow, and else by a thread."""

from __future__ import annotations

import threading
import time
from collections import deque

from transforms.memory import MemoryWatch
from transforms.pulsar.client import PulsarClient
from transforms.pulsar.client_queue import ClientQueue
from transforms.pulsar.entry_scan import EntryScan
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.pace import PROMPT_SECONDS, Pace
from transforms.pulsar.portion import Portion
from transforms.pulsar.positions import Position
from transforms.pulsar.scan import PORTION_BYTES

#: How often it is looked whether the client's queue has filled memory.
_WATCH_SECONDS = 0.1
#: What was taken may be all there is, and be stored and deleted while nobody asks: so the end is watched.
_IDLE_SECONDS = 1.0


class PartitionFeed:
    """Messages of one partition from ``start`` on, read ahead up to ``max_bytes`` in memory.

    Half of it is for what waits to be taken, the rest for what is on its way; where the client reads (see
    ``EntryScan``), for what is in its queue: see ``ClientQueue`` for what that holds where messages suddenly become
    larger. A few messages are held in any case: one on its way, one that waits, and one in the queue. They are read
    when they are asked for, or at leisure (see ``pace``).

    While messages flow, ``take`` reads them itself: so they are in the caches of the processor that goes on with them,
    and no thread waits for another. What may take long is for a thread of the feed: opening a reader, a broker that is
    away or silent.

    See ``PartitionScan`` for ``look_from`` and ``stop``. Ends by ``close``, or with an error once the broker has been
    away for ``retry_seconds``. ``take`` is for one thread at a time.
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
        self._queue = ClientQueue(max_bytes // 4, min(max_bytes // 4, PORTION_BYTES), watch)
        self._scan = EntryScan(
            client,
            partition,
            start,
            look_from=look_from or start,
            stop=stop,
            queue=self._queue,
            most_bytes=max_bytes // 4,
            compacted=compacted,
            retry_seconds=retry_seconds,
            pause=self._pause,
        )
        self._steps = self._scan.steps()
        self._reading = threading.Lock()
        """Held by the thread that takes a step."""
        self._flows = False
        """Whether the last step gave messages, so that the next one may do so at once."""
        self._asked = time.monotonic()
        self._most_waiting = max_bytes // 2
        self._pace = pace or Pace()
        self._wanted = False
        """Whether somebody waits, or has waited in vain, for the next messages."""
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
        self._asked = time.monotonic()
        self._read_here()
        if not self._comes(min(timeout, PROMPT_SECONDS)) and timeout > PROMPT_SECONDS:
            with self._pace.waiting(self):
                self._comes(timeout - PROMPT_SECONDS)
        with self._changed:
            if self._portions:
                portion = self._portions.popleft()
                self._bytes -= portion.held
                if portion.messages:
                    self.next = portion.behind(-1)
                return portion
            if self._error is not None:
                raise self._error
        return None

    def wake(self) -> None:
        """Have it look again whether there is leisure to read ahead."""
        with self._changed:
            self._changed.notify_all()

    def gap_before(self, stop: Position) -> Gap | None:
        """What was deleted between all that ``take`` has given out and ``stop``, once the broker holds no more."""
        return self._scan.gap(self.next, stop)

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed

    def close(self) -> None:
        """Stop reading and close the reader. Waits for the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _read_here(self) -> None:
        if self._flows and not self._portions and self._reading.acquire(blocking=False):
            try:
                if self._flows and not self._portions:
                    self._step(hasty=True)
            finally:
                self._reading.release()

    def _comes(self, timeout: float) -> bool:
        """Whether there is something to tell; waits for it."""
        with self._changed:
            if not self._portions and not self._wanted:
                self._wanted = True
                self._changed.notify_all()
            return bool(self._changed.wait_for(lambda: self._portions or self._error or self._closed, timeout))

    def _run(self) -> None:
        while not self._closed and self._error is None:
            due = self._is_due()
            with self._reading:
                if due or not self._flows or (not self._portions and time.monotonic() > self._asked + _IDLE_SECONDS):
                    self._step(hasty=False)
                else:
                    self._queue.drop_if_too_much()
        with self._reading:
            self._steps.close()

    def _is_due(self) -> bool:
        """Whether more is asked for, or may wait to be taken; waits a while for it."""

        def may() -> bool:
            if self._wanted or self._closed or not self._flows:
                return True
            return self._bytes < self._most_waiting and self._pace.has_leisure(self)

        with self._changed:
            return self._changed.wait_for(may, _WATCH_SECONDS)

    def _step(self, *, hasty: bool) -> None:
        if self._closed:
            return
        self._scan.hasty = hasty
        try:
            portion = next(self._steps)
        except BaseException as error:  # raised again where the messages are taken
            with self._changed:
                self._flows, self._error = False, error
                self._changed.notify_all()
            return
        with self._changed:
            self._flows = portion is not None and bool(portion.messages)
            if portion is not None:
                self._append(portion)
            self._changed.notify_all()

    def _append(self, portion: Portion) -> None:
        if portion.caught_up and self._portions and self._portions[-1].caught_up and not portion.gaps:
            # Said already, and not yet heard.
            portion.gaps = self._portions.pop().gaps
        self._portions.append(portion)
        self._bytes += portion.held
        if portion.messages:
            self._wanted = False  # while there is nothing to read, it is watched what becomes of the end

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)
