"""All that can be checked before the first message is read: source and destination, at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from pipelines.options import BackupConfig
from pipelines.runner_options import given_options
from transforms.at_once import at_once
from transforms.cos.destination import check_writable
from transforms.errors import ConfigurationError
from transforms.files.naming import Layout
from transforms.pulsar.positions import EARLIEST
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


def refuse_moving_over_unread(config: BackupConfig, resolution: Resolution) -> None:
    """Raise ConfigurationError where a stream would acknowledge what it does not read, and somebody kept.

    A run with an end acknowledges nothing there. A stream acknowledges all up to where it is, again and again, and has
    to: what it was begun with is in its state, which does not know of subscriptions. One that goes on from a savepoint
    begins there, not at the start that is given.
    """
    request = config.request
    if not config.streaming or not config.acknowledge or request.subscription is None:
        return
    if "savepoint_path" in given_options(config.beam_args):
        return
    unread = [
        each.partition.name
        for each in resolution.ranges
        if each.start > EARLIEST and each.partition not in resolution.acknowledge | resolution.missing
    ]
    if unread:
        raise ConfigurationError(
            f"--start={request.start}: the subscription {request.subscription} stands before it, or the broker does "
            f"not tell where, in {', '.join(unread)}. A stream moves its subscription on, also over what lies between, "
            "which nobody would have read. Give --start=subscription, or a --subscription of its own; one that nobody "
            "needs can be deleted."
        )


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
