"""An edit of a rule, before it is kept: what becomes of the rule, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.rules.changes import changed, difference, effects
from pipelines.rules.model import Rule, read_rule
from pipelines.rules.records import StoredRule
from transforms.errors import ConfigurationError


@dataclass(frozen=True)
class Edit:
    """A rule as it was seen, and as it shall be."""

    before: StoredRule
    after: Rule
    forget_positions: bool = False

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.forget_positions or bool(changed(self.before.rule, self.after))

    def lines(self) -> list[str]:
        """A line for each field that differs."""
        return difference(self.before.rule, self.after)

    def effects(self, *, has_positions: bool, running: bool) -> list[str]:
        """What follows, a sentence each."""
        return effects(
            self.before.rule, self.after, has_positions=has_positions, forgets=self.forget_positions, running=running
        )

    def as_json(self, *, has_positions: bool, running: bool) -> dict[str, Any]:
        """As JSON can hold it."""
        was, will = self.before.rule.model_dump(mode="json"), self.after.model_dump(mode="json")
        fields = changed(self.before.rule, self.after)
        return {
            "name": self.after.name,
            "changes": {name: {"before": was[name], "after": will[name]} for name in fields},
            "effects": self.effects(has_positions=has_positions, running=running),
        }


def edited(
    before: Rule, values: Mapping[str, Any], *, unset: Sequence[str] = (), whole: Mapping[str, Any] | None = None
) -> Rule:
    """The rule with other values in some fields, or as ``whole`` says.

    Fields in ``unset``, and those that ``whole`` leaves out, get their defaults. Raises ConfigurationError with all
    that is wrong with the fields, and where the name is to be another one.
    """
    problems = [
        f"--unset={name}: a rule has no such field. rule edit --help lists them."
        for name in unset
        if name not in Rule.model_fields
    ]
    problems += [
        f"--unset={name}: a value is given for it as well. Leave out one of the two."
        for name in unset
        if name in values
    ]
    if "name" in unset:
        problems.append("--unset=name: a rule's name is never changed.")
    document = dict(before.document() if whole is None else whole)
    named = document.setdefault("name", before.name)
    if named != before.name or values.get("name", before.name) != before.name:
        problems.append(
            f"name: is never changed, and this rule is {before.name}. Create another rule instead: rule export gives a "
            "file to start from."
        )
    if problems:
        raise ConfigurationError(*problems)
    kept = {name: value for name, value in document.items() if name not in unset}
    return read_rule({**kept, **values, "name": before.name})
