from __future__ import annotations

import pytest

from transforms.files.naming import FileName, StoredRun
from transforms.pulsar.points import parse_end, parse_start
from transforms.pulsar.positions import Position
from transforms.restore.selection import Selection

NAME = FileName(600_000, 300, 1, StoredRun(Position(5, 10), Position(5, 20, 3), 50), "", "avro")


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), True),
        (Selection(partitions=frozenset({1})), True),
        (Selection(partitions=frozenset({0, 2})), False),
        (Selection(window_start=600_000), True),
        (Selection(window_start=600_001), False),
        (Selection(window_end=600_001), True),
        (Selection(window_end=600_000), False),
        (Selection(start=parse_start("5:20:3")), True),
        (Selection(start=parse_start("5:20:4")), False),
        (Selection(end=parse_end("5:10:0")), True),
        (Selection(end=parse_end("5:9")), False),
        # Windows may be of event times, so that they say nothing of publish times.
        (Selection(start=parse_start("2030-01-01T00:00:00Z")), True),
        (Selection(keys=frozenset({"a"})), True),
    ],
)
def test_names_tell_which_objects_are_read(selection, taken):
    assert selection.takes_file(NAME) is taken


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), True),
        (Selection(start=parse_start("5:12:1")), True),
        (Selection(start=parse_start("5:12:2")), False),
        (Selection(end=parse_end("5:12:1")), True),
        (Selection(end=parse_end("5:12:0")), False),
        (Selection(end=parse_end("5:12")), True),
        (Selection(start=parse_start("1700000000000"), end=parse_end("1700000000001")), True),
        (Selection(start=parse_start("1700000000001")), False),
        (Selection(end=parse_end("1700000000000")), False),
        (Selection(keys=frozenset({"a", "b"})), True),
        (Selection(keys=frozenset({"b"})), False),
    ],
)
def test_records_tell_the_rest(selection, taken):
    place = {"ledger_id": 5, "entry_id": 12, "batch_index": 1}
    assert selection.takes({**place, "publish_time": 1_700_000_000_000, "key": "a"}) is taken
