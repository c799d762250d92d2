"""Faults that any request to COS may meet, and that pass."""

from __future__ import annotations

from transforms.testing.cos_faults import FaultKind

WITHOUT_EFFECT: list[FaultKind] = [
    "500",
    "503",
    "429",
    "html",
    "empty",
    "request-timeout",
    "reset-before",
    "reset-during",
    "expired-token",
    "skewed",
]
AFTER_THE_EFFECT: list[FaultKind] = ["reset-after", "500-after", "truncated"]
