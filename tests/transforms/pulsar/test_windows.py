from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transforms.pulsar.windows import MAX_OPEN_WINDOWS, MAX_TIME, WindowRule, WindowState, WindowTracker

RULE = WindowRule(size=1000, disorder=200)
NOW = 10**12
times = st.lists(st.one_of(st.integers(0, 20_000), st.just(NOW * 4), st.integers(0, MAX_TIME)), max_size=200)


def follow(rule, sequence, now=NOW, *, break_at=()):
    """The seals that a sequence of times gives, the state sent through its value where it is broken."""
    tracker, seals = WindowTracker(rule, WindowState()), []
    for at, time in enumerate(sequence):
        if at in break_at:
            tracker = WindowTracker(rule, tracker.state)
        window, seal = tracker.observe(time, now)
        assert window <= time < window + rule.size
        seals.append((at, seal))
    return [each for each in seals if each[1] is not None]


def test_a_window_is_sealed_behind_the_message_that_brings_the_watermark_past_its_end():
    assert follow(RULE, [0, 999, 1100, 1199, 1200, 1300, 2200]) == [(4, 1000), (6, 2000)]


def test_a_clock_in_the_future_seals_up_to_the_wall_clock_only():
    assert follow(RULE, [5000, NOW * 4, 5001], now=6500) == [(0, 4000), (1, 6000)]


def test_a_late_message_reopens_its_window_and_is_sealed_with_the_next():
    tracker = WindowTracker(RULE, WindowState())
    assert tracker.observe(5300, NOW)[1] == 5000
    assert tracker.observe(100, NOW) == (0, None)
    assert 0 in tracker.state.open
    assert tracker.observe(6300, NOW)[1] == 6000
    assert 0 not in tracker.state.open


@given(times, st.sets(st.integers(0, 200)))
def test_the_seals_do_not_depend_on_where_reading_was_interrupted(sequence, breaks):
    assert follow(RULE, sequence) == follow(RULE, sequence, break_at=breaks)


@given(times)
def test_the_number_of_open_windows_has_a_cap(sequence):
    tracker = WindowTracker(RULE, WindowState())
    opened = set()
    for time in sequence:
        window, seal = tracker.observe(time, NOW)
        opened.add(window)
        opened = {each for each in opened if seal is None or each + RULE.size > seal}
        assert len(tracker.state.open) <= MAX_OPEN_WINDOWS
        assert set(tracker.state.open) == opened


def test_the_oldest_of_too_many_windows_is_sealed_first():
    rule = WindowRule(size=1000, disorder=10**9)
    seals = follow(rule, [window * 1000 for window in range(MAX_OPEN_WINDOWS + 2)])
    assert seals == [(MAX_OPEN_WINDOWS, 1000), (MAX_OPEN_WINDOWS + 1, 2000)]


def test_being_caught_up_seals_by_the_wall_clock():
    tracker = WindowTracker(RULE, WindowState())
    tracker.observe(500, NOW)
    assert tracker.idle(1199) is None
    assert tracker.idle(1200) == 1000
    assert tracker.idle(1300) is None


def test_event_times_that_are_no_dates_fall_back_to_publish_time():
    rule = WindowRule(by_event_time=True)
    assert rule.time(5, 7) == 7
    assert rule.time(5, 0) == 5
    assert rule.time(5, MAX_TIME + 1) == 5
    assert rule.time(2**62, 0) == MAX_TIME
    assert WindowRule().time(5, 7) == 5
