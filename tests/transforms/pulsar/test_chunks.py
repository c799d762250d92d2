from __future__ import annotations

from transforms.pulsar.chunks import PATIENCE, PassedEntries
from transforms.pulsar.entries import StoredEntry
from transforms.pulsar.positions import EARLIEST, Position


def at(entry: int) -> Position:
    return Position(1, entry)


def chunk(entry: int, index: int, count: int = 2, name: str = "a", time: int = 0) -> StoredEntry:
    return StoredEntry(at(entry), time, name, index, count)


def test_entries_in_a_row_leave_nothing_between_them():
    passed = PassedEntries(at(5))
    assert [passed.deliver(1, entry) for entry in (5, 6, 6, 7)] == [None] * 4


def test_what_may_stand_between_two_entries():
    passed = PassedEntries(at(3))
    assert passed.deliver(1, 5) == at(3)
    assert passed.deliver(1, 7) == at(6)
    # How long the ledger before is, is not known.
    assert passed.deliver(2, 0) == at(8)
    assert passed.next == Position(2, 1)


def test_from_the_earliest_on_the_first_ledger_counts():
    assert PassedEntries(EARLIEST).deliver(7, 2) == Position(7, 0)
    assert PassedEntries(EARLIEST).deliver(7, 0) is None


def test_the_first_chunk_holds_until_its_message_is_delivered_or_patience_ends():
    passed = PassedEntries(EARLIEST)
    assert passed.look([chunk(4, 0, time=1000), chunk(5, 0, name="b", time=2000)]) is None
    assert passed.oldest(1000) == at(4)
    assert passed.oldest(1001 + PATIENCE) == at(5)
    passed.complete(at(4))
    assert passed.oldest(1000) == at(5)
    assert passed.oldest(2001 + PATIENCE) is None


def test_a_message_whose_chunks_are_all_there_should_have_been_delivered():
    passed = PassedEntries(EARLIEST)
    assert passed.look([chunk(4, 0, 3)]) is None
    assert passed.look([chunk(6, 1, 3), chunk(8, 2, 3)]) == at(4)


def test_a_chunk_that_was_sent_twice_counts_once():
    passed = PassedEntries(EARLIEST)
    assert passed.look([chunk(4, 0, 3), chunk(5, 1, 3), chunk(6, 1, 3)]) is None
    assert passed.look([chunk(7, 2, 3)]) == at(4)


def test_a_message_sent_anew_begins_with_its_new_first_chunk():
    passed = PassedEntries(EARLIEST)
    assert passed.look([chunk(4, 0), chunk(6, 0), chunk(7, 1)]) == at(6)


def test_a_message_that_is_no_chunk_should_have_been_delivered():
    assert PassedEntries(EARLIEST).look([StoredEntry(at(4))]) == at(4)


def test_markers_and_transactions_are_delivered_to_nobody():
    assert PassedEntries(EARLIEST).look([StoredEntry(at(4), silent=True)]) is None


def test_chunks_without_their_first_one_are_told():
    passed = PassedEntries(at(4))
    assert passed.look([chunk(4, 1)]) is None
    assert passed.headless
    assert passed.oldest(0) is None


def test_what_was_delivered_hides_nothing_else_that_was_lost():
    passed = PassedEntries(EARLIEST)
    assert passed.look([chunk(4, 0), chunk(5, 1), StoredEntry(at(6))], delivered=at(4)) == at(6)


def test_reading_again_begins_with_the_first_chunk_of_what_is_not_complete():
    passed = PassedEntries(EARLIEST)
    assert passed.behind_all_complete(at(9)) == at(9)
    passed.look([chunk(4, 0, 3), chunk(5, 1, 3)])
    assert passed.behind_all_complete(at(9)) == at(4)
    passed.complete(at(4))
    assert passed.behind_all_complete(at(9)) == at(9)


def test_reading_again_does_not_go_back_to_a_message_that_is_no_longer_waited_for():
    passed = PassedEntries(EARLIEST)
    passed.look([chunk(4, 0, time=1_000), chunk(6, 0, name="b", time=2_000)])
    assert passed.oldest(1_001 + PATIENCE) == at(6)
    assert passed.behind_all_complete(at(9)) == at(6)
    # Its last chunk may come all the same.
    assert passed.look([chunk(10, 1)]) == at(4)
