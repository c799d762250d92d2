"""Names of runs."""

from __future__ import annotations

import uuid
from datetime import datetime


def new_name(started: datetime) -> str:
    """The name of a run, which no other has."""
    return f"{started:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
