"""What the process of a run, its host and its workers tell each other; picklable."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

from transforms.cos.sink import WriteSettings
from transforms.cos.written import PartitionReport, SchemaSeen, WrittenFile
from transforms.progress import Snapshot
from transforms.pulsar.feeds import ReadSettings
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.restriction import PartitionRange


@dataclass(frozen=True)
class Share:
    """What one worker does."""

    ranges: list[PartitionRange]
    read: ReadSettings
    write: WriteSettings


@dataclass(frozen=True)
class Order:
    """What the host gets: the shares, one for each worker, and what all of them are set up with."""

    shares: list[Share]
    beam_args: tuple[str, ...]
    manifests: bool
    """Whether what they are made of is told."""
    levels: dict[str, int]
    """Levels of loggers by their names; ``root`` is among them."""


class Result(NamedTuple):
    """Something that a stage has told; see ``RunResults.take``."""

    value: WrittenFile | PartitionReport | Gap | SchemaSeen


class ToldOf(NamedTuple):
    """What ``WriteManifests`` would be told of a topic."""

    topic: str
    encoded: bytes


class Logged(NamedTuple):
    """A line of the log."""

    record: logging.LogRecord


class Failed(NamedTuple):
    """The worker has failed, and ends."""

    error: Exception
    trace: str
    """Its traceback there."""


class Done(NamedTuple):
    """The worker has done its share, and ends."""


class Ended(NamedTuple):
    """The host tells of a worker's process that it has ended."""

    worker: int
    pid: int
    code: int
    """As ``Popen.returncode``: negative where a signal has ended it."""


FromWorker = Result | ToldOf | Logged | Snapshot | Failed | Done
