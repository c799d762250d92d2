from __future__ import annotations

import subprocess
import sys

import pytest

from transforms.memory import least_budget, share
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.turns import Turns

MB = 10**6


@pytest.mark.parametrize("by_reference", [False, True])
@pytest.mark.parametrize("subtasks", [1, 3, 16])
@pytest.mark.parametrize("partitions", [1, 4, 16])
def test_the_shares_of_all_partitions_together_are_within_the_budget(partitions, subtasks, by_reference):
    budget = 256 * MB
    shares = share(budget, partitions, subtasks, by_reference=by_reference)
    assert least_budget(partitions) <= budget * 2
    read = partitions * shares.read_ahead
    waiting = (1 if by_reference else 2) * partitions * shares.waiting
    in_work = (2 if by_reference else 5) * shares.bundle
    assert read + subtasks * (in_work + shares.uploads) <= 0.75 * budget
    assert waiting <= max(0.25 * budget, 2 * partitions * 2 * 1024 * 1024)
    assert partitions * shares.slice <= subtasks * shares.bundle
    assert shares.slice <= shares.bundle
    assert shares.part <= shares.waiting


def test_the_least_budget_grows_with_the_partitions_and_gives_each_its_share():
    for partitions in (1, 7, 64):
        shares = share(least_budget(partitions), partitions)
        quarter = least_budget(partitions) / 4
        assert partitions * shares.read_ahead <= quarter
        assert 2 * partitions * shares.waiting <= quarter
        assert least_budget(partitions) > least_budget(partitions - 1)


def test_the_resident_size_is_that_of_this_process():
    # One of its own: what the tests before leave to this one is given back at any time.
    code = (
        "from transforms.memory import resident_bytes; before = resident_bytes(); "
        f"held = b'x' * {50 * MB}; print(resident_bytes() - before)"
    )
    grown = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert 0.9 * 50 * MB < grown < 1.5 * 50 * MB


def names(count: int) -> list[TopicPartition]:
    return [TopicPartition("persistent://t/n/orders", index) for index in range(count)]


def test_each_partition_has_its_turn_in_every_bundle_as_long_as_they_fit():
    partitions = names(4)
    turns = Turns(1000)
    for _ in range(3):
        turns.begin()
        for each in partitions:
            assert turns.take(each)
            turns.spend(100)


def test_where_few_fit_into_a_bundle_all_have_their_turns_equally_often():
    partitions = names(7)
    turns = Turns(1000)
    served = dict.fromkeys(partitions, 0)
    for _ in range(70):
        turns.begin()
        in_bundle = 0
        for each in partitions:
            if turns.take(each):
                turns.spend(500)
                served[each] += 1
                in_bundle += 1
        assert in_bundle <= 2
    assert max(served.values()) - min(served.values()) <= 1


def test_a_partition_that_does_not_come_again_holds_up_none_of_the_others():
    partitions = names(3)
    turns = Turns(1000)
    turns.begin()
    assert [turns.take(each) for each in partitions] == [True, True, True]
    turns.spend(1000)
    turns.begin()
    turns.take(partitions[0])
    turns.spend(1000)
    assert not turns.take(partitions[1])
    served = []
    for _ in range(4):  # partitions[1] has gone elsewhere
        turns.begin()
        for each in (partitions[0], partitions[2]):
            if turns.take(each):
                turns.spend(1000)
                served.append(each)
    assert set(served) == {partitions[0], partitions[2]}
