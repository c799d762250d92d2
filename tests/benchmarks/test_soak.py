from __future__ import annotations

import csv
import random

import pytest

from benchmarks.soak_production import Census, payload
from benchmarks.soak_samples import (
    DRAINING,
    IDLE_AFTER,
    IDLE_BEFORE,
    PRODUCTION,
    Memory,
    Sample,
    SliceCount,
    growth_of_checkpoints,
    growth_of_memory,
    leaked_states,
    planned,
    slope,
    write_csv,
)

LEAK, MB = 1_000, 10**6


def sample(seconds: float, phase: str, slices: int, size: int | None) -> Sample:
    return Sample(
        seconds, phase, 0, 0, 0, 1, size, LEAK * slices, size, None if size is None else slices, 2 * slices, 5 * MB, 0
    )


@pytest.fixture
def samples() -> list[Sample]:
    phases = [IDLE_BEFORE] * 30 + [PRODUCTION] * 60 + [DRAINING] * 5 + [IDLE_AFTER] * 30
    found = [
        sample(2.0 * at, phase, 3 * at, 5_000 + LEAK * 3 * at + (MB if phase == PRODUCTION else 0))
        for at, phase in enumerate(phases)
    ]
    return [sample(0.0, IDLE_BEFORE, 0, None), *found]


def test_the_slope_is_that_within_each_group_whatever_their_levels():
    points = [("a", x, 100 + 2 * x) for x in range(5)] + [("b", x, 2 * x) for x in range(50, 60)]
    assert slope(points) == pytest.approx(2)
    assert slope([("a", 1, 1), ("b", 2, 2)]) is None
    assert slope([]) is None


def test_slices_are_added_up_over_restarts():
    count = SliceCount()
    assert [count.take(counter) for counter in (None, 10, 15, None, 2, 6, 1)] == [0, 10, 15, 15, 17, 21, 22]


def test_leaked_states_are_counted_by_name():
    content = b"\x00\x12sdf_checkpoint:1:0\x00sdf_checkpoint:1:1..sdf_checkpoint:1:0 sdf_checkpoint:x:0"
    assert leaked_states(content) == {b"sdf_checkpoint:1:0", b"sdf_checkpoint:1:1"}


def test_what_the_checkpoint_gained_beyond_the_leak_is_told(samples):
    exact = growth_of_checkpoints(samples, warm_up=15)
    assert exact["bytes_per_leaked_state"] == pytest.approx(LEAK)
    assert exact["rest_bytes"] == 0
    assert exact["begin_bytes_of_other_stages"] == exact["end_bytes_of_other_stages"] == 5_000
    grown = [*samples[:-25], *(sample(x.seconds, x.phase, x.leaked, x.checkpoint_bytes + MB) for x in samples[-25:])]
    assert growth_of_checkpoints(grown, warm_up=15)["rest_bytes"] == MB
    without_end = [each for each in samples if each.phase == IDLE_BEFORE]
    assert "rest_bytes" not in growth_of_checkpoints(without_end, warm_up=15)


def test_memory_of_a_process_in_the_place_of_a_killed_one_is_no_growth():
    memory = [
        Memory(60.0 * pid + at, "worker", pid, int((100 + 50 * pid + at / 60) * MB))
        for pid in (1, 2)
        for at in range(60)
    ]
    found = growth_of_memory(memory, (60.0, 180.0), warm_up=10)["worker"]
    assert found["mb_per_minute"] == pytest.approx(1, abs=0.01)
    assert found["processes"] == 2
    assert found["late_mb"] > found["early_mb"]


def test_kills_leave_the_first_and_the_last_minutes_alone():
    kills = planned(1_800, random.Random(1))
    assert kills == planned(1_800, random.Random(1))
    assert kills[0].seconds >= 180
    assert kills[-1].seconds <= 1_800 - 180
    assert {each.kind for each in kills} == {"worker", "task manager"}
    assert len(planned(240, random.Random(1))) > 0


def test_a_message_that_is_missing_or_twice_or_wrong_is_counted():
    def record(number: int, body: bytes) -> dict[str, object]:
        return {"partition": 0, "ledger_id": 1, "entry_id": number, "batch_index": -1, "payload": body}

    first, second, third = (record(number, payload(0, number, 200)) for number in range(3))
    census = Census([3])
    census.take([first, second])
    assert (census.missing, census.twice, census.other, census.out_of_order) == (1, 0, 0, 0)
    census.take([third])
    assert (census.missing, census.twice, census.other, census.out_of_order) == (0, 0, 0, 0)
    census.take([second])
    assert (census.twice, census.out_of_order) == (1, 1)
    census.take([record(3, payload(0, 3, 200))])
    census.take([record(4, payload(0, 2, 200)[:-1] + b"x")])
    assert census.other == 2


def test_samples_are_written_with_nothing_for_what_is_not_known(samples, tmp_path):
    write_csv(tmp_path / "samples.csv", samples, Sample)
    with (tmp_path / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(samples)
    assert rows[0]["checkpoint_bytes"] == ""
