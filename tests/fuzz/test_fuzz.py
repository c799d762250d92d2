from __future__ import annotations

import pytest
from hypothesis import HealthCheck, seed, settings

from tests.fuzz.__main__ import main
from tests.fuzz.targets import TARGETS

#: For each target; ``make fuzz`` goes on for ten minutes.
EXAMPLES = 60


@pytest.mark.parametrize("name", TARGETS)
def test_only_errors_of_ours_come_out(name):
    run = TARGETS[name].test()
    settings(
        max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
    )(seed(1)(run))()


def test_make_fuzz_counts_its_inputs(capsys):
    assert main(["--seconds=0", "--seed=7", "sizes", "durations"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "seed 7" in lines[0]
    assert [line.split()[0] for line in lines[-3:]] == ["sizes", "durations", "2"]
    assert all(int(line.split()[1].replace(",", "")) > 0 for line in lines[-3:-1])


def test_make_fuzz_shows_the_input_that_fails_and_ends_with_1(capsys, monkeypatch):
    def broken(text):
        assert "s" not in text

    monkeypatch.setattr(TARGETS["durations"], "function", broken)
    assert main(["--seconds=0", "--seed=7", "durations"]) == 1
    printed = capsys.readouterr().out
    assert "durations FAILED with seed 7" in printed
    assert "AssertionError" in printed
    assert "'s'" in printed
