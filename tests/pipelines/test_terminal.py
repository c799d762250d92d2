from __future__ import annotations

import io

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
