"""When a window is complete over all partitions of a topic, in whatever order that is told."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.files.manifest import PartitionRead
from transforms.files.windows_complete import (
    Came,
    Exists,
    FileFacts,
    GapTold,
    TopicWindows,
    decode_told,
    encode_told,
    gaps_found,
)
from transforms.pulsar.messages import FOREVER
from transforms.pulsar.positions import EARLIEST, Position

SIZE = 10
TOPIC = "persistent://t/ns/orders"
TWO = Exists(((0, Position(1, 0)), (1, Position(2, 0))))


def came(index, sealed=0, *windows, messages=0):
    last = Position(1, messages) if messages else None
    return Came(index, sealed, last, messages, set(windows))


def given_by(*told, late_at_end=False, at_least=1):
    """What is ready behind each of them; the state goes through its encoding in between."""
    windows, found = TopicWindows(), []
    for each in told:
        windows = TopicWindows.from_bytes(windows.to_bytes())
        windows.take(decode_told(encode_told(each)))
        found.append(windows.ready(SIZE, late_at_end=late_at_end, at_least=at_least))
    return found


@pytest.mark.parametrize(
    ("told", "ready"),
    [
        ([TWO, came(0, 20, 0, 10), came(1, 10), came(1, 30)], [[], [], [0], [10]]),
        # Nothing is complete as long as nobody has told which partitions there are.
        ([came(0, 20, 0), came(1, 20), TWO], [[], [], [0]]),
        # One that is behind keeps all waiting; so does one that is added.
        ([TWO, came(0, 90, 0, 10, 80), came(1, 5)], [[], [], []]),
        ([TWO, Exists(((2, EARLIEST),)), came(0, 20, 0), came(1, 20), came(2, 10)], [[], [], [], [], [0]]),
        ([TWO, came(0, 20, 0), came(1, 20), Exists(((2, EARLIEST),)), came(0, 30, 10)], [[], [], [0], [], []]),
        # A window is given again when it has got something more, with the next one that is complete.
        ([TWO, came(0, 20, 0), came(1, 20), came(1, 20, 0), came(0, 30), came(1, 30)], [[], [], [0], [], [], [0]]),
        # What was told before changes nothing.
        ([TWO, came(0, 20, 0), came(1, 20), came(0, 10), TWO, came(1, 20)], [[], [], [0], [], [], []]),
        # Partitions of which nothing is read; a topic without partitions.
        ([Exists(TWO.starts, frozenset({1})), came(0, FOREVER, 0, 10)], [[], [0, 10]]),
        ([Exists(((-1, EARLIEST),)), came(-1, 10, 0)], [[], [0]]),
    ],
)
def test_windows_are_given_when_all_partitions_have_come_past_their_end(told, ready):
    assert given_by(*told) == ready


def test_with_an_end_what_comes_late_waits_for_it():
    told = [TWO, came(0, 20, 0, 10), came(1, 20), came(1, 20, 0), came(0, 40, 10, 30), came(1, 40), came(1, FOREVER, 0)]
    assert given_by(*told, came(0, FOREVER), late_at_end=True) == [[], [], [0, 10], [], [], [30], [], [0, 10]]


def test_with_an_end_windows_wait_for_company():
    told = [TWO, came(1, 90, 80), came(0, 20, 0, 10), came(0, 30, 20), came(0, 40, 0, 30), came(0, FOREVER)]
    ready = given_by(*told, came(1, FOREVER), late_at_end=True, at_least=3)
    # What comes late for one that has waited so is not late.
    assert ready == [[], [], [], [0, 10, 20], [], [], [0, 30, 80]]
    assert given_by(*told[:5], at_least=3) == [[], [], [0, 10], [20], [0, 30]]


def test_a_job_begins_when_all_its_partitions_have_told_how_far_they_are():
    windows = TopicWindows()
    begins = []
    for told in (came(0, 50, 30), TWO, came(1, 70, 60), came(1, 80, 10)):
        windows.take(told)
        begins.append(windows.begins)
        windows.ready(SIZE, late_at_end=False)
    assert begins == [False, False, True, False]
    windows.add([0, 40])
    assert set(windows.waiting) == {0, 10, 40, 60}


def test_what_is_read_is_counted_up_to_behind_the_last_message():
    windows = TopicWindows()
    for told in (TWO, came(0, 20, 0, messages=7), came(0, 30, messages=5), came(3, 9, messages=1)):
        windows.take(told)
    assert windows.read(TOPIC) == (
        PartitionRead(topic=TOPIC, partition=0, start=Position(1, 0), stop=Position(1, 7, 1), messages=7),
        PartitionRead(topic=TOPIC, partition=1, start=Position(2, 0), stop=Position(2, 0), messages=0),
    )


def test_a_gap_is_kept_once_until_it_stands_in_a_manifest():
    gap = GapTold(1, Position(1, 0), Position(4, 0), certain=False)
    windows = TopicWindows()
    for told in (gap, TWO, gap):
        windows.take(told)
    windows = TopicWindows.from_bytes(windows.to_bytes())
    assert windows.gaps == (gap,)
    (found,) = gaps_found(TOPIC, windows.gaps)
    assert (found.partition, found.start, found.stop, found.certain) == (1, Position(1, 0), Position(4, 0), False)


def test_what_waits_in_state_has_a_stable_encoding():
    windows = TopicWindows()
    windows.take(TWO)
    windows.take(Came(1, 30, Position(2, 5, 3), 9, {40, 20}))
    windows.take(GapTold(0, Position(1, 0), Position(1, 5), certain=True))
    encoded = b"[1,[[0,[1,0,0],0,null,0],[1,[2,0,0],30,[2,5,3],9]],[20,40],0,[[0,[1,0,0],[1,5,0],true]]]"
    assert windows.to_bytes() == encoded
    assert TopicWindows.from_bytes(encoded).to_bytes() == encoded
    facts = FileFacts("a/b.avro", 7, 2**64 - 1, 1, 2)
    for told, encoded in [
        (Exists(TWO.starts, frozenset({1})), b'[1,"exists",[[0,[1,0,0]],[1,[2,0,0]]],[1]]'),
        (
            Came(1, FOREVER, None, 0, {9, 3}, [facts]),
            b'[1,"came",1,4611686018427387904,null,0,[3,9],[["a/b.avro",7,18446744073709551615,1,2]]]',
        ),
        (GapTold(0, Position(1, 0), Position(1, 5), certain=True), b'[1,"gap",0,[1,0,0],[1,5,0],true]'),
    ]:
        assert encode_told(told) == encoded
        assert decode_told(encoded) == told
    for wrong in (b"[2]", b"[1]", b'[1,"other"]', b"{", b"[1,[[0]],[],0,[]]", b'[1,"came",0]'):
        with pytest.raises(ValueError, match=r"."):
            decode_told(wrong)
        with pytest.raises(ValueError, match=r"."):
            TopicWindows.from_bytes(wrong)


@dataclass
class World:
    """What partitions really do: each tells how far it is, and which windows have got files since."""

    partitions: int
    told: list[list[Came]] = field(default_factory=list)


@st.composite
def worlds(draw: st.DrawFn) -> list[list[Came]]:
    """What each partition tells, in its order, to its end; late windows among it."""
    partitions = []
    for index in range(draw(st.integers(1, 4))):
        sealed, messages, told = 0, 0, []
        for _ in range(draw(st.integers(0, 6))):
            sealed += SIZE * draw(st.integers(0, 3))
            messages += draw(st.integers(0, 3))
            windows = draw(st.sets(st.sampled_from(range(0, sealed + 3 * SIZE, SIZE)), max_size=3))
            told.append(came(index, sealed, *windows, messages=messages))
        partitions.append(
            [*told, came(index, FOREVER, *draw(st.sets(st.sampled_from((0, 10, 50)))), messages=messages)]
        )
    return partitions


@given(worlds(), st.randoms(use_true_random=False), st.booleans(), st.integers(1, 3))
def test_in_any_order_and_through_restarts_each_window_is_given_behind_its_last_file(
    world, random, late_at_end, at_least
):
    exists = Exists(tuple((index, EARLIEST) for index in range(len(world))))
    left = [[exists], *map(list, world)]
    told: list[Exists | Came] = []
    while any(left):
        told.append(random.choice([each for each in left if each]).pop(0))
    windows, kept, at = TopicWindows(), [(0, TopicWindows().to_bytes())], 0
    sealed: dict[int, int] = {}
    owed: set[int] = set()
    restarts = 2
    times: dict[int, int] = {}
    while at < len(told):
        if restarts and random.random() < 0.1:
            # The runner goes back to a checkpoint; what was given since then is given again.
            restarts -= 1
            at, state = random.choice(kept)
            windows = TopicWindows.from_bytes(state)
            owed = set(windows.waiting)
            sealed = {each.index: 0 for each in told[:at] if isinstance(each, Came)}
            for each in told[:at]:
                if isinstance(each, Came):
                    sealed[each.index] = max(sealed[each.index], each.sealed)
            continue
        each = told[at]
        at += 1
        windows.take(each)
        if isinstance(each, Came):
            owed |= each.windows
            sealed[each.index] = max(sealed.get(each.index, 0), each.sealed)
        ready = windows.ready(SIZE, late_at_end=late_at_end, at_least=at_least)
        complete = min((sealed.get(index, 0) for index in range(len(world))), default=0)
        for window in ready:
            assert window + SIZE <= complete
            assert exists in told[:at]
            times[window] = times.get(window, 0) + 1
        owed -= set(ready)
        assert set(windows.waiting) == owed
        kept.append((at, windows.to_bytes()))
    assert not owed, "a file is in no manifest"
    if late_at_end and restarts == 2:
        assert max(times.values(), default=0) <= 2
