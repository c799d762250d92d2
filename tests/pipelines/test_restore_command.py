"""``tdmq-backup restore``: its help, its words, and what the README says of its options."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import cli
from pipelines.commands.words import offers, with_hyphens, with_underscores
from pipelines.restore_options import parse_restore
from pipelines.restore_parser import restore_parser

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Restoring\n")[2].partition("\n## ")[0]
OPTIONS = {
    name: action
    for action in restore_parser()._actions
    for name in action.option_strings
    if name.startswith("--") and name != "--help"
}
run = CliRunner()


def test_the_readme_has_every_option_with_its_default_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `(--[a-z_]+)` \| (.*?) \|", SECTION, re.MULTILINE))
    assert rows == {
        name: {None: "–", False: "off"}.get(action.default, f"`{action.default}`") for name, action in OPTIONS.items()
    }


@pytest.mark.parametrize("shown", [SECTION, restore_parser().format_help()], ids=["README", "help"])
def test_examples_are_accepted(shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSAR_TOKEN", "token")
    examples = re.findall(r"(?:tdmq-backup restore|python -m pipelines\.restore) ((?:.*\\\n)*.*)", shown)
    examples = [each for each in examples if "--backup" in each and "=URL" not in each]
    assert len(examples) >= 3
    for example in examples:
        words = [with_underscores(word) for word in example.replace("\\\n", "").split()]
        assert parse_restore(words).target_topic.startswith("persistent://")


def test_help_names_every_option_with_hyphens_and_loads_no_beam() -> None:
    code = (
        "import sys\nfrom pipelines import cli\ntry: cli.main()\n"
        "finally: assert not {'apache_beam', 'pulsar', 'qcloud_cos'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "restore", "--help"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: tdmq-backup restore ")
    for name in OPTIONS:
        assert re.search(rf"^  {with_hyphens(name)}\b", result.stdout, re.MULTILINE), name
    assert not re.findall(r"--[a-z]+_[a-z]+", result.stdout)


def test_words_are_handed_on_and_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr("pipelines.restore.main", lambda arguments: given.extend(arguments) or 4)
    assert run.invoke(cli.app, ["restore", "--target-topic", "a-b", "--dry-run", "--key=x-y"]).exit_code == 4
    assert given == ["--target_topic", "a-b", "--dry_run", "--key=x-y"]
    assert [each.value for each in offers(restore_parser(), [], "--on-un")] == ["--on-unrestorable"]
    assert [each.value for each in offers(restore_parser(), ["--routing"], "k")] == ["key"]
