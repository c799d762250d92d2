"""How messages are cut into entries, and that an attempt leaves out exactly what is there."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from transforms.pulsar.outgoing import OutgoingMessage
from transforms.pulsar.positions import Position
from transforms.pulsar.producing import Entry
from transforms.restore.stream import MAX_BYTES, MAX_MESSAGES, Pace, TargetStream

SIZES = st.lists(st.sampled_from([0, 10, 1_000, MAX_BYTES // 3, 2 << 20]), max_size=350)


class Broker:
    """Takes entries as a broker that deduplicates: whole, or not at all."""

    doubtful = 0

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.stored = 0
        self.left = None

    def send(self, entry: Entry) -> None:
        if self.left == 0:
            raise ConnectionError
        self.left = None if self.left is None else self.left - 1
        assert entry.first > self.stored
        self.stored = entry.last
        self.entries.append(entry)

    def flush(self) -> None:
        pass

    def deduplicates(self) -> bool:
        return True

    def close(self) -> None:
        pass


def messages(sizes: list[int]) -> list[tuple[OutgoingMessage, Position]]:
    return [
        (
            OutgoingMessage(b"x" * size, key=str(number), schema_version=b"v" if number % 40 > 30 else None),
            Position(number, 0),
        )
        for number, size in enumerate(sizes)
    ]


def attempt(broker: Broker, sizes: list[int], reached: Position | None = None) -> TargetStream:
    stream = TargetStream(broker, reached)
    for message, place in messages(sizes):
        stream.add(message, place, 1)
    stream.finish()
    return stream


@given(sizes=SIZES, breaks=st.lists(st.integers(0, 5), max_size=5))
def test_attempts_that_break_off_leave_what_one_would(sizes, breaks):
    broken, whole = Broker(), Broker()
    for left in breaks:
        broken.left = left
        try:
            attempt(broken, sizes)
        except ConnectionError:
            continue
    broken.left = None
    last = attempt(broken, sizes)
    attempt(whole, sizes)
    assert [entry.messages for entry in broken.entries] == [entry.messages for entry in whole.entries]
    assert last.messages == len(sizes)


@given(sizes=SIZES)
def test_entries_are_bounded_and_of_one_schema_version(sizes):
    broker = Broker()
    attempt(broker, sizes)
    sent = [message for entry in broker.entries for message in entry.messages]
    assert sent == [message for message, _ in messages(sizes)]
    for entry in broker.entries:
        assert len(entry.messages) <= MAX_MESSAGES
        assert len(entry.messages) == 1 or entry.size <= MAX_BYTES
        assert len({message.schema_version for message in entry.messages}) == 1
        assert entry.origin == Position(int(entry.messages[-1].key or 0), 0)


@given(sizes=SIZES, reached=st.integers(-1, 350))
def test_what_the_target_holds_by_its_origin_is_left_out(sizes, reached):
    broker = Broker()
    broker.send = broker.entries.append  # type: ignore[method-assign]
    stream = attempt(broker, sizes, Position(reached, 0))
    keys = [int(message.key or 0) for entry in broker.entries for message in entry.messages]
    assert keys == [number for number in range(len(sizes)) if number > reached]
    assert (stream.sent, stream.already) == (len(keys), len(sizes) - len(keys))
    numbers = [number for entry in broker.entries for number in range(entry.first, entry.last + 1)]
    # Numbered as if all had been sent.
    assert numbers == [key + 1 for key in keys]


def test_the_pace_is_paid_before():
    pace = Pace(100, None)
    assert 0.9 < pace.pause(100, 10**6) <= 1.0
    assert 1.9 < pace.pause(100, 10**6) <= 2.0
    assert 2.9 < Pace(100, 1_000).pause(1, 3_000) <= 3.0


@given(sizes=SIZES, unknown=st.sets(st.integers(0, 349)), left=st.integers(0, 5))
def test_what_one_attempt_leaves_out_and_another_does_not_moves_no_other_message(sizes, unknown, left):
    def send(out: set[int]) -> None:
        stream = TargetStream(broker)
        for number, (message, place) in enumerate(messages(sizes)):
            if number in out:
                stream.leave_out()
            else:
                stream.add(message, place, 1)
        stream.finish()

    broker = Broker()
    broker.left = left
    with contextlib.suppress(ConnectionError):
        send(unknown)
    broker.left = None
    send(set())
    sent = [int(message.key or 0) for entry in broker.entries for message in entry.messages]
    assert sent == sorted(set(sent))
    assert set(range(len(sizes))) - set(sent) <= unknown
