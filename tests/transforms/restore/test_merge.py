from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import DamagedError
from transforms.pulsar.positions import Position
from transforms.restore.merge import BackupObject, merged

TOPIC = "persistent://t/n/x"


def record(place: Position, partition: int = 0, **more) -> dict:
    return {
        "topic": TOPIC,
        "partition": partition,
        "ledger_id": place.ledger,
        "entry_id": place.entry,
        "batch_index": place.batch,
        **more,
    }


def stored(key: str, places: list[Position], rank: int = 0) -> BackupObject:
    return BackupObject(key, places[0], places[-1], len(places), 1, "avro", rank)


@given(
    places=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 2)), unique=True, min_size=1),
    seed=st.integers(0, 2**16),
)
def test_however_messages_are_spread_over_objects_they_come_in_order_and_once(places, seed):
    source = random.Random(seed)
    ordered = sorted(Position(*each) for each in places)
    contents: dict[str, list[Position]] = {}
    for place in ordered:
        # Some of them in several.
        for key in source.sample("abcd", source.choice([1, 1, 1, 2])):
            contents.setdefault(key, []).append(place)
    objects = [stored(key, each, "abcd".index(key) % 3) for key, each in contents.items()]
    source.shuffle(objects)
    opened = []

    def read(each: BackupObject):
        opened.append(each.key)
        return ((record(place, by=each.rank), {}) for place in contents[each.key])

    found = list(merged(objects, read, TOPIC, 0))
    assert [each.position for each in found] == ordered
    assert sorted(opened) == sorted(contents)
    for each in found:
        ranks = [one.rank for one in objects if each.position in contents[one.key]]
        assert each.record["by"] == min(ranks)


def test_objects_are_opened_when_their_first_message_comes():
    contents = {str(number): [Position(1, number, index) for index in range(3)] for number in range(50)}
    is_open, most = set(), 0

    def read(each: BackupObject):
        nonlocal most
        is_open.add(each.key)
        most = max(most, len(is_open))
        for place in contents[each.key]:
            yield record(place), {}
        is_open.discard(each.key)

    assert len(list(merged([stored(key, each) for key, each in contents.items()], read, TOPIC, 0))) == 150
    assert most <= 2


@pytest.mark.parametrize(
    ("places", "partition", "sentence"),
    [
        ([(1, 0, 0), (1, 2, 0)], 0, "x is damaged: it holds 2 messages up to 1:2:0, and its name says 3 up to 1:2:0."),
        ([(1, 1, 0), (1, 2, 0)], 0, "x is damaged: message 1:1:0 is not where its name has it."),
        ([(1, 0, 0), (1, 2, 0), (1, 1, 0)], 0, "x is damaged: message 1:1:0 is not where its name has it."),
        ([(1, 0, 0)], 1, f"x is damaged: it holds a message of {TOPIC}-partition-1."),
    ],
)
def test_objects_that_hold_something_else_than_they_say_are_damaged(places, partition, sentence):
    name = stored("x", [Position(1, 0), Position(1, 1), Position(1, 2)])
    with pytest.raises(DamagedError) as caught:
        list(merged([name], lambda _: iter([(record(Position(*each), partition), {}) for each in places]), TOPIC, 0))
    assert str(caught.value) == sentence
