from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from typer.testing import CliRunner

from pipelines import cli
from pipelines.commands.words import with_hyphens, with_underscores
from pipelines.options import parse_options
from pipelines.parser import job_parser

README = Path(__file__).parents[2] / "README.md"
OPTIONS = {
    name: action
    for action in job_parser()._actions
    for name in action.option_strings
    if name.startswith("--") and name != "--help"
}

#: Runs the command, and fails where that has loaded Beam or a client.
NO_BEAM = """
import sys
from pipelines import cli
try: cli.main()
finally: assert not {"apache_beam", "pulsar", "qcloud_cos"} & set(sys.modules)
"""

run = CliRunner()


@pytest.mark.parametrize("name", OPTIONS)
def test_readme_has_every_option_with_its_default(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \| (.*?) \|", _options_section(), re.MULTILINE)
    default = OPTIONS[name].default
    assert row == {None: "–", False: "off"}.get(default, f"`{default}`")


def test_readme_has_no_option_that_is_not_there() -> None:
    in_tables = re.findall(r"^\| `(--[a-z_]+)` \|", _options_section(), re.MULTILINE)
    assert sorted(in_tables) == sorted(OPTIONS)


def _options_section() -> str:
    """What the README says of the options of a backup."""
    return README.read_text(encoding="utf-8").partition("\n## Options\n")[2].partition("\n## ")[0]


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


#: Raises where a run begins, which no wrong input can bring about.
DEFECT = """
import sys, uuid
right = uuid.uuid4
def uuid4():
    if sys._getframe(1).f_globals["__name__"] == "pipelines.run_names":
        raise LookupError("no such thing\\nAuthorization: Bearer SECRET, refused")
    return right()
uuid.uuid4 = uuid4
"""


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_what_is_unexpected_comes_with_exit_code_1_and_its_traceback_at_debug_only(level: str, tmp_path: Path) -> None:
    secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJiYWNrdXAifQ.c2lnbmF0dXJl"
    (tmp_path / "sitecustomize.py").write_text(DEFECT.replace("SECRET", secret))
    result = _process(
        *("backup", "--service-url=pulsar://127.0.0.1:1", "--topic=orders", f"--destination=file://{tmp_path}/to/"),
        *("--token=env:ROLE_KEY", f"--log-level={level}"),
        environment={"ROLE_KEY": secret, "PYTHONPATH": f"{tmp_path}{os.pathsep}{README.parent}"},
    )
    assert result.returncode == 1
    assert result.stdout == ""
    *log, last = result.stderr.splitlines()
    assert last == (
        "error: unexpected LookupError: Authorization: Bearer [hidden], refused. This is a defect: run again "
        "with --log_level=DEBUG and report what it prints."
    )
    assert any("Traceback" in line for line in log) == (level == "DEBUG")
    assert ("in uuid4" in result.stderr) == (level == "DEBUG")
    assert level == "DEBUG" or log == []
    assert secret not in result.stderr


def test_errors_of_the_options_come_with_exit_code_2() -> None:
    result = _process("backup", "--topic", "orders", "--servcie-url", "x")
    assert result.returncode == 2
    assert "--servcie_url: no such option. Did you mean --service_url?" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_of_backup_names_every_option_with_hyphens_and_loads_no_beam() -> None:
    result = _process("backup", "--help", code=NO_BEAM)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: tdmq-backup backup ")
    for name in OPTIONS:
        assert re.search(rf"^  {with_hyphens(name)}\b", result.stdout, re.MULTILINE), name
    assert not re.findall(r"--[a-z]+_[a-z]+", result.stdout)


def test_help_of_backup_shows_each_default_once() -> None:
    shown = _help_of_backup(200).partition("\nexamples:")[0]
    for name, action in OPTIONS.items():
        (text,) = re.findall(rf"^  {with_hyphens(name)} .*(?:\n {{9,}}.*)*", shown, re.MULTILINE)
        defaults = re.findall(r"\(default: (.*?)\)", text)
        assert defaults == ([] if action.default in (None, False) else [action.default])
        assert len(re.findall("default", text)) == len(defaults)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_help_of_backup_fits_into_the_terminal(width: int) -> None:
    shown = _help_of_backup(width)
    for line in shown.splitlines():
        assert len(line) <= width or len(line.removesuffix(" \\").split()) == 1, line
    assert max(map(len, shown.splitlines())) > width * 0.9


def test_help_of_backup_comes_in_a_terminal_of_no_width() -> None:
    narrow, wide = (_help_of_backup(width).replace("\\\n", "").split() for width in (1, 80))
    assert narrow == wide


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize("spelled", [with_hyphens, str], ids=["command", "job"])
def test_examples_of_the_help_are_accepted(
    width: int, spelled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULSAR_TOKEN", "token")
    monkeypatch.setenv("COLUMNS", str(width))
    shown = run.invoke(cli.app, ["backup", "--help"]).output if spelled is with_hyphens else job_parser().format_help()
    command = "tdmq-backup backup" if spelled is with_hyphens else "python -m pipelines.backup"
    examples = re.findall(rf"^ +{command}( (?:.*\\\n)*.*)", shown, re.MULTILINE)
    assert len(examples) == 4
    for example in examples:
        words = example.replace("\\\n", "").split()
        assert words == [spelled(word) for word in words]
        parse_options([with_underscores(word) for word in words])


def test_help_lists_the_commands_and_loads_no_beam() -> None:
    result = _process("--help", code=NO_BEAM)
    assert result.returncode == 0, result.stderr
    for command in ("backup", "demo", "version"):
        assert re.search(rf"\b{command}\b", result.stdout)


def test_the_command_alone_shows_its_help() -> None:
    result = _process()
    assert _process("--help").stdout.strip() in result.stdout + result.stderr


def test_a_mistyped_command_is_told_with_the_one_that_was_meant() -> None:
    result = _process("bakcup")
    assert result.returncode == 2
    assert "No such command 'bakcup'. Did you mean 'backup'?" in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["backup", "--help"], ["version"], ["--version"]], ids=" ".join)
