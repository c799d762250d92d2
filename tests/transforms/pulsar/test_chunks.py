from __future__ import annotations

from transforms.pulsar.chunks import PATIENCE, PassedEntries
from transforms.pulsar.positions import Position


def test_entries_in_a_row_leave_nothing_behind():
    passed = PassedEntries()
    assert [passed.observe(1, entry, 0) for entry in (5, 6, 6, 7)] == [False] * 4
    assert not passed.observe(2, 0, 0)
    assert passed.oldest(0) is None


def test_an_entry_passed_over_holds_until_the_patience_ends():
    passed = PassedEntries()
    passed.observe(1, 5, 1000)
    assert passed.observe(1, 8, 1000)
    assert passed.oldest(1000) == Position(1, 6)
    assert passed.oldest(1000 + PATIENCE) == Position(1, 6)
    assert passed.oldest(1001 + PATIENCE) is None


def test_the_first_entries_of_a_new_ledger_count():
    passed = PassedEntries()
    passed.observe(1, 5, 0)
    assert passed.observe(2, 2, 0)
    assert passed.oldest(0) == Position(2, 0)


def test_the_first_entry_that_is_seen_says_nothing_about_those_before():
    passed = PassedEntries()
    assert not passed.observe(1, 5, 0)


def test_the_oldest_is_forgotten_first():
    passed = PassedEntries()
    passed.observe(1, 0, 0)
    passed.observe(1, 2, 0)
    passed.observe(1, 4, PATIENCE)
    passed.observe(1, 5, PATIENCE + 1)
    assert passed.oldest(PATIENCE + 1) == Position(1, 3)
