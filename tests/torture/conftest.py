from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.conftest import bucket, client, new_bucket, secrets_of_the_bucket


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """How long streams can wait is for make torture alone: there is nothing to be shortened in waiting."""
    return True if collection_path.name == "test_stream_waits.py" and not config.getoption("--torture") else None


__all__ = ["bucket", "client", "new_bucket", "secrets_of_the_bucket"]
