"""All that can be checked before the first message is read: source and destination, at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from pipelines.options import BackupConfig
from transforms.at_once import at_once
from transforms.cos.destination import check_writable
from transforms.errors import ConfigurationError
from transforms.files.naming import Layout
from transforms.pulsar.preflight import check_source
from transforms.pulsar.request import Resolution


class Preflight(NamedTuple):
    """What was found."""

    resolution: Resolution
    """With the subscription as it is: nothing was created."""
    layout: Layout
    """As it fits the destination."""
    warnings: list[str]
    """What is not wrong, and should be known, beside the warnings of the resolution."""


def preflight(config: BackupConfig) -> Preflight:
    """Check source and destination; creates nothing and leaves nothing behind.

    Raises BackupError; the problems of both ends together, those of the source first.
    """
    granularity = config.windows.size // 1000
    found: list[Any] = at_once(
        [
            lambda: check_source(config.request, granularity),
            lambda: check_writable(config.destination, manifests=config.manifest),
        ]
    )
    (resolution, of_source), writable = found
    layout = _fitting_layout(config, resolution, case_blind=writable.case_blind)
    return Preflight(resolution, layout, [*of_source, *writable.warnings])


def _fitting_layout(config: BackupConfig, resolution: Resolution, *, case_blind: bool) -> Layout:
    """The layout for the destination as it is. Raises ConfigurationError where it cannot hold these partitions."""
    layout = replace(config.layout, case_blind=case_blind)
    partitions = [each.partition for each in resolution.ranges]
    problems = list(layout.clashes(partitions))
    if case_blind or config.request.pattern is not None:
        problems += layout.topic_problems(
            {each.topic for each in partitions}, on_files=config.destination.folder is not None
        )
    if problems:
        raise ConfigurationError(*problems)
    return layout
