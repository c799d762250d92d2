"""Reading a partition entry by entry, as the broker stores it; what is not plain is left to the client."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import closing

from transforms.errors import BackupError, SourceError
from transforms.memory import LARGE_PAYLOAD
from transforms.pulsar.ends import explained
from transforms.pulsar.entries import each_stored_entry
from transforms.pulsar.entry_reader import EntryReader, entry_reader
from transforms.pulsar.message_columns import LATEST_TIME, EntryRun
from transforms.pulsar.portion import Portion
from transforms.pulsar.positions import Position
from transforms.pulsar.scan import HASTY_MS, PATIENT_MS, PORTION_SECONDS, PartitionScan, before
from transforms.pulsar.stored_messages import NotPlainError, StoredEntryMessages
from transforms.wall_clock import now_ms


class EntryScan(PartitionScan):
    """Gives what ``PartitionScan`` gives, for a fraction of the CPU time.

    From the first entry on that is not plain (see ``NotPlainError``) the client reads, as it does from the beginning
    where a topic is read compacted, or messages in chunks are known that have begun before the start.
    """

    _begun: StoredEntryMessages | None = None
    """The entry of which a part is taken."""
    _waited = 0
    """How often no entry came, since the last one."""

    def steps(self) -> Generator[Portion | None, None, None]:
        """See ``PartitionScan.steps``."""
        if not self._compacted and self._look_from == self._start:
            yield from self._plain_entries()
            self._look_from = self._start
        yield from super().steps()

    def _plain_entries(self) -> Generator[Portion | None, None, None]:
        """The messages of entries, up to one that is not plain. ``_start`` is behind what has been given out."""
        yield None
        self._ledgers.look()
        tries = 0
        while True:
            begun = self._start
            try:
                with entry_reader(self._client.connection, self._partition, begun, self._most_large_bytes) as reader:
                    yield from self._read_entries(reader)
                return
            except BackupError as error:
                reason = error
            yield None
            tries = tries + 1 if self._start == begun else 0
            self._bear(reason, tries)

    def _read_entries(self, reader: EntryReader) -> Generator[Portion | None, None, None]:
        """The same, as long as the connection lasts. Raises BackupError."""
        self._begun = None
        self._waited = 0
        end: BackupError | NotPlainError | None = None
        while end is None:
            portion = Portion()
            try:
                with explained(self._partition):
                    yield from self._fill(portion, reader)
            except (BackupError, NotPlainError) as error:
                end = error
            if portion.messages or portion.caught_up:
                yield self._finished(portion, portion.bytes, self._passed)
                self._answered = time.monotonic()  # while nobody asked, the broker was not asked either
        if isinstance(end, BackupError):
            raise end

    def _fill(self, portion: Portion, reader: EntryReader) -> Generator[None, None, None]:
        """Read until a portion is complete, or told that there is no more. Raises as ``EntryReader`` does."""
        most_bytes, late = self._most_bytes, math.inf
        while len(portion.messages) < self._most_messages and portion.bytes < most_bytes and time.monotonic() < late:
            entry, self._begun = self._begun, None
            if entry is None:
                entry = reader.next((HASTY_MS if portion.messages or self.hasty else PATIENT_MS) / 1000)
                if entry is None:
                    if portion.messages or (yield from self._has_no_more(portion, reader)):
                        return
                    continue
                self._waited = 0
                place = entry.head.position
                if place[:2] != self._start[:2]:
                    if place < self._start:
                        continue  # given twice
                    yield from self._look_before(place, reader)
            if not portion.messages:
                late = time.monotonic() + PORTION_SECONDS
            self._take(entry, portion)
            if entry.size >= LARGE_PAYLOAD and len(entry.payloads[-1]) >= LARGE_PAYLOAD:
                most_bytes = self._most_large_bytes

    def _has_no_more(self, portion: Portion, reader: EntryReader) -> Generator[None, None, bool]:
        """Whether the broker holds no more, now that nothing came: then the portion tells so."""
        if self.hasty:
            yield None
            return False
        self._waited += 1
        asked = now_ms()
        end = reader.end(self._start, self._waited)
        if end is None:
            return False
        if end != self._start:
            self._look_for_passed(self._start, end)
            self._start = end
        if self._stop is None and not self._start.batch:
            self._end.no_more(before(self._start), self._start)
        portion.caught_up = asked
        return True

    def _take(self, entry: StoredEntryMessages, portion: Portion) -> None:
        """Take of an entry what is not yet taken, as far as it fits. What does not is for the next portion."""
        columns, place, count = portion.columns, entry.head.position, len(entry.messages)
        begin = self._start.batch if place[:2] == self._start[:2] else 0
        end = min(begin + self._most_messages - len(columns.messages), count)
        messages, payloads, size = entry.messages, entry.payloads, entry.size
        if end - begin < count:
            messages, payloads = messages[begin:end], payloads[begin:end]
            size = sum(map(len, payloads))
        if messages:
            columns.messages += messages
            columns.payloads += payloads
            columns.indexes += range(begin, end) if entry.head.batch_size else (-1,)
            publish_time = min(entry.head.publish_time, LATEST_TIME)
            columns.entries.append(EntryRun(len(messages), place.ledger, place.entry, publish_time))
            portion.bytes += size
        if end < count:
            self._start, self._begun = Position(place.ledger, place.entry, end), entry
        else:
            self._start = place.next_entry()

    def _look_before(self, position: Position, reader: EntryReader) -> Generator[None, None, None]:
        """Look for what the broker has passed over, or deleted, before an entry that may not follow the one before it.

        Raises BackupError.
        """
        start = self._start
        yield None
        if reader.may_have_passed(start):
            self._look_for_passed(start, position)
        if start.ledger < 0 or start.ledger == position.ledger:
            return  # what was deleted before the first ledger of all is told elsewhere
        if self._end.is_fresh(before(start)):
            self._ledgers.look()
        else:
            self._look_for_deleted(start, position)

    def _look_for_passed(self, start: Position, stop: Position) -> None:
        """Raise SourceError where the broker holds messages between the two: it has passed over them.

        Markers and what was aborted it gives out to nobody. But a message TTL moves readers too, behind all that has
        expired, also behind what they have not read yet. A reader that begins anew is given it.
        """
        with closing(each_stored_entry(self._client.connection, self._partition, start, stop)) as entries:
            for entry in entries:
                taken = start.batch if entry.position[:2] == start[:2] else 0
                if not entry.silent and taken < entry.messages:
                    raise SourceError(
                        f"{self._partition.name}: the broker has passed over the message at {entry.position}, which it "
                        "holds. It may have expired while it was read: the namespace's message TTL should be longer "
                        "than a run takes."
                    )
        self._answered = time.monotonic()
