from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import cli
from pipelines.options import job_parser

README = Path(__file__).parents[2] / "README.md"
OPTIONS = {
    name: action
    for action in job_parser()._actions
    for name in action.option_strings
    if name.startswith("--") and name != "--help"
}

run = CliRunner()


@pytest.mark.parametrize("name", OPTIONS)
def test_readme_has_every_option_with_its_default(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \| (.*?) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    default = OPTIONS[name].default
    assert row == {None: "–", False: "off"}.get(default, f"`{default}`")


def test_readme_has_no_option_that_is_not_there() -> None:
    in_tables = re.findall(r"^\| `(--[a-z_]+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(in_tables) == sorted(OPTIONS)


def test_options_of_the_example_in_the_readme_are_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = _arguments_of(monkeypatch)
    example = re.search(r"tdmq-backup (backup \\\n.*?)\n\s*```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    assert run.invoke(cli.app, example[1].replace("\\\n", " ").split()).exit_code == 0
    assert job_parser().parse_known_args(given)[1] == []
    assert {"--service_url", "--token", "--topic", "--subscription", "--destination", "--cos_region"} <= set(given)


def test_hyphens_become_underscores_in_names_and_not_in_values(monkeypatch: pytest.MonkeyPatch) -> None:
    given = _arguments_of(monkeypatch)
    arguments = ["--service-url", "pulsar://a-b:6650", "--cos-region=ap-guangzhou", "--on_trimmed", "fail", "-x", "a-b"]
    assert run.invoke(cli.app, ["backup", *arguments]).exit_code == 0
    assert given == [
        "--service_url",
        "pulsar://a-b:6650",
        "--cos_region=ap-guangzhou",
        "--on_trimmed",
        "fail",
        "-x",
        "a-b",
    ]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5])
def test_exit_code_of_the_job_passes_through(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.backup.main", lambda _: code)
    assert run.invoke(cli.app, ["backup"]).exit_code == code


def test_errors_of_the_options_come_with_exit_code_2() -> None:
    result = _process("backup", "--topic", "orders", "--servcie-url", "x")
    assert result.returncode == 2
    assert "--servcie_url: no such option. Did you mean --service_url?" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_of_backup_names_every_option_with_hyphens() -> None:
    result = run.invoke(cli.app, ["backup", "--help"])
    assert result.exit_code == 0
    assert result.output.startswith("usage: tdmq-backup backup ")
    for name in OPTIONS:
        assert re.search(rf"^  --{name[2:].replace('_', '-')}\b", result.output, re.MULTILINE), name
    assert not re.findall(r"--[a-z]+_[a-z]+", result.output)


def test_help_lists_the_commands_and_loads_no_beam() -> None:
    code = "import sys\nfrom pipelines import cli\ntry: cli.main()\nfinally: assert 'apache_beam' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for command in ("backup", "demo", "version"):
        assert re.search(rf"\b{command}\b", result.stdout)


def test_version_names_what_is_run_on() -> None:
    short, long = run.invoke(cli.app, ["--version"]), run.invoke(cli.app, ["version"])
    assert short.exit_code == long.exit_code == 0
    assert re.fullmatch(r"tdmq-backup \S.*\n", short.output)
    assert long.output.startswith(short.output)
    assert re.search(r"^apache-beam \d", long.output, re.MULTILINE)


def test_demo_gets_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr("pipelines.demo.main", lambda arguments: given.append(arguments) or 1)
    assert run.invoke(cli.app, ["demo", "--keep", "some folder"]).exit_code == 1
    assert run.invoke(cli.app, ["demo"]).exit_code == 1
    assert given == [["--keep=some folder"], []]


def test_the_shell_is_told_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TDMQ_BACKUP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "tdmq-backup ")
    monkeypatch.setenv("COMP_CWORD", "1")
    result = _process()
    assert {"backup", "demo", "version"} <= set(result.stdout.split()), result.stderr


def _process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments], capture_output=True, text=True, check=False
    )


def _arguments_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the job is called with, from the next call on."""
    given: list[str] = []
    monkeypatch.setattr("pipelines.backup.main", lambda arguments: given.extend(arguments) or 0)
    return given
