"""Folders of a path template, read back: which topic's they are, and where a topic's are looked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from transforms.files.naming import DEFAULT_PATH, safe_component

#: What a date directive of strftime may have written; never a slash.
_DATED: Final = "[^/]+?"
_WRITTEN: Final = r"[^/]+?"
_TOKENS: Final = re.compile(r"\{(\w+)\}|%(.)|([^{%]+)")


@dataclass(frozen=True)
class Folders:
    """The folders that one ``--path_template`` gives, below a prefix."""

    template: str = DEFAULT_PATH
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pattern", re.compile(self._regex({})))

    def topic_of(self, folder: str) -> str | None:
        """The full name of the topic whose folder this is, without partition.

        None where it is no folder of the template, or where the template does not name cluster, namespace and topic:
        then only the records tell.
        """
        match = self._pattern.fullmatch(folder)
        if match is None:
            return None
        found = {name: unquote(value) for name, value in match.groupdict().items()}
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

    def _regex(self, names: dict[str, str]) -> str:
        seen: set[str] = set()
        pattern = ""
        for name, directive, plain in _TOKENS.findall(self.template):
            if name in names:
                pattern += re.escape(names[name])
            elif name:
                pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{_WRITTEN})"
                seen.add(name)
            elif directive:
                pattern += "%" if directive == "%" else _DATED
            else:
                pattern += re.escape(plain)
        return pattern


def _both_spellings(topic: str) -> list[dict[str, str]]:
    cluster, namespace, name = topic.partition("://")[2].split("/", 2)
    plain = {"cluster": cluster, "tenant": cluster, "namespace": namespace, "topic": name}
    return [
        {key: safe_component(value, case_blind=case_blind) for key, value in plain.items()}
        for case_blind in (False, True)
    ]
