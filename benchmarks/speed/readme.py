"""Tables and drawings, in a folder of results and in the README between its two marks."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed import machine, plots
from benchmarks.speed.measurements import Results
from benchmarks.speed.tables import tables
from benchmarks.speed.ways import PARTS

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
_README = Path(__file__).parents[2] / "README.md"
#: Where the README's pictures are.
_PICTURES = Path("docs") / "speed"


def write(results: Results, folder: Path) -> str:
    """Write speed.md and the drawings into a folder; gives the text."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(results, folder)
    text = measured_on(results.facts) + "\n\n" + _pictures(drawn, Path()) + tables(results)
    (folder / "speed.md").write_text(text)
    return text


def put_into_readme(results: Results, folder: Path, path: Path = _README) -> None:
    """Put what ``write`` has made of the same results into the README, the drawings beside it."""
    names = plots.names(results)
    pictures = path.parent / _PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    for name in names:
        for mode in plots.MODES:
            shutil.copy(folder / f"{name}-{mode}.svg", pictures)
    text = measured_on(results.facts) + "\n\n" + _pictures(names, _PICTURES) + tables(results)
    path.write_text(between_marks(path.read_text(), text))


def between_marks(document: str, text: str) -> str:
    """The document with a text between its two marks. Raises ValueError if it has not exactly one of each."""
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(END) < document.index(BEGIN):
        raise ValueError(f"there must be one {BEGIN} and one {END} behind it")
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{text.strip()}\n{END}{rest.partition(END)[2]}"


def measured_on(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """When and on what, in a sentence for all parts that were measured alike."""
    alike: dict[str, list[str]] = {}
    for part in PARTS:
        if part in facts:
            of = facts[part]
            scale = "" if of["scale"] == 1 else f"; {of['scale']:g} of the messages only, to try it out"
            said = f"Measured on {of['date'][:10]} on {machine.sentence(dict(of))}, {of['rounds']} rounds{scale}"
            alike.setdefault(said, []).append(part)
    if len(alike) == 1:
        return f"{next(iter(alike))}."
    return " ".join(f"{said} ({', '.join(parts)})." for said, parts in alike.items())


def _pictures(names: Mapping[str, str], folder: Path) -> str:
    return "".join(
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="{folder / f"{name}-dark.svg"}">\n'
        f'  <img alt="{alt}" src="{folder / f"{name}-light.svg"}">\n</picture>\n\n'
        for name, alt in names.items()
    )