def test_a_reader_that_has_gone_is_no_error(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        result = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments], stdout=gone, stderr=subprocess.PIPE, check=False
        )
    assert (result.returncode, result.stderr) == (0, b"")


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


def test_the_shell_is_told_the_commands() -> None:
    assert {"backup", "demo", "version"} <= set(_completed("tdmq-backup "))


def test_the_shell_is_told_the_options_of_backup() -> None:
    assert set(_completed("tdmq-backup backup ")) == {f"--{name[2:].replace('_', '-')}" for name in OPTIONS} | {
        "--help"
    }
    assert _completed("tdmq-backup backup --topic orders --cos-r") == ["--cos-region"]


def test_the_shell_is_told_the_options_that_may_still_come() -> None:
    assert _completed("tdmq-backup backup --check --topic=a --token=env:T --to") == ["--topic", "--topic-pattern"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("typed", "value"), [("--on-trimmed con", "continue"), ("--log_level=DE", "DEBUG")])
def test_the_shell_is_told_the_values_of_an_option(shell: str, typed: str, value: str) -> None:
    (offered,) = _completed(f"tdmq-backup backup --check {typed}", shell)
    joined = shell != "bash" and "=" in typed
    assert offered == (f"{typed.partition('=')[0]}={value}" if joined else value)


def test_the_shell_offers_files_where_many_values_are_right() -> None:
    assert _completed("tdmq-backup backup --tls-cert ") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_shell_is_told_what_options_are_for(shell: str) -> None:
    said = _process(environment=_completion("tdmq-backup backup --cos-reg", shell)).stdout
    assert "region of the bucket" in said


def _completed(typed: str, shell: str = "bash") -> list[str]:
    """What is offered in the place of the last word, when the shell asks as the script that Typer installs does."""
    result = _process(environment=_completion(typed, shell), code=NO_BEAM)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    if shell == "zsh":
        return re.findall(r'"([^"]*)"(?::"[^"]*")?\s*', result.stdout)
    return [line.partition("\t")[0] for line in result.stdout.split("\n") if line]


def _completion(typed: str, shell: str) -> dict[str, str]:
    # Bash breaks words at equals signs.
    words = re.findall(r"=|[^\s=]+", typed) + [""] * typed.endswith(" ")
    asked = {
        "bash": {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": typed},
        "fish": {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }
    return {"_TDMQ_BACKUP_COMPLETE": f"complete_{shell}", **asked[shell]}


def _process(
    *arguments: str, environment: Mapping[str, str] = MappingProxyType({}), code: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *(["-c", code] if code else ["-m", "pipelines.cli"]), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def _arguments_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the job is called with, from the next call on."""
    given: list[str] = []
    monkeypatch.setattr("pipelines.backup.main", lambda arguments: given.extend(arguments) or 0)
    return given


def _help_of_backup(width: int) -> str:
    return _process("backup", "--help", environment={"COLUMNS": str(width)}).stdout
