"""Folders of a path template, read back: which topic's they are, and where a topic's are looked for."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from transforms.files.naming import DEFAULT_PATH, safe_component

#: What strftime writes for a directive. None of them may be read in two lengths at one place.
_DIGITS: Final = {"Y": 4, "G": 4, "j": 3, "u": 1}
_WORDS: Final = {
    "a": calendar.day_abbr[:],
    "A": calendar.day_name[:],
    "b": calendar.month_abbr[1:],
    "B": calendar.month_name[1:],
}
_TOKENS: Final = re.compile(r"\{(\w+)\}|%(.)|([^{%]+)")


@dataclass(frozen=True)
class Folders:
    """The folders that one ``--path_template`` gives, below a prefix."""

    template: str = DEFAULT_PATH
    _patterns: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        patterns = tuple(re.compile(self._regex({}, written)) for written in ("[^/]+?", "[^/]+"))
        object.__setattr__(self, "_patterns", patterns)

    def topic_of(self, folder: str) -> str | None:
        """The full name of the topic whose folder this is, without partition.

        None where it is no folder of the template, where the template does not name cluster, namespace and topic, or
        where the folder may be of several, as with a dash between two names that may hold dashes: then only the
        records tell.
        """
        # The first takes the shortest names from the left, the second the longest: all others lie between the two.
        shortest, longest = (pattern.fullmatch(folder) for pattern in self._patterns)
        if shortest is None or longest is None or shortest.groupdict() != longest.groupdict():
            return None
        found = {name: unquote(value) for name, value in shortest.groupdict().items()}
        cluster = found.get("cluster", found.get("tenant"))
        if cluster is None or "namespace" not in found or "topic" not in found:
            return None
        return f"persistent://{cluster}/{found['namespace']}/{found['topic']}"

    def holds(self, folder: str, topic: str) -> bool:
        """Whether this may be a folder of the topic (full name, without partition): its names fit the template."""
        return any(re.fullmatch(self._regex(names), folder) for names in _both_spellings(topic))

    def prefixes_of(self, topic: str) -> list[str]:
        """What the folders of a topic begin with: one for buckets and one for folders that are case-blind, if another.

        The shorter, the later the template names the topic; empty where it begins with a date.
        """
        return list(dict.fromkeys(self._prefix(names) for names in _both_spellings(topic)))

    def _prefix(self, names: dict[str, str]) -> str:
        text = ""
        for name, directive, plain in _TOKENS.findall(self.template):
            if directive and directive != "%":
                break
            text += names[name] if name else "%" if directive else plain
        return text

    def _regex(self, names: dict[str, str], written: str = "") -> str:
        seen: set[str] = set()
        pattern = ""
        for name, directive, plain in _TOKENS.findall(self.template):
            if name in names:
                pattern += re.escape(names[name])
            elif name:
                pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{written})"
                seen.add(name)
            elif directive:
                pattern += _dated(directive)
            else:
                pattern += re.escape(plain)
        return pattern


def _dated(directive: str) -> str:
    if directive == "%":
        return "%"
    if directive in _WORDS:
        return f"(?:{'|'.join(re.escape(word) for word in _WORDS[directive])})"
    return f"[0-9]{{{_DIGITS.get(directive, 2)}}}"


def _both_spellings(topic: str) -> list[dict[str, str]]:
    cluster, namespace, name = topic.partition("://")[2].split("/", 2)
    plain = {"cluster": cluster, "tenant": cluster, "namespace": namespace, "topic": name}
    return [
        {key: safe_component(value, case_blind=case_blind) for key, value in plain.items()}
        for case_blind in (False, True)
    ]
