from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from pipelines.terminal import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "styled"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["a terminal", "NO_COLOR", "a dumb terminal"],
)
def test_escape_codes_are_for_terminals_that_want_them(
    environment: dict[str, str], styled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    written = Terminal()
    monkeypatch.setattr("sys.stdout", written)
    place = console()
    place.print(Table("partition"))
    place.print("done", style="bold green")
    assert ("\x1b" in written.getvalue()) == styled


#: One is buffered until the end of the process, the other is not.
RESULTS = {"short": "print('result')", "long": "print('result' * 100_000)", "Rich": "console().print('result')"}


def given_out(writing: str, stdout: int | None) -> subprocess.CompletedProcess[str]:
    program = f"""
import sys
from pipelines.terminal import console, give_out
if {stdout is None}:
    sys.stdout = None
sys.exit(give_out(lambda: {writing}, done="the backup is done"))
"""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("writing", RESULTS.values(), ids=RESULTS)
def test_a_result_that_fits_on_no_disk_is_one_sentence(writing: str) -> None:
    with open("/dev/full", "w") as full:
        process = given_out(writing, full.fileno())
    assert process.stderr == (
        "error: the backup is done, but its result could not be written to stdout (No space left on device). "
        "Mend that and run it again for the result: nothing is stored twice.\n"
    )
    assert process.returncode == 1


@pytest.mark.parametrize("writing", RESULTS.values(), ids=RESULTS)
def test_a_result_that_nobody_reads_is_no_error(writing: str) -> None:
    reading, written_to = os.pipe()
    os.close(reading)
    process = given_out(writing, written_to)
    os.close(written_to)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.parametrize("writing", RESULTS.values(), ids=RESULTS)
def test_a_result_without_a_stdout_is_no_error(writing: str) -> None:
    process = given_out(writing, None)
    assert (process.returncode, process.stderr) == (0, "")
