"""The preflight of a rule: all that can be known before it runs. Imports Beam."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pipelines import backup
from pipelines.check import Plan
from pipelines.options import BackupConfig
from pipelines.rules.arguments import in_names_of_fields
from pipelines.rules.configure import RunOptions, configured
from pipelines.rules.model import Rule
from pipelines.rules.preview import Daily, daily
from pipelines.rules.records import Reached
from transforms.errors import BackupError, ConfigurationError


def check_in_place(rule: Rule, positions: Mapping[str, Reached]) -> tuple[Plan, Daily]:
    """What its next run would do, and what it will store in a day.

    Nothing is created, written or acknowledged, but an object of the destination's check, which is removed. Raises
    BackupError in the names of fields.
    """
    config = configured(rule, RunOptions(), positions)
    with told_in_names_of_fields():
        found = backup.check(config, goes_on=True)
    return found, daily_of(config, found)


def daily_of(config: BackupConfig, found: Plan) -> Daily:
    """What comes in a day."""
    return daily(
        found.partitions,
        window_seconds=config.windows.size / 1000,
        file_messages=config.limits.messages,
        file_bytes=config.limits.bytes,
    )


@contextmanager
def told_in_names_of_fields() -> Iterator[None]:
    """Errors of the job inside, with fields in place of its options."""
    try:
        yield
    except BackupError as error:
        said = in_names_of_fields(str(error))
        error.args = (said,)
        if isinstance(error, ConfigurationError):
            error.problems = tuple(said.splitlines())
        raise
