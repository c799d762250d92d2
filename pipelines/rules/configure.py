"""What one run of a rule reads and writes: the job that it is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.options import BackupConfig
from pipelines.rules.arguments import check_rule
from pipelines.rules.model import Rule
from pipelines.rules.records import Reached, RunRecord, Trigger
from transforms.errors import ConfigurationError
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.points import parse_end, parse_start
from transforms.pulsar.positions import Position
from transforms.pulsar.request import Resume, Stored


@dataclass(frozen=True)
class RunOptions:
    """What a run does that its rule does not say."""

    start: str | None = None
    end: str | None = None
    """A stretch of history, as ``start_point`` and ``end_point``; neither positions nor the subscription are moved."""
    destination_path: str | None = None
    """Elsewhere than the rule says."""
    repeat: str | None = None
    """The run whose stretches are read again."""
    recreate_subscription: bool = False
    log_level: str = "INFO"
    log_format: str = "text"

    @property
    def reprocesses(self) -> bool:
        """Whether it is beside the sequence of runs."""
        return any(each is not None for each in (self.start, self.end, self.destination_path, self.repeat))

    @property
    def trigger(self) -> Trigger:
        """Why a run with them is made, by hand."""
        return Trigger.REPROCESS if self.reprocesses else Trigger.MANUAL

    def command(self, rule: str) -> str:
        """The command line that makes such a run."""
        given = (
            ("--from", self.start),
            ("--to", self.end),
            ("--destination-path", self.destination_path),
            ("--repeat", self.repeat),
        )
        words = [
            "tdmq-backup",
            "run",
            rule,
            *(word for name, value in given if value is not None for word in (name, value)),
        ]
        return shlex.join([*words, *(["--recreate-subscription"] if self.recreate_subscription else [])])


def configured(
    rule: Rule, options: RunOptions, positions: Mapping[str, Reached], repeated: RunRecord | None = None
) -> BackupConfig:
    """The job that a run of the rule is. Raises ConfigurationError with all that is wrong."""
    if options.destination_path is not None:
        rule = rule.model_copy(update={"destination_path": options.destination_path})
    checked = check_rule(rule)
    config = replace(checked, rule=rule.name, log_level=options.log_level, log_format=options.log_format)
    if options.reprocesses:
        start, end = _stretch(options)
        request = replace(config.request, start=start, end=end, subscription=None, beside=True)
        if repeated is not None:
            request = replace(request, stretches=_stretches(repeated))
        return replace(config, request=request, acknowledge=False, streaming=False)
    if not positions:
        return config
    resume = Resume(
        stored={
            TopicPartition.parse(name): Stored(_position(each.origin), _position(each.upto))
            for name, each in positions.items()
        },
        ended=min(each.found for each in positions.values()),
        recreate_subscription=options.recreate_subscription,
    )
    return replace(config, request=replace(config.request, resume=resume))


def _stretches(run: RunRecord) -> dict[TopicPartition, tuple[Position, Position]]:
    if not run.partitions:
        raise ConfigurationError(
            f"--repeat={run.id}: that run ended before it knew where to read. Leave the option out."
        )
    return {
        TopicPartition.parse(name): (_position(each.start), _position(each.stop))
        for name, each in run.partitions.items()
    }


def _stretch(options: RunOptions) -> tuple[Any, Any]:
    if options.repeat is not None and (options.start is not None or options.end is not None):
        raise ConfigurationError(
            "--repeat: the run has a beginning and an end. Leave out --from and --to, or --repeat."
        )
    problems, found = [], []
    for name, read, text in (
        ("--from", parse_start, options.start or "earliest"),
        ("--to", parse_end, options.end or "now"),
    ):
        try:
            found.append(read(text))
        except ConfigurationError as error:
            problems += [each.replace("--start", name).replace("--end", name) for each in error.problems]
    if problems:
        raise ConfigurationError(*problems)
    start, end = found
    if start.word == "subscription":
        raise ConfigurationError(
            "--from=subscription: a stretch of history has a beginning of its own. Give a date-time."
        )
    if start.time is not None and end.time is not None and start.time >= end.time:
        raise ConfigurationError(
            f"--from={options.start} is not before --to={options.end}: there is nothing between them."
        )
    return start, end


def _position(text: str) -> Position:
    return Position(*map(int, text.split(":")))
