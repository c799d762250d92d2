from __future__ import annotations

import pytest

from transforms.errors import ConfigurationError
from transforms.pulsar.points import parse_end, parse_start
from transforms.pulsar.positions import Position


@pytest.mark.parametrize("word", ["earliest", "latest", "subscription"])
def test_start_takes_words(word):
    assert parse_start(word).word == word


def test_end_takes_now_only():
    assert parse_end("now").word == "now"
    with pytest.raises(ConfigurationError, match="--end=latest: neither now"):
        parse_end("latest")


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2026-11-22T09:45:00Z", 1_795_340_700_000),
        ("2026-11-22T09:45:00z", 1_795_340_700_000),
        ("2026-11-22T17:45:00+08:00", 1_795_340_700_000),
        ("2026-11-22T09:45:00.250Z", 1_795_340_700_250),
        ("1795340700000", 1_795_340_700_000),
    ],
)
def test_date_times_are_milliseconds(text, milliseconds):
    assert parse_start(text).time == milliseconds
    assert parse_end(text).time == milliseconds


def test_ids_are_inclusive_at_both_ends():
    assert parse_start("12:5:3").message == Position(12, 5, 3)
    assert parse_end("12:5:3").behind == Position(12, 5, 4)


@pytest.mark.parametrize("text", ["12:5", "12:5:-1"])
def test_an_id_without_batch_index_is_the_whole_entry(text):
    assert parse_start(text).message == Position(12, 5, 0)
    assert parse_end(text).behind == Position(12, 6, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-11-22T09:45:00", "needs a zone, such as 2026-11-22T09:45:00Z"),
        ("2026-11-22", "needs a zone"),
        ("yesterday", "neither earliest, latest, subscription, nor a date-time"),
        ("", "neither earliest"),
        ("1700000000", "Did you mean 1700000000000"),
        ("99999999999999999999", "beyond any date"),
        ("12:99999999999999999999", "no message has such an id"),
        ("12:5:-2", "no message has such an id"),
        ("12:", "neither earliest"),
        ("12:5:3:4", "neither earliest"),
        ("\uff12:5", "neither earliest"),
    ],
)
def test_a_wrong_point_is_explained(text, said):
    with pytest.raises(ConfigurationError) as caught:
        parse_start(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"--start={text}:")
