from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.restriction import (
    Claim,
    PartitionRange,
    PartitionRangeCoder,
    ReadRange,
    ReadRangeCoder,
    ReadTracker,
)
from transforms.pulsar.windows import WindowState

START, MIDDLE, STOP = Position(1, 0), Position(1, 5, 3), Position(2, 0)
SEEN = WindowState(high=7, sealed=5, open=(5,))
positions = st.builds(Position, *[st.integers(-1, 2**63 - 1)] * 2, st.integers(0, 2**31))


def test_what_is_not_claimed_goes_into_the_residual_with_all_that_is_known():
    tracker = ReadTracker(ReadRange(START, STOP))
    assert tracker.try_claim(Claim(MIDDLE, SEEN, look_from=Position(1, 4)))
    primary, residual = tracker.try_split(0)
    assert primary == ReadRange(START, MIDDLE)
    assert residual == ReadRange(MIDDLE, STOP, Position(1, 4), SEEN)
    tracker.check_done()


def test_a_checkpoint_before_the_first_claim_gives_everything_away():
    whole = ReadRange(START, STOP, Position(0, 9), SEEN)
    tracker = ReadTracker(whole)
    primary, residual = tracker.try_split(0)
    assert residual == whole
    assert primary.empty
    tracker.check_done()


def test_a_restriction_that_is_done_is_not_split():
    tracker = ReadTracker(ReadRange(START, STOP))
    assert tracker.try_claim(Claim(STOP, SEEN))
    assert tracker.try_split(0) is None
    tracker.check_done()


def test_messages_that_nobody_claimed_are_an_error():
    tracker = ReadTracker(ReadRange(START, STOP))
    tracker.try_claim(Claim(MIDDLE, SEEN))
    with pytest.raises(ValueError, match="read up to 1:5:3 only, not to 2:0:0"):
        tracker.check_done()


def test_nothing_beyond_the_stop_can_be_claimed():
    tracker = ReadTracker(ReadRange(START, MIDDLE))
    assert not tracker.try_claim(Claim(STOP, SEEN))
    assert tracker.try_split(0)[1].start == START


def test_claims_never_go_back():
    tracker = ReadTracker(ReadRange(START, STOP))
    tracker.try_claim(Claim(MIDDLE, SEEN))
    with pytest.raises(ValueError, match="claimed up to 1:0:0 after 1:5:3"):
        tracker.try_claim(Claim(START, SEEN))


def test_a_part_of_the_remainder_cannot_be_split_off():
    assert ReadTracker(ReadRange(START, STOP)).try_split(0.5) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=20))
def test_residuals_cover_the_stretch_without_gap_or_overlap(steps):
    """However often it is checkpointed, each position is claimed exactly once."""
    restriction, covered = ReadRange(Position(0, 0), Position(0, 100)), Position(0, 0)
    tracker, claimed = ReadTracker(restriction), Position(0, 0)
    for step, split in steps:
        upto = min(Position(0, claimed.entry + step), restriction.stop)
        assert tracker.try_claim(Claim(upto, SEEN))
        claimed = upto
        if split and (parts := tracker.try_split(0)):
            primary, residual = parts
            tracker.check_done()
            assert (primary.start, primary.stop) == (covered, claimed)
            assert ReadRangeCoder().decode(ReadRangeCoder().encode(residual)) == residual
            covered, tracker = residual.start, ReadTracker(residual)
    assert tracker.current_restriction().start == covered
    assert tracker.current_restriction().stop == Position(0, 100)


@given(positions, positions, st.one_of(st.none(), positions), st.integers(0, 2**62), st.sets(st.integers(0, 2**50)))
def test_restrictions_and_elements_survive_their_encoding(start, stop, look_from, high, opened):
    restriction = ReadRange(start, stop, look_from, WindowState(high, high, tuple(sorted(opened))))
    assert ReadRangeCoder().decode(ReadRangeCoder().encode(restriction)) == restriction
    element = PartitionRange(TopicPartition("persistent://a/b/ü", 3), start, stop)
    assert PartitionRangeCoder().decode(PartitionRangeCoder().encode(element)) == element


def test_encodings_are_stable():
    """Runners key state by the encoded element and keep restrictions in it. If this fails, old savepoints are lost."""
    element = PartitionRange(TopicPartition("persistent://a/b/c", 3), START, STOP)
    assert PartitionRangeCoder().encode(element) == b'["persistent://a/b/c",3,[1,0,0],[2,0,0]]'
    restriction = ReadRange(MIDDLE, STOP, START, SEEN)
    assert ReadRangeCoder().encode(restriction) == b"[1,[1,5,3],[2,0,0],[1,0,0],7,5,[5]]"


def test_a_restriction_is_never_falsy():
    """Beam drops a residual that is."""
    assert ReadRange(START, START)
