"""Rules as files: YAML or JSON, the fields by their names. What is written is stable, so that it is good in git."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.logs import cleaned
from pipelines.rules.model import Rule
from transforms.errors import ConfigurationError

#: What a file of a rule is longer than by mistake only.
LONGEST = 1_000_000
_SUFFIXES = (".yaml", ".yml", ".json")


class _DuplicateKeyError(ValueError):
    pass


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads all scalars as texts, but null: ``1:30`` is a position, not ninety, and a date-time stays as written."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - of the base class
        first: [each for each in found if each[0] == "tag:yaml.org,2002:null"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    # A list or a mapping is no name of a field, nor is None.
    keys = [loader.construct_object(key) if key.id == "scalar" else None for key, _ in node.value]
    twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
    if twice is not None:
        raise _DuplicateKeyError(f"the field {cleaned(str(twice))} is there twice")
    return dict(zip(keys, [loader.construct_object(value, deep=True) for _, value in node.value], strict=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_documents(text: str, where: str, *, is_json: bool = False) -> list[dict[str, Any]]:
    """The rules of a file, each as the fields that are given; ``where`` names it in errors.

    Raises ConfigurationError.
    """
    try:
        found = [json.loads(text, object_pairs_hook=_unique)] if is_json else list(yaml.load_all(text, _Loader))
    except _DuplicateKeyError as error:
        raise ConfigurationError(f"{where}: {error}. Leave one out.") from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{where}: not JSON (line {error.lineno}: {error.msg}).") from None
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{where}: not {'JSON' if is_json else 'YAML'} ({_reason(error)}).") from None
    for each in found or [None]:
        if each is None:
            raise ConfigurationError(f"{where}: is empty. Write fields of a rule, such as topic: orders.")
        if not isinstance(each, dict):
            raise ConfigurationError(f"{where}: is no rule: write its fields as name: value, a line each.")
        if not all(isinstance(key, str) for key in each):
            raise ConfigurationError(f"{where}: is no rule: the name of a field is missing.")
    return found


def read_document(text: str, where: str, *, is_json: bool = False) -> dict[str, Any]:
    """The same of a file that has one rule."""
    first, *more = read_documents(text, where, is_json=is_json)
    if more:
        raise ConfigurationError(f"{where}: has several rules. rule import takes them.")
    return first


def read_file(path: str) -> dict[str, Any]:
    """The fields that a file gives, or stdin where it is ``-``. Raises ConfigurationError."""
    return read_document(_text(path), _named(path), is_json=path.endswith(".json"))


def read_files(places: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """All rules of files and folders, each with the name of its file.

    Raises ConfigurationError with all files that cannot be read.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    problems: list[str] = []
    for path in rule_files(places):
        try:
            documents = read_documents(_text(path), _named(path), is_json=path.endswith(".json"))
        except ConfigurationError as error:
            problems += error.problems
            continue
        found += [(_named(path), each) for each in documents]
    if problems:
        raise ConfigurationError(*problems)
    return found


def _named(path: str) -> str:
    return "stdin" if path == "-" else path


def _text(path: str) -> str:
    where = _named(path)
    try:
        content = sys.stdin.buffer.read(LONGEST + 1) if path == "-" else _content(Path(path))
    except OSError as error:
        raise ConfigurationError(f"{where}: cannot be read ({error.strerror}).") from None
    if len(content) > LONGEST:
        raise ConfigurationError(f"{where}: is longer than {LONGEST:,} bytes. Is it a rule?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where}: is not UTF-8. Is it a rule?") from None


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST + 1)


def rule_files(places: Sequence[str]) -> list[str]:
    """The files that are meant: those that are named, and all YAML and JSON files of a folder that is, in order.

    Raises ConfigurationError for what is not there, and for a folder without any.
    """
    found: list[str] = []
    for place in places:
        path = Path(place)
        if place == "-" or not path.is_dir():
            found.append(place)
            continue
        inside = sorted(str(each) for each in path.iterdir() if each.suffix in _SUFFIXES and each.is_file())
        if not inside:
            raise ConfigurationError(f"{place}: the folder has no file that ends with {', '.join(_SUFFIXES)}.")
        found += inside
    return found


def written(rule: Rule) -> str:
    """What was given of a rule, as YAML, in the order of the fields."""
    return str(
        yaml.safe_dump(rule.document(), sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)
    )


def file_name(rule: Rule) -> str:
    """The file of a rule in an exported folder."""
    return f"{rule.name}.yaml"


def strangers(folder: Path, rules: Sequence[Rule]) -> list[Path]:
    """Files of rules in an exported folder that are of none of these."""
    own = {file_name(rule) for rule in rules}
    return sorted(each for each in folder.iterdir() if each.suffix in _SUFFIXES and each.name not in own)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise _DuplicateKeyError(f"the field {cleaned(twice)} is there twice")
    return dict(pairs)


def _reason(error: Exception) -> str:
    """What is wrong, and in which line; nothing of what stands there, which may be a secret."""
    mark = getattr(error, "problem_mark", None)
    told = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    said = cleaned(re.sub(r"'[^',]{13,}'|the tag '.*", "…", str(told)))
    return f"line {mark.line + 1}: {said}" if mark is not None else said
