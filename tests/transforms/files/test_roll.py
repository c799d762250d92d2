"""The cut and the bytes are a function of the messages, the seals and what is stored: of nothing else."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.files import assemble as assemble_module
from transforms.files.assemble import BLOCK_BYTES, Body, assemble, pack
from transforms.files.naming import QUARANTINE_LANE, StoredRun
from transforms.files.pieces import Pieces
from transforms.files.records import Records, SealMark, decode_element, encode_element
from transforms.files.roll import Limits, PartitionFiles, Roller, in_order_of_messages, merge_runs
from transforms.files.state import decode_state, encode_state
from transforms.pulsar.positions import Position

WINDOW = 1000


@dataclass(frozen=True)
class Message:
    position: Position
    window: int
    lane: str
    size: int

    @property
    def record(self) -> bytes:
        seed = f"{self.position}|".encode()
        return (seed * (self.size // len(seed) + 1))[: self.size]


class PlainFormat:
    """Blocks as they are, with a mark between them."""

    extension = "jsonl"

    def block(self, records: Pieces, count: int) -> Pieces:
        return Pieces(b"<%d:%d>" % (count, zlib.crc32(records.whole())), *records)


def records_of(messages: Sequence[Message]) -> Records:
    data = [message.record for message in messages]
    return Records.of(
        messages[0].window,
        messages[0].lane,
        b"HEADER",
        [tuple(message.position) for message in messages],
        [message.position.entry for message in messages],
        data,
    )


class Stage:
    """The cutter as a runner drives it: the state through its encoding between two elements."""

    def __init__(self, limits: Limits, stored: dict[tuple[int, str], list[StoredRun]], part_bytes: int | None = None):
        self.limits, self.stored, self.part_bytes = limits, stored, part_bytes
        self.state, self.waiting, self.parts = PartitionFiles(), [], {}
        self.finished: list[tuple[int, str, StoredRun, Body, bytes]] = []

    def checkpoint(self) -> tuple[bytes, list[bytes]]:
        return encode_state(self.state), [encode_element(each) for each in self.waiting]

    def restore(self, checkpoint: tuple[bytes, list[bytes]]) -> None:
        self.state, self.waiting = decode_state(checkpoint[0]), [decode_element(each) for each in checkpoint[1]]
        self.roll([], restored=True)

    def roll(self, value: list[Message] | int, *, restored: bool = False) -> None:
        self.state = decode_state(encode_state(self.state))
        waiting = [decode_element(encode_element(each)) for each in self.waiting]
        roller = Roller(
            self.state, self.limits, lambda window, lane: self.stored.get((window, lane), ()), lambda: waiting
        )
        if restored:
            roller.restore()
        if isinstance(value, int):
            roller.seal(value, WINDOW)
        elif value:
            lanes: dict[tuple[int, str], list[int]] = {}
            for index, message in enumerate(value):
                lanes.setdefault((message.window, message.lane), []).append(index)
            pieces = [records_of([value[index] for index in indexes]) for indexes in lanes.values()]
            if any(lane == QUARANTINE_LANE for _, lane in lanes):
                pieces = in_order_of_messages(pieces, list(lanes.values()))
            for piece in pieces:
                roller.add(piece)
        for key, file in self.state.files.items():
            if self.part_bytes is not None and file.waiting >= self.part_bytes:
                part, rest = pack(file, roller.pieces(key), PlainFormat(), map)
                roller.replace(key, rest)
                if part is not None:
                    name = f"{key}-{file.first}-{len(file.parts)}"
                    assert part.offset == sum(len(self.parts[each]) for each in file.parts)
                    assert len(part.content) % assemble_module.PART_MULTIPLE == 0
                    assert len(part.content) >= assemble_module.MIN_PART_BYTES
                    self.parts[name] = bytes(part.content)
                    file.parts += (name,)
        for each in roller.finished:
            body = assemble(each, PlainFormat())
            content = b"".join(self.parts[name] for name in body.parts) + bytes(body.tail)
            self.finished.append((each.file.window, each.file.lane, each.file.run, body, content))
        self.waiting = waiting + roller.added if roller.kept is None else roller.kept

    def feed(self, events: Sequence[Message | int], batches: random.Random) -> None:
        """In random batches."""
        batch: list[Message] = []
        for event in events:
            if isinstance(event, int):
                if batch:
                    self.roll(batch)
                    batch = []
                self.roll(event)
                continue
            if batch and (batches.random() < 0.3 or batch[0].window != event.window):
                self.roll(batch)
                batch = []
            batch.append(event)
        if batch:
            self.roll(batch)


def through(
    events: Sequence[Message | int],
    limits: Limits,
    stored: dict[tuple[int, str], list[StoredRun]],
    batches: random.Random,
    part_bytes: int | None = None,
) -> list[tuple[int, str, StoredRun, Body, bytes]]:
    """Send messages and seals through the cutter."""
    stage = Stage(limits, stored, part_bytes)
    stage.feed(events, batches)
    stage.roll(2**62)
    return stage.finished


def result(files: list[tuple[int, str, StoredRun, Body, bytes]]) -> list[tuple[int, str, StoredRun, bytes, int, int]]:
    return sorted(
        (window, lane, run, content, body.crc, body.records_crc) for window, lane, run, body, content in files
    )


@st.composite
def sequences(draw: st.DrawFn) -> list[Message | int]:
    """Messages in the order of their partition, their times in any disorder, with seals between them."""
    count = draw(st.integers(1, 120))
    lanes = draw(st.sampled_from([[""], ["", QUARANTINE_LANE], ["v000001", "v000002"], ["v000001", QUARANTINE_LANE]]))
    choice = random.Random(draw(st.integers(0, 2**32)))
    events: list[Message | int] = []
    entry = batch = 0
    window = choice.randrange(3) * WINDOW
    for _ in range(count):
        if choice.random() < 0.3:
            entry, batch = entry + 1 + choice.randrange(3), 0
        else:
            batch += 1
        if choice.random() < 0.2:
            window = choice.choice([0, 1, 2, 3, 4_133_980_800]) * WINDOW
        size = choice.choice([1, 5, 40, 100, 1000])
        events.append(Message(Position(7, entry, batch), window, choice.choice(lanes), size))
        if choice.random() < 0.05:
            events.append(choice.randrange(5) * WINDOW)
    return events


@given(sequences(), st.integers(1, 30), st.integers(1, 3000), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_any_batching_gives_the_same_files_and_the_same_bytes(events, messages, size, batches):
    limits = Limits(messages, size)
    one, other = (result(through(events, limits, {}, random.Random(batches.random()))) for _ in range(2))
    assert one == other


@given(sequences(), st.integers(1, 30), st.integers(1, 3000), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_every_message_is_in_exactly_one_file_within_the_limits(events, messages, size, batches):
    files = through(events, Limits(messages, size), {}, batches)
    sent = [event for event in events if isinstance(event, Message)]
    assert sum(run.messages for _, _, run, _, _ in files) == len(sent)
    for window, lane, run, _, content in files:
        ours = [each for each in sent if (each.window, each.lane) == (window, lane)]
        inside = [each for each in ours if run.first <= each.position <= run.last]
        assert len(inside) == run.messages <= messages
        assert content == b"HEADER" + b"".join(
            bytes(PlainFormat().block(Pieces(block), count))
            for block, count in _blocks([each.record for each in inside])
        )
        assert sum(each.size for each in inside) <= size or run.messages == 1


@given(sequences(), st.integers(1, 30), st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_stored_is_left_out_and_never_overlapped(events, messages, data):
    limits = Limits(messages, 2000)
    first = through(events, limits, {}, random.Random(1))
    # A run that was killed: some of its files are there. Another cut may have made them.
    kept = data.draw(st.lists(st.sampled_from(first), unique_by=lambda each: each[:3], max_size=len(first)))
    kept = _with_what_was_written_before(kept, first)
    stored = stored_runs(kept)
    second = through(events, Limits(data.draw(st.integers(1, 30)), 2000), stored, random.Random(2))
    sent = [event for event in events if isinstance(event, Message)]
    for message in sent:
        holding = [
            run
            for window, lane, run, _, _ in [*kept, *second]
            if (window, lane) == (message.window, message.lane) and run.first <= message.position <= run.last
        ]
        assert len(holding) == 1, message
    assert sum(run.messages for _, _, run, _, _ in [*kept, *second]) == len(sent)


@given(sequences(), st.integers(1, 30), st.integers(100, 3000), st.data())
@settings(max_examples=300, deadline=None)
def test_what_was_stored_since_a_checkpoint_is_left_out_of_open_files(events, messages, part_bytes, data):
    """Behind the checkpoint, windows are sealed by the wall clock: not where they were sealed the first time."""
    limits = Limits(messages, 2000)
    sent = [event for event in events if isinstance(event, Message)]
    at = data.draw(st.integers(0, len(events)), label="checkpoint at")
    failed = data.draw(st.integers(at, len(events)), label="failed at")
    seals = st.lists(st.integers(0, 5), max_size=3)
    first = Stage(limits, {}, part_bytes)
    first.feed(events[:at], random.Random(1))
    checkpoint, before = first.checkpoint(), len(first.finished)
    first.feed(events[at:failed], random.Random(2))
    for window in data.draw(seals):
        first.roll(window * WINDOW)
    stored = stored_runs(first.finished)
    second = Stage(limits, stored, part_bytes)
    second.parts = first.parts
    second.restore(checkpoint)
    for window in data.draw(seals):
        second.roll(window * WINDOW)
    second.feed(events[at:], random.Random(3))
    second.roll(2**62)
    assert before <= len(first.finished)
    everything = [*first.finished, *second.finished]
    for message in sent:
        holding = [
            run
            for window, lane, run, _, _ in everything
            if (window, lane) == (message.window, message.lane) and run.first <= message.position <= run.last
        ]
        assert len(holding) == 1, message
    assert sum(run.messages for _, _, run, _, _ in everything) == len(sent)


@given(sequences(), st.integers(1, 30), st.lists(st.booleans(), min_size=120, max_size=120))
@settings(max_examples=200, deadline=None)
def test_a_second_run_writes_again_exactly_the_files_that_are_missing(events, messages, chosen):
    limits = Limits(messages, 2000)
    first = through(events, limits, {}, random.Random(1))
    kept = [each for each, keep in zip(first, chosen, strict=False) if keep]
    kept = _with_what_was_written_before(kept, first)
    lanes = {lane for _, lane, _, _, _ in first}
    if QUARANTINE_LANE in lanes:
        return  # where the files around it are there, a quarantined message is known to be stored, wherever it is
    stored: dict[tuple[int, str], list[StoredRun]] = {}
    for window, lane, run, _, _ in kept:
        stored.setdefault((window, lane), []).append(run)
    stored = {key: merge_runs(runs) for key, runs in stored.items()}
    second = through(events, limits, stored, random.Random(3))
    missing = [each for each in result(first) if not any(each[:3] == other[:3] for other in kept)]
    assert result(second) == missing


@given(sequences(), st.integers(0, 2**32), st.integers(1, 8_000), st.integers(1, 2_000))
@settings(max_examples=200, deadline=None)
def test_spooling_in_parts_of_any_size_does_not_change_the_bytes(events, seed, part_bytes, block_bytes):
    limits = Limits(100, 50_000)
    with small_parts(block_bytes):
        whole = through(events, limits, {}, random.Random(seed))
        parted = through(events, limits, {}, random.Random(seed + 1), part_bytes)
    assert result(whole) == result(parted)
    assert all(body.size == len(content) for _, _, _, body, content in parted)
    assert not any(body.parts for _, _, _, body, _ in whole)


def test_a_part_is_as_large_as_it_must_be_and_what_is_beyond_a_multiple_waits():
    events = [Message(Position(1, entry), 0, "", 100) for entry in range(100)]
    with small_parts(block_bytes=100):
        files = through(events, Limits(), {}, random.Random(1), part_bytes=1)
    ((_, _, _, body, content),) = files
    assert len(body.parts) > 5
    assert len(body.tail) < 300
    assert body.size == len(content)


@contextmanager
def small_parts(block_bytes: int) -> Iterator[None]:
    """So that few messages make many."""
    with (
        patch.object(assemble_module, "BLOCK_BYTES", block_bytes),
        patch.object(assemble_module, "MIN_PART_BYTES", 256),
        patch.object(assemble_module, "PART_MULTIPLE", 64),
    ):
        yield


def test_a_message_larger_than_the_limit_is_alone_in_its_file():
    events = [Message(Position(1, entry), 0, "", size) for entry, size in enumerate([10, 500, 10, 10])]
    files = through(events, Limits(100, 100), {}, random.Random(1))
    assert [run.messages for _, _, run, _, _ in files] == [1, 1, 2]


def test_a_file_is_cut_where_a_stored_run_begins():
    events = [Message(Position(1, entry), 0, "", 10) for entry in range(10)]
    stored = {(0, ""): [StoredRun(Position(1, 3), Position(1, 5), 3)]}
    files = through(events, Limits(), stored, random.Random(1))
    assert [(run.first.entry, run.last.entry) for _, _, run, _, _ in files] == [(0, 2), (6, 9)]


def test_a_late_message_opens_another_file_in_the_window_it_belongs_to():
    early, late = Message(Position(1, 0), 0, "", 10), Message(Position(1, 2), 0, "", 10)
    events = [early, Message(Position(1, 1), 5 * WINDOW, "", 10), 3 * WINDOW, late]
    files = through(events, Limits(), {}, random.Random(1))
    assert [run.first.entry for window, _, run, _, _ in files if window == 0] == [0, 2]


def test_the_quarantine_is_written_before_the_file_around_it():
    events = [
        Message(Position(1, 0), 0, "v000001", 10),
        Message(Position(1, 1), 0, QUARANTINE_LANE, 10),
        Message(Position(1, 2), 0, "v000001", 10),
        Message(Position(1, 3), 0, QUARANTINE_LANE, 10),
    ]
    files = through(events, Limits(2), {}, random.Random(1))
    assert [(lane, run.first.entry) for _, lane, run, _, _ in files] == [
        (QUARANTINE_LANE, 1),
        ("v000001", 0),
        (QUARANTINE_LANE, 3),
    ]


def test_what_is_done_is_all_before_the_oldest_open_file():
    state = PartitionFiles()
    roller = Roller(state, Limits(), lambda *_: (), lambda: [])
    assert state.done is None
    roller.add(records_of([Message(Position(1, 1), 0, "", 3)]))
    state.settled = Position(1, 2)
    # Where a reader had to start for the first file is not known.
    assert state.done is None
    roller.add(records_of([Message(Position(1, 2), 60_000, "", 3)]))
    roller.seal(60_000, 60_000)
    state.settled = Position(1, 3)
    assert state.done == Position(1, 2)
    roller.seal(120_000, 60_000)
    assert state.done == Position(1, 3)


def test_what_is_cut_off_an_open_file_after_a_restart_is_still_to_be_read_from_where_it_began():
    """Else it would be acknowledged, and be nowhere but in the state."""
    stored: dict[tuple[int, str], list[StoredRun]] = {}
    stage = Stage(Limits(), stored)
    stage.state.settled = Position(1, 1)
    stage.roll([Message(Position(1, entry), 0, "", 3) for entry in range(1, 9)])
    stage.state.settled = Position(1, 9)
    stored[0, ""] = [StoredRun(Position(1, 4), Position(1, 5), 2)]
    stage.restore(stage.checkpoint())
    assert [file.first for file in stage.state.files.values()] == [Position(1, 6)]
    assert stage.state.done == Position(1, 1)
    assert [(run.first, run.last) for _, _, run, _, _ in stage.finished] == [(Position(1, 1), Position(1, 3))]


def test_a_window_that_has_not_begun_is_not_waited_for():
    state = PartitionFiles()
    roller = Roller(state, Limits(), lambda *_: (), lambda: [])
    for entry, window in enumerate((4_070_908_800_000, 0, 60_000)):
        roller.add(records_of([Message(Position(1, entry), window, "", 3)]))
    roller.seal(60_000, 60_000)
    roller.seal_ahead(now=60_000)
    assert [file.file.window for file in roller.finished] == [0, 4_070_908_800_000]
    assert [window for window, _ in state.files] == [60_000]


def test_elements_and_state_have_a_stable_encoding():
    """What waits in a runner's state is read by newer builds. If this fails, old savepoints are lost: add a version."""
    records = records_of([Message(Position(1, 2, 3), 60_000, "v000007", 3)])
    assert encode_element(records).hex() == (
        "0160ea0000000000000700060000000100000003000000763030303030374845414445520100000000000000020000000000000003000000"
        "0000000002000000000000000300000000000000313a32"
    )
    seal = SealMark(5, Position(1, 2, 3))
    assert encode_element(seal).hex() == "020500000000000000010000000000000002000000000000000300000000000000"
    assert decode_element(encode_element(seal)) == seal
    state = PartitionFiles(settled=Position(1, 2, 2))
    roller = Roller(state, Limits(), lambda *_: (), lambda: [])
    roller.add(records)
    assert decode_state(encode_state(state)) == state
    assert encode_state(state) == (
        b'{"version":1,"files":[{"window":60000,"lane":"v000007","header":"SEVBREVS","first":[1,2,3],"last":[1,2,3],'
        b'"count":1,"size":3,"first_time":2,"last_time":2,"waiting":3,"packed":"","packed_size":0,"packed_crc":0,'
        b'"records_crc":0,"parts":[],"begin":[1,2,2]}],"messages":1,"bytes":3,"stored":0,"quarantined":0,"first":[1,2,3],'
        b'"last":[1,2,3],"settled":[1,2,2]}'
    )


