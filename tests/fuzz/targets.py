"""All that reads things from outside, by name."""

from __future__ import annotations

# Importing them adds their targets.
from tests.fuzz import kept_by_runners, names, payloads, sent_by_brokers, written_by_people  # noqa: F401
from tests.fuzz.target import TARGETS

__all__ = ["TARGETS"]
