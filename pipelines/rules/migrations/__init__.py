"""The schema of the store, step by step. A step that has been released is never changed: a new one is added.

``upgrade`` runs by itself when a store is opened. A new step also becomes ``database.NEWEST``.
"""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from pipelines.rules.errors import StoreError


def scripts() -> ScriptDirectory:
    """All steps."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return ScriptDirectory.from_config(config)


def upgrade(on: Connection, to: str = "head") -> None:
    """Bring the schema up to a step, within the transaction of ``on``. Raises StoreError for one of a newer version."""
    steps = scripts()
    present = MigrationContext.configure(on).get_current_revision()
    known = {each.revision for each in steps.walk_revisions()}
    if present is not None and present not in known:
        raise StoreError(
            f"The store was written by a newer version of tdmq-backup (its schema is {present}). Install that one here."
        )
    with EnvironmentContext(steps.config if hasattr(steps, "config") else Config(), steps) as environment:
        environment.configure(connection=on, fn=lambda revision, _: steps._upgrade_revs(to, revision))
        environment.run_migrations()
