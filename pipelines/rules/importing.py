"""Making the store equal to files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.rules.arguments import check_rule
from pipelines.rules.changes import difference
from pipelines.rules.model import Rule, read_rule
from pipelines.rules.records import StoredRule
from pipelines.rules.store import RuleStore
from transforms.errors import ConfigurationError


@dataclass(frozen=True)
class Step:
    """What becomes of one rule: made, where it has no ``before``; deleted, where it has no ``after``."""

    name: str
    before: StoredRule | None
    after: Rule | None

    @property
    def verb(self) -> str:
        """In a word."""
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "edit"

    def lines(self) -> list[str]:
        """The step, and below it what it changes."""
        changes = difference(self.before.rule, self.after) if self.before and self.after else []
        return [f"{self.verb} {self.name}", *(f"  {each}" for each in changes)]


def read_rules(documents: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Rule]:
    """The rules of files; each document comes with the name of its file.

    Raises ConfigurationError with all that is wrong, in all files. What the files name on the machine where they run
    (variables, files) may be missing here.
    """
    found: dict[str, tuple[str, Rule]] = {}
    problems: list[str] = []
    for where, values in documents:
        try:
            rule = read_rule(values)
            check_rule(rule, elsewhere=True)
        except ConfigurationError as error:
            problems += [f"{where}: {each}" for each in error.problems]
            continue
        if rule.name in found:
            problems.append(f"{where}: the rule {rule.name} stands in {found[rule.name][0]} as well. Leave one out.")
        found[rule.name] = where, rule
    if problems:
        raise ConfigurationError(*problems)
    return [rule for _, rule in found.values()]


def steps(present: Sequence[StoredRule], wanted: Sequence[Rule], *, prune: bool) -> list[Step]:
    """What makes the store have the wanted rules; with ``prune`` only those. Rules that are so already have none."""
    before = {each.rule.name: each for each in present}
    found = [
        Step(rule.name, before.get(rule.name), rule)
        for rule in wanted
        if rule.name not in before or before[rule.name].rule != rule
    ]
    names = {rule.name for rule in wanted}
    if prune:
        found += [Step(name, stored, None) for name, stored in before.items() if name not in names]
    return found


def take(store: RuleStore, step: Step) -> None:
    """Do it.

    Raises RuleExistsError, NoSuchRuleError or RuleChangedError where somebody else was faster, and RuleBusyError for a
    rule that runs and is to be deleted.
    """
    if step.before is None and step.after is not None:
        store.create(step.after)
    elif step.before is not None and step.after is not None:
        store.edit(step.after, step.before.revision)
    elif step.before is not None:
        store.delete(step.name, step.before.revision)
