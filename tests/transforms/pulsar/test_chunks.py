from __future__ import annotations

from transforms.pulsar.chunks import PATIENCE, PassedEntries
from transforms.pulsar.positions import EARLIEST, Position


def test_entries_in_a_row_leave_nothing_behind():
    passed = PassedEntries(Position(1, 5))
    assert [passed.observe(1, entry, 0) for entry in (5, 6, 6, 7)] == [False] * 4
    assert not passed.observe(2, 0, 0)
    assert passed.oldest(0) is None


def test_an_entry_passed_over_holds_until_the_patience_ends():
    passed = PassedEntries(Position(1, 5))
    passed.observe(1, 5, 1000)
    assert passed.observe(1, 8, 1000)
    assert passed.oldest(1000) == Position(1, 6)
    assert passed.oldest(1000 + PATIENCE) == Position(1, 6)
    assert passed.oldest(1001 + PATIENCE) is None


def test_the_first_entries_of_a_new_ledger_count():
    passed = PassedEntries(Position(1, 5))
    passed.observe(1, 5, 0)
    assert passed.observe(2, 2, 0)
    assert passed.oldest(0) == Position(2, 0)


def test_entries_between_where_the_reader_begins_and_the_first_it_is_given_count():
    passed = PassedEntries(Position(1, 3))
    assert passed.observe(1, 5, 0)
    assert passed.oldest(0) == Position(1, 3)
    from_the_beginning = PassedEntries(EARLIEST)
    assert from_the_beginning.observe(7, 1, 0)
    assert from_the_beginning.oldest(0) == Position(7, 0)


def test_an_entry_held_back_by_hand_counts_once():
    passed = PassedEntries(EARLIEST)
    passed.hold(Position(1, 3), 0)
    passed.hold(Position(1, 3), 0)
    assert passed.oldest(PATIENCE) == Position(1, 3)
    assert passed.oldest(PATIENCE + 1) is None


def test_the_oldest_is_forgotten_first():
    passed = PassedEntries(EARLIEST)
    passed.observe(1, 0, 0)
    passed.observe(1, 2, 0)
    passed.observe(1, 4, PATIENCE)
    passed.observe(1, 5, PATIENCE + 1)
    assert passed.oldest(PATIENCE + 1) == Position(1, 3)