def stored_runs(files: Sequence[tuple[int, str, StoredRun, Body, bytes]]) -> dict[tuple[int, str], list[StoredRun]]:
    """What a listing tells of these files."""
    stored: dict[tuple[int, str], list[StoredRun]] = {}
    for window, lane, run, _, _ in files:
        stored.setdefault((window, lane), []).append(run)
    for window, lane in list(stored):
        if lane != QUARANTINE_LANE:
            quarantined = stored.get((window, QUARANTINE_LANE), [])
            stored[window, QUARANTINE_LANE] = merge_runs([*quarantined, *stored[window, lane]])
    return {key: merge_runs(runs) for key, runs in stored.items()}


def _blocks(records: list[bytes]) -> list[tuple[bytes, int]]:
    blocks, gathered = [], []
    for record in records:
        gathered.append(record)
        if sum(map(len, gathered)) >= BLOCK_BYTES:
            blocks.append((b"".join(gathered), len(gathered)))
            gathered = []
    return [*blocks, (b"".join(gathered), len(gathered))] if gathered else blocks


def _with_what_was_written_before(kept, files):
    """A file is written only after the quarantine that was cut with it."""
    needed = [
        quarantine
        for at, quarantine in enumerate(files)
        if quarantine[1] == QUARANTINE_LANE
        and any(files.index(each) > at and each[0] == quarantine[0] and each[1] != QUARANTINE_LANE for each in kept)
    ]
    return [*kept, *(each for each in needed if each not in kept)]
