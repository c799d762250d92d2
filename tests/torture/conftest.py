from __future__ import annotations

from tests.pipelines.conftest import bucket, client, new_bucket, secrets_of_the_bucket

__all__ = ["bucket", "client", "new_bucket", "secrets_of_the_bucket"]
