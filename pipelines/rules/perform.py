"""One run of a rule, in this process: under its lease, with its record kept from the first second on.

A run that cannot renew its lease ends itself before another may begin. What was stored stays, whoever stored it: a
later run finds it at the destination and leaves it out.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipelines import backup, ending, logs, signals
from pipelines.rules import streams
from pipelines.rules.arguments import in_names_of_fields
from pipelines.rules.configure import RunOptions, configured
from pipelines.rules.database import data_folder
from pipelines.rules.errors import LeaseLostError, StoreError
from pipelines.rules.keeping import kept
from pipelines.rules.records import PartitionRecord, Reached, RunRecord, RunState, Trigger
from pipelines.rules.store import RuleStore, this_holder, utc_now
from pipelines.summary import Summary
from transforms import progress
from transforms.errors import AccessError, BackupError, ConfigurationError, TopicNotFoundError
from transforms.progress import Progress
from transforms.pulsar.positions import EARLIEST
from transforms.pulsar.request import Resolution

_log = logging.getLogger("pipelines.rules")


def perform(store: RuleStore, record: RunRecord, options: RunOptions) -> tuple[int, Summary | None]:
    """Make the run whose record was begun; gives its exit code, and its summary if it succeeded.

    Errors are told on stderr and kept in the record. Raises none but KeyboardInterrupt.
    """
    run = _Run(store, record)
    with run.logged(), signals.ended_by(run.interrupted):
        try:
            with kept(store, record.id, run.progress):
                return run.made(options)
        except Exception as error:
            return run.failed(error), None


@dataclass
class _Run:
    store: RuleStore
    record: RunRecord
    _seen: Progress = field(init=False)
    _write: Callable[[str], None] = lambda _: None
    _reached: dict[str, Reached] = field(default_factory=dict)
    _partitions: dict[str, PartitionRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Kept, for the job forgets it when it ends.
        self._seen = progress.progress_of(self.record.id)

    def made(self, options: RunOptions) -> tuple[int, Summary | None]:
        """Do what the rule says. Raises BackupError."""
        store, record = self.store, self.record
        store.renew(record.id, holder=this_holder(), log_file=str(log_file(record)))
        rule = store.rule_of(record)
        positions = store.positions(record.rule_id)
        config = configured(rule, options, positions, store.run(options.repeat) if options.repeat else None)
        if config.streaming:
            return self.streamed(streams.keep(store, record, rule, config)), None
        streams.refuse_beside(store, record, rule)
        if not positions and not options.reprocesses and streams.has_streamed(store, record):
            config = streams.from_subscription(config)
        summary = backup.run(config, record.id, partial(self.begun, positions))
        return self.succeeded(summary), summary

    def begun(self, positions: Mapping[str, Reached], resolution: Resolution) -> None:
        """All is checked; note between which positions the run reads."""
        now = utc_now()
        self._partitions = {
            each.partition.name: PartitionRecord(str(each.start), str(each.stop)) for each in resolution.ranges
        }
        for each in resolution.ranges:
            before = positions.get(each.partition.name)
            # What lies before the start of a first run is no business of the subscription if it was behind it already.
            origin = str(EARLIEST if each.partition in resolution.acknowledge or each.start == EARLIEST else each.start)
            self._reached[each.partition.name] = Reached(before.origin if before else origin, str(each.stop), now)
        self.store.renew(self.record.id, partitions=self._partitions, warnings=resolution.warnings)

    def succeeded(self, summary: Summary) -> int:
        """Keep what it has done, and where it has come to."""
        partitions = {
            each.partition: PartitionRecord(
                each.start, each.stop, each.messages, each.files, each.file_bytes, tuple(each.gaps)
            )
            for each in summary.partitions
        }
        try:
            self.store.end(
                self.record.id,
                RunState.SUCCEEDED,
                exit_code=0,
                reached=None if self.record.trigger is Trigger.REPROCESS else self._reached,
                partitions=partitions,
                warnings=summary.warnings,
                messages=summary.messages,
                bytes=summary.file_bytes,
                files=summary.files,
                already_stored=summary.already_stored,
                gaps=sum(len(each.gaps) for each in summary.partitions),
                retries=self._seen.retries,
            )
        except BackupError as error:
            return self._told(error)
        return 0

    def streamed(self, found: Mapping[str, Any]) -> int:
        """A job without an end has ended, as its rule asked for."""
        self.store.end(self.record.id, RunState.SUCCEEDED, exit_code=0, **found)
        return 0

    def failed(self, error: Exception) -> int:
        """Keep why."""
        code = self._told(error)
        said, _ = ending.explained(error)
        self._write("".join(traceback.format_exception(error)))
        lasting = isinstance(error, ConfigurationError | AccessError | TopicNotFoundError)
        if not isinstance(error, LeaseLostError):
            with self._as_far_as_the_store_goes():
                self.store.end(
                    self.record.id,
                    RunState.FAILED,
                    exit_code=code,
                    error=in_names_of_fields(said),
                    lasting=lasting and not isinstance(error, StoreError),
                    **self.progress(),
                )
        return code

    def interrupted(self, sentence: str, code: int) -> None:
        """A signal ends the process."""
        with self._as_far_as_the_store_goes():
            self.store.end(self.record.id, RunState.INTERRUPTED, exit_code=code, error=sentence, **self.progress())

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Keep a copy of the log in a file of this run."""
        path = log_file(self.record)
        with ExitStack() as stack:
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._write = stack.enter_context(logs.copied_to(path))
            except OSError as error:
                _log.warning("%s: the run's log cannot be kept there (%s).", path, error.strerror)
            yield

    def progress(self) -> dict[str, Any]:
        """How far it is, as the record holds it."""
        if not self._partitions:
            return {}  # nothing was begun, or it is a job without an end, whose counts Flink has
        seen = self._seen
        partitions = dict(self._partitions)
        for partition, at in list(seen.partitions.items()):
            if partition.name in partitions:
                partitions[partition.name] = replace(partitions[partition.name], messages=at.messages)
        found: dict[str, Any] = {
            "messages": sum(each.messages for each in partitions.values()),
            "bytes": seen.file_bytes,
            "files": seen.files,
            "retries": seen.retries,
        }
        return found | {"partitions": partitions}

    def _told(self, error: Exception) -> int:
        said, code = ending.explained(error)
        for line in in_names_of_fields(said).splitlines():
            logs.tell(line, code)
        return code

    @contextmanager
    def _as_far_as_the_store_goes(self) -> Iterator[None]:
        try:
            yield
        except BackupError as error:
            _log.warning("%s", error)


def log_file(record: RunRecord) -> Path:
    """Where the log of a run is kept, on the machine where it runs."""
    return data_folder() / "logs" / record.rule_name / f"{record.id}.log"
