"""Where the first message at or behind a time is: an answer from before that time is not believed at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.resolve import _first

EARLY, RIGHT = (Position(1, 0), 100), (Position(1, 2), 300)


class Answers:
    """A client whose readers, one after the other, give these answers once they were sent to a time."""

    def __init__(self, *answers: Any) -> None:
        self.left = list(answers)

    def open_reader(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(seek_time=lambda _: None, first=lambda _: self.left.pop(0), close=lambda: None)


@pytest.mark.parametrize(
    ("answers", "position"),
    [([RIGHT], RIGHT[0]), ([EARLY, RIGHT], RIGHT[0]), ([EARLY, EARLY, EARLY], EARLY[0]), ([EARLY, None], None)],
)
def test_an_answer_from_before_the_time_is_asked_for_again(answers, position):
    client: Any = Answers(*answers)
    request: Any = SimpleNamespace(compacted=False)
    assert _first(client, request, TopicPartition("persistent://t/ns/a"), 300) == position
    assert client.left == []
