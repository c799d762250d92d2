"""Every wrong rule of the table is refused with its sentences, and nothing is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.rules.model import Rule
from pipelines.rules.store import RuleStore
from tests.pipelines.rules.wrong_rules import CASES, SECRET, Wrong, fits, play


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuleStore]:
    found = RuleStore(_url(tmp_path_factory))
    yield found
    found.close()


def _url(factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{factory.getbasetemp()}/wrong-rules.sqlite3"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_with_a_rule_is_said(
    case: Wrong, store: RuleStore, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    said = play(case, tmp_path, _url(tmp_path_factory))
    assert fits(case, said, tmp_path), (said.code, said.errors, said.output)
    assert SECRET not in said.errors
    assert store.all() == []


def test_names_of_wrong_rules_are_their_own_and_there_are_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(CASES) >= 60


def test_every_field_of_a_rule_is_given_wrong_once() -> None:
    given = {name for case in CASES for name in case.fields}
    assert given | {"name"} == set(Rule.model_fields)
