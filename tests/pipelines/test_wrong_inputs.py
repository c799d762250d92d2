"""Every wrong input of the table gives its exit code and its sentences, and no stack trace, within ten seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.parser import job_parser
from tests.pipelines.wrong_inputs import SECONDS, Case, World, all_cases, fits, play, world

CASES = all_cases()


@pytest.fixture(scope="module")
def surroundings(broker, secured_broker, tmp_path_factory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("wrong")
    with world(broker, secured_broker, folder) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_said(surroundings: World, case: Case) -> None:
    outcome = play(surroundings, case)
    assert fits(surroundings, case, outcome), (outcome.code, outcome.stderr)
    assert "Traceback" not in outcome.stderr
    # How long a process takes to load says more of the machine.
    assert case.process or outcome.seconds < SECONDS


def test_names_of_cases_are_their_own_and_there_are_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(CASES) >= 60


def test_every_option_that_has_a_value_is_given_wrong_once() -> None:
    given = {option.partition("=")[0] for case in CASES for option in case.options}
    wanted = {
        name for action in job_parser()._actions if action.nargs != 0 for name in action.option_strings if len(name) > 2
    }
    assert wanted <= given | {"--help"}
