"""``rule create --interactive``: asks for a rule field by field, and checks each answer at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer

from pipelines import signals
from pipelines.logs import cleaned
from pipelines.rules import answers
from pipelines.rules.choices import Choices, choices
from pipelines.rules.model import Rule, fields_by_group
from transforms.errors import ConfigurationError
from transforms.pulsar.connection import token_subject

#: In the order of the console's form; but how the cluster is reached comes before what it is asked for.
_ORDER = (
    "bucket",
    "region",
    "cos_credentials",
    "granularity",
    "address",
    "admin_url",
    "role_key",
    "role",
    "cluster",
    "namespace",
    "topic",
    "topic_pattern",
    "subscription",
    "start_point",
    "destination_path",
    "schedule",
)
_TLS = ("tls_trust_certs", "tls_cert", "tls_key")
_LOGIN = ("address", "admin_url", "role_key", *_TLS)
#: Asked for only with a bucket of COS.
_OF_COS = ("region", "cos_credentials")
_SHOWN = 20
_NONE = "-"
_EXAMPLES = {
    "bucket": "backup-1250000000, or file:///var/backup/",
    "address": "pulsar://10.0.0.7:6650",
    "admin_url": "http://10.0.0.7:8080",
    "role_key": "env:PULSAR_TOKEN, or file:/etc/tdmq-backup/token; never the key itself",
    "cos_credentials": "env (COS_SECRET_ID, COS_SECRET_KEY and COS_TOKEN), file:PATH or cvm-role:NAME",
    "topic": "orders, or several with commas between them",
    "topic_pattern": "orders-.*",
    "start_point": "earliest, latest, 2026-01-31T08:00:00Z or 17:0:-1",
    "destination_path": "pulsar/",
}
_HINTS = f"? explains a field, Enter takes what stands in brackets, {_NONE} leaves a field empty, Ctrl-C leaves it all."


def ask(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Ask at the terminal for the fields of a rule; gives them, with those that were ``given``, which are defaults.

    Nothing is kept or changed anywhere. Raises ConfigurationError where nobody can be asked, or the input ends.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigurationError(
            "--interactive: nobody can be asked here, for stdin is no terminal. Give the fields as options, or in "
            "--file."
        )
    with _left_by_signals():
        return _Questions(name, {"name": name, **given}).ask()


@contextmanager
def _left_by_signals() -> Iterator[None]:
    signals.stands(lambda: "while it asked; no rule is created.")
    # The terminal has written ^C where the answer would stand.
    with signals.ended_by(lambda *_: _say("")):
        yield
    signals.stands()


@dataclass
class _Questions:
    name: str
    values: dict[str, Any]
    _asked: list[str] = field(default_factory=list)
    _insisted: dict[str, Any] = field(default_factory=dict)
    """Answers that were refused because the cluster could not be asked: the same once more is taken."""

    def ask(self) -> dict[str, Any]:
        _say(f"Rule {self.name}. {_HINTS}")
        waiting = list(_ORDER)
        while waiting:
            each = waiting.pop(0)
            if self._skipped(each):
                continue
            back = self._settle(each)
            if back:
                waiting = [*back, *(left for left in waiting if left not in back)]
        self._others()
        return self.values

    def _skipped(self, each: str) -> bool:
        if each in _OF_COS:
            return str(self.values.get("bucket", "")).startswith("file:")
        if each == "topic_pattern":
            return bool(self.values.get("topic"))
        return each == "role" and not self.values.get("role_key")

    def _settle(self, each: str) -> list[str]:
        """Ask for a field until the answer fits; gives fields that have to be asked for after it, or once more."""
        found = choices(each, self.values)
        self._show(each, found)
        while True:
            answer = self._answer(each, found)
            before = self.values.get(each)
            self._put(each, answer)
            wrong = self._wrong(each, found)
            if not wrong:
                return []
            for sentence in wrong:
                _say(f"  {sentence}")
            if each == "address" and any("tls_" in sentence for sentence in wrong) and not self._tls_given():
                return [*_TLS, "address"]
            if each == "topic_pattern" and not answer:
                return ["topic", "topic_pattern"]
            if each not in self._insisted or self._insisted[each] != answer:
                # Not shown again in brackets: it may be a secret.
                self._put(each, before)

    def _wrong(self, each: str, found: Choices) -> list[str]:
        wrong = answers.problems(each, self.values, *(("topic",) if each == "topic_pattern" else ()))
        if each == "topic" and not self.values.get("topic"):
            return []  # topic_pattern comes next
        if each == "tls_cert":
            wrong = [sentence for sentence in wrong if "go together" not in sentence]
        if not wrong:
            wrong = list(answers.unknown(each, _texts(self.values.get(each)), found))
        if not wrong and each in _LOGIN and each not in _TLS and self.values.get("address"):
            wrong = self._login_wrong(each)
        return wrong

    def _login_wrong(self, each: str) -> list[str]:
        answer = self.values.get(each)
        if each in self._insisted and self._insisted[each] == answer:
            _say("  Kept as it is.")
            return []
        wrong = answers.login_problems(self.values, final=each == "role_key")
        if not wrong:
            return []
        self._insisted[each] = answer
        return [*wrong, "Mend it, or give the same again if it is right where the rule will run."]

    def _tls_given(self) -> bool:
        return any(self.values.get(each) for each in _TLS)

    def _show(self, each: str, found: Choices) -> None:
        if found.why is not None:
            _say(f"  (What there is cannot be listed: {found.why.rstrip('.')}.)")
        for number, value in enumerate(found.values[:_SHOWN], 1):
            _say(f"  {number:>2}  {cleaned(value)}")
        if len(found.values) > _SHOWN:
            _say(f"      and {len(found.values) - _SHOWN} more; ? lists all")

    def _answer(self, each: str, found: Choices) -> Any:
        default = self.values.get(each, _default(each, self.values))
        shown = ", ".join(_texts(default))
        bracket = f" [{shown}]" if shown else ""
        while True:
            text = _read(f"{each}{bracket}")
            if text != "?":
                break
            self._explain(each, found)
        if not text:
            return default
        if text == _NONE:
            return None
        if isinstance(_empty(each), tuple):
            parts = [part.strip() for part in text.split(",")]
            return tuple(_chosen(part, found) for part in parts if part)
        return _chosen(text, found)

    def _explain(self, each: str, found: Choices) -> None:
        about = Rule.model_fields[each]
        _say(f"  {each}: {about.description}.")
        if each in _EXAMPLES:
            _say(f"  For example {_EXAMPLES[each]}.")
        if len(found.values) > _SHOWN:
            for number, value in enumerate(found.values, 1):
                _say(f"  {number:>2}  {cleaned(value)}")

    def _put(self, each: str, value: Any) -> None:
        if value is None or value in ("", ()):
            self.values.pop(each, None)
        else:
            self.values[each] = value

    def _others(self) -> None:
        """Fields that have defaults, by their names, as many as are wanted."""
        others = {
            title: [each for each in names if each not in (*_ORDER, "name", "tags", "metadata")]
            for title, names in fields_by_group().items()
        }
        _say("All other fields have defaults:")
        for title, names in others.items():
            if names:
                _say(f"  {title}: {', '.join(names)}")
        while True:
            text = _read("a field to change, or Enter")
            if not text:
                return
            if text in Rule.model_fields and text not in ("name", "tags", "metadata"):
                self._settle(text)
            elif text in ("tags", "metadata"):
                _say(f"  {text}: is given as an option, or later with rule edit.")
            else:
                _say("  There is no such field; the names are above.")


def _default(each: str, values: Mapping[str, Any]) -> Any:
    if each == "role" and values.get("role_key"):
        return token_subject(str(values["role_key"]))
    if each == "subscription":
        return f"backup-{values['name']}"
    return _empty(each)


def _empty(each: str) -> Any:
    return Rule.model_fields[each].get_default(call_default_factory=True)


def _chosen(text: str, found: Choices) -> str:
    """A number stands for what has it, unless something has that name."""
    if text.isdecimal() and text not in found.values and 1 <= int(text) <= len(found.values):
        return found.values[int(text) - 1]
    return text


def _texts(value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, bool):
        return ("yes" if value else "no",)
    return tuple(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else (str(value),)


def _read(question: str) -> str:
    try:
        found: str = typer.prompt(question, default="", show_default=False, err=True)
    except typer.Abort:
        _say("")
        raise ConfigurationError("The input ended before all was asked: no rule is created.") from None
    return found.strip()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
