"""Memory does not grow with the number of objects."""

from __future__ import annotations

import subprocess
import sys

from tests.pipelines.verify.many_objects import IN_WINDOW
from transforms.verify.windows import HELD

OBJECTS = 50_000
BYTES = 32_000_000


def test_memory_is_bounded_by_a_folder_or_a_window() -> None:
    assert OBJECTS > 4 * HELD
    template = "{cluster}/{namespace}/{topic}/"  # all in one folder
    command = [sys.executable, "-m", "tests.pipelines.verify.many_objects", str(OBJECTS // IN_WINDOW), template]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # All names together would be about twice that.
    assert grown < BYTES
