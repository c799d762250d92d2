"""What is told of rules, as functions of values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone

import pytest

from pipelines.rules.changes import effects
from pipelines.rules.documents import read_document
from pipelines.rules.model import read_rule
from pipelines.rules.preview import Daily, daily
from pipelines.rules.records import RunRecord, RunState, StoredRule, Trigger
from pipelines.rules.standing import State, standing_of
from tests.pipelines.rules.asking import RIGHT

NOW = datetime(2026, 11, 22, 9, 45, tzinfo=timezone.utc)
RULE = read_rule({**RIGHT, "name": "orders"})
STORED = StoredRule("id", RULE, 1, NOW, "me@here")
RUN = RunRecord("run", "id", "orders", 1, Trigger.SCHEDULE, RunState.SUCCEEDED, NOW, "here:1", "tdmq-backup run orders")
FAILED = replace(STORED, trouble="The token is refused.", trouble_code=3)


@dataclass
class Part:
    messages: int | None
    bytes: int | None
    first_published: str | None = "2026-11-22T00:00:00Z"
    last_published: str | None = "2026-11-22T12:00:00Z"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], Daily(None, None, None, "there is nothing to read yet")),
        ([Part(0, 0, None, None)], Daily(None, None, None, "there is nothing to read yet")),
        # Twelve hours: a day has twice as much. A file in each of its 288 windows.
        ([Part(50_000, 7_000_000)], Daily(100_000, 14_000_000, 288 + 100)),
        ([Part(10, 1_000)], Daily(20, 2_000, 20)),
        ([Part(10, 1_000), Part(0, 0, None, None)], Daily(20, 2_000, 20)),
        ([Part(10, 1_000), Part(30, 500)], Daily(80, 3_000, 80)),
        ([Part(10, 1_000_000_000)], Daily(20, 2_000_000_000, 20 + 20)),
        ([Part(None, 1_000)], Daily(None, 2_000, None, "admin_url tells how many there are")),
        ([Part(10, None)], Daily(20, None, 20)),
        ([Part(10, 1, last_published="after the year 9999")], Daily(None, None, None, "publish times are not told")),
        (
            [Part(10, 1, last_published="2026-11-22T00:00:59Z")],
            Daily(None, None, None, "the messages that are there came within a minute"),
        ),
        ([Part(1440, 1, last_published="2026-11-22T00:01:00Z")], Daily(2_073_600, 1_440, 288 + 2_073)),
    ],
)
def test_a_day_is_estimated_of_what_is_there(parts: list[Part], expected: Daily) -> None:
    assert daily(parts, window_seconds=300, file_messages=1000, file_bytes=100_000_000) == expected


@pytest.mark.parametrize(("written", "read"), [("on", "on"), ("off", "off")])
def test_on_and_off_are_words_in_yaml_too(written: str, read: str) -> None:
    given = read_document(f"name: orders\nmanifest: {written}\n", "rule.yaml")
    assert read_rule(given).manifest == read


@pytest.mark.parametrize(
    ("stored", "last", "state"),
    [
        (STORED, None, State.NEVER_RUN),
        (STORED, RUN, State.OK),
        (STORED, replace(RUN, state=RunState.INTERRUPTED), State.OK),
        (FAILED, replace(RUN, state=RunState.FAILED), State.IN_TROUBLE),
        (replace(FAILED, retry_at=NOW), replace(RUN, state=RunState.FAILED), State.RETRYING),
        (replace(FAILED, retry_at=NOW), replace(RUN, state=RunState.RUNNING), State.RUNNING),
        (replace(STORED, rule=RULE.model_copy(update={"enabled": False})), RUN, State.DISABLED),
        (
            replace(STORED, rule=RULE.model_copy(update={"enabled": False})),
            replace(RUN, state=RunState.RUNNING),
            State.RUNNING,
        ),
    ],
)
def test_a_rule_stands_as_its_record_and_its_last_run_tell(
    stored: StoredRule, last: RunRecord | None, state: State
) -> None:
    assert standing_of(stored, last).state is state


GOES_ON = "The next run goes on where the last one ended."


@pytest.mark.parametrize(
    ("change", "facts", "said"),
    [
        ({"description": "x"}, {}, []),
        ({"schedule": "every 15m"}, {}, []),
        ({"enabled": False}, {}, ["Its schedule runs it no more; by hand it may be run."]),
        ({"bucket": "other-1250000000"}, {}, ["New files go to other-1250000000/. Those that were", GOES_ON]),
        ({"granularity": "1h"}, {}, ["From the next run on files are cut or written otherwise. What is", GOES_ON]),
        (
            {"granularity": "1h"},
            {"forgets": True},
            ["From the next run on files are cut", "The next run begins at the start point, earliest."],
        ),
        (
            {"topic": ("payments",)},
            {},
            ["Partitions that are new to the rule are read from the beginning of what the broker still has.", GOES_ON],
        ),
        (
            {"topic": ("payments",)},
            {"has_positions": False},
            ["Partitions that are new to the rule are read from the start point, earliest."],
        ),
        (
            {"subscription": "other"},
            {},
            ["The subscription backup stays, its backlog growing, until somebody deletes it. other has to", GOES_ON],
        ),
        (
            {"subscription": "other"},
            {"has_positions": False},
            ["The subscription backup stays, its backlog growing, until somebody deletes it. other is created"],
        ),
        ({"start_point": "latest"}, {}, ["The start point is of the first run only", GOES_ON]),
        ({"start_point": "latest"}, {"has_positions": False}, []),
        ({"start_point": "latest"}, {"forgets": True}, ["The next run begins at the start point, latest. What the"]),
        ({"address": "pulsar://10.0.0.8:6650"}, {}, ["The next run goes on where the last one ended, so the", GOES_ON]),
        ({"retries": 1}, {"running": True}, ["The run that goes on keeps the rule as it was when it began;"]),
    ],
)
def test_an_edit_has_its_effects(change: dict, facts: dict, said: list[str]) -> None:
    given = {"has_positions": True, **facts}
    found = effects(RULE, RULE.model_copy(update=change), **given)
    assert len(found) == len(said), found
    assert all(each.startswith(start) for each, start in zip(found, said, strict=True)), found
