"""Errors of rules and runs, of the tree in ``transforms/errors.py``.

::

    ConfigurationError
    ├── NoSuchRuleError      no rule has that name
    ├── NoSuchRunError       no run has that id
    ├── RuleExistsError      the name is taken
    ├── RuleChangedError     somebody else has changed the rule meanwhile
    └── StoreError           the store cannot be reached, read or written
    BackupError
    ├── RuleBusyError        another run holds the rule's lease
    └── LeaseLostError       this run has lost it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transforms.errors import BackupError, ConfigurationError

if TYPE_CHECKING:
    from pipelines.rules.records import StoredRule


class NoSuchRuleError(ConfigurationError):
    """No rule has that name."""


class NoSuchRunError(ConfigurationError):
    """No run has that id."""


class RuleExistsError(ConfigurationError):
    """The name is taken."""


def taken(name: str) -> RuleExistsError:
    """What is said where there is a rule of that name."""
    return RuleExistsError(f"There is a rule {name} already. Choose another name, or edit that one.")


class RuleChangedError(ConfigurationError):
    """Somebody else has changed the rule meanwhile."""


def changed_meanwhile(found: StoredRule, seen: int) -> RuleChangedError:
    """What is said to who wants to change a rule of which he has seen another revision."""
    return RuleChangedError(
        f"Rule {found.rule.name} was changed by {found.changed_by} at {found.changed:%Y-%m-%d %H:%M:%S}Z, while you "
        f"worked on revision {seen}. Look at it again (rule show {found.rule.name}), and repeat your change."
    )


class StoreError(ConfigurationError):
    """The store cannot be reached, read or written."""


class RuleBusyError(BackupError):
    """Another run holds the rule's lease."""


class LeaseLostError(BackupError):
    """A run was not heard of for too long, and another one may have taken its rule over."""
