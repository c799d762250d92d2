"""What was measured, and how it is kept: each way to read, in each round, is one measurement."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LOOP = "bare client loop"


@dataclass(frozen=True)
class Spent:
    """What one run over one topic has spent."""

    messages: int
    seconds: float
    cpu_seconds: float
    servers_cpu_seconds: float
    """Of the broker and the COS server."""
    peak_bytes: int
    """Of one process."""
    together_bytes: int
    """Of all processes at a time."""
    more: Mapping[str, float] = field(default_factory=dict)
    """CPU seconds of other processes, by the name of the figure."""


@dataclass(frozen=True)
class Measurement:
    """What one way to read cost in one round."""

    part: str
    round: int
    way: str
    messages: int
    """In the larger of the two topics."""
    cpu: float
    """CPU seconds for each million messages, marginal: the start is left out."""
    start_cpu: float
    """CPU seconds of the start."""
    rate: float
    """Messages a second of the whole run, start included."""
    steady_rate: float
    """The same without the start."""
    peak_mb: float
    together_mb: float
    servers_cpu: float
    """CPU seconds of broker and COS server for each million messages, marginal."""
    more: Mapping[str, Any] = field(default_factory=dict)


def marginal(part: str, number: int, way: str, few: Spent, many: Spent) -> Measurement:
    """The measurement that two runs are, over a small and a large topic. Raises ValueError if they are of one size."""
    messages = many.messages - few.messages
    if messages <= 0:
        raise ValueError(f"{way}: {many.messages} messages are not more than {few.messages}.")
    millions = messages / 1e6
    cpu = (many.cpu_seconds - few.cpu_seconds) / millions
    seconds = many.seconds - few.seconds
    return Measurement(
        part,
        number,
        way,
        many.messages,
        cpu,
        few.cpu_seconds - cpu * few.messages / 1e6,
        many.messages / many.seconds,
        messages / seconds if seconds > 0 else float("nan"),
        max(few.peak_bytes, many.peak_bytes) / 1e6,
        max(few.together_bytes, many.together_bytes) / 1e6,
        (many.servers_cpu_seconds - few.servers_cpu_seconds) / millions,
        {name: (many.more[name] - few.more[name]) / millions for name in many.more},
    )


class Results:
    """All measurements of a run, in a file that is whole after each of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.facts: dict[str, Any] = {}
        """Of the machine and of the run, by the name of the part that they are of."""
        self.measurements: list[Measurement] = []
        self.other: dict[str, Any] = {}
        """What is no measurement, by the name of the part: latencies, shares of a profile."""

    @classmethod
    def load(cls, path: Path) -> Results:
        """Those of an earlier run; none where there is no file."""
        found = cls(path)
        if path.exists():
            content = json.loads(path.read_text())
            found.facts, found.other = content["facts"], content["other"]
            found.measurements = [Measurement(**each) for each in content["measurements"]]
        return found

    def begin(self, part: str, facts: Mapping[str, Any]) -> None:
        """Forget what is known of a part, which is measured anew."""
        self.measurements = [each for each in self.measurements if each.part != part]
        self.other.pop(part, None)
        self.facts[part] = dict(facts)
        self._write()

    def add(self, measurements: Iterable[Measurement]) -> None:
        """Keep what was measured."""
        self.measurements.extend(measurements)
        self._write()

    def note(self, part: str, content: Any) -> None:
        """Keep what is no measurement."""
        self.other[part] = content
        self._write()

    def of(self, part: str) -> list[Measurement]:
        """The measurements of a part, in the order in which they were made."""
        return [each for each in self.measurements if each.part == part]

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "facts": self.facts,
            "measurements": [asdict(each) for each in self.measurements],
            "other": self.other,
        }
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(content, indent=1) + "\n")
        new.replace(self._path)
