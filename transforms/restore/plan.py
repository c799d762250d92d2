"""Which objects a restore reads, found from names and run records before anything is sent."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from transforms.cos.store import ObjectStore
from transforms.cos.stored_files import QUARANTINE, RUNS, OtherObject, StoredFile, stored_objects
from transforms.errors import ConfigurationError, DamagedError, DestinationError
from transforms.files.decode import partition_of, read_records
from transforms.files.folders import Folders
from transforms.files.manifest import RunRecord, from_json
from transforms.files.naming import DEFAULT_PATH
from transforms.pulsar.positions import Position
from transforms.pulsar.schemas import TopicSchema
from transforms.restore.merge import BackupObject
from transforms.restore.selection import Selection

#: Rises when equal plans are sent otherwise: then nothing goes on where an older version of this tool has stopped.
_VERSION: Final = 2
_PAYLOAD, _QUARANTINED, _VALUE = range(3)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """What is read of one partition. Picklable; an element of the pipeline."""

    topic: str
    """Full name, without partition."""
    partition: int
    """Index; 0 also for a topic without partitions."""
    objects: tuple[BackupObject, ...]

    @property
    def messages(self) -> int:
        """As many as the names tell; a filter may leave out some."""
        return sum(each.messages for each in self.objects)

    @property
    def start(self) -> Position:
        """The first message there may be."""
        return min(each.first for each in self.objects)

    @property
    def stop(self) -> Position:
        """Behind the last message there may be."""
        return max(each.last for each in self.objects).next_message()


@dataclass(slots=True)
class RestorePlan:
    """What is restored."""

    topic: str
    format: str
    partitions: list[PartitionPlan] = field(default_factory=list)
    source_partitions: int | None = None
    """How many the topic had, at least; None where no run record tells. A topic without any has one."""
    schemas: dict[int, TopicSchema] = field(default_factory=dict)
    """By version, as run records have them."""

    @property
    def highest(self) -> int:
        """The highest index that is to be restored."""
        return max((each.partition for each in self.partitions), default=0)

    @property
    def objects(self) -> int:
        """How many are read."""
        return sum(len(each.objects) for each in self.partitions)

    def identity(self, *more: Any) -> str:
        """A name for the restore of exactly these objects, and of ``more``: equal when it is started again."""
        objects = [[each.partition, [[one.key, one.size] for one in each.objects]] for each in self.partitions]
        told = json.dumps([_VERSION, self.topic, objects, *more], default=str)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


#: Objects of one topic, by format and partition.
_Found = defaultdict[str, defaultdict[int, list[StoredFile]]]


def plan_restore(
    store: ObjectStore,
    prefix: str,
    selection: Selection,
    *,
    topic: str | None = None,
    file_format: str | None = None,
    path_template: str | None = None,
) -> RestorePlan:
    """List a backup and choose what is restored of it.

    ``topic`` is a full name without partition, and may be left out where the backup holds one only; ``file_format`` is
    ``avro`` or ``jsonl``, and may be left out where one was used. ``path_template`` is that of the backup; by default
    what its run records tell, else the default. Raises ConfigurationError where that is not enough to choose by, and
    DestinationError where nothing is left.
    """
    records = list(_run_records(store, prefix))
    templates = [path_template] if path_template else [each.path_template for each in records] or [DEFAULT_PATH]
    folders = [Folders(template) for template in dict.fromkeys(templates)]
    found = _objects_by_topic(store, prefix, folders, topic)
    if topic is None:
        if len(found) > 1:
            raise ConfigurationError(
                f"--topic is missing: the backup holds {', '.join(sorted(found))}. Name the one to be restored."
            )
        topic = next(iter(found), None)
    if topic is None or topic not in found:
        wanted = f"of {topic} " if topic else ""
        others = f" It holds {', '.join(sorted(found))}." if found else ""
        raise DestinationError(
            f"the backup holds no object {wanted}below {prefix or 'its folder'}. Check --backup, --topic and, if the "
            f"backup had one, --path_template.{others}"
        )
    by_format = found[topic]
    if file_format is None and len(by_format) > 1:
        raise ConfigurationError(
            f"{topic} is stored as {' and as '.join(sorted(by_format))}: give --format, so that it is restored once."
        )
    chosen = file_format or next(iter(by_format))
    plan = RestorePlan(topic, chosen)
    for partition, files in sorted(by_format.get(chosen, {}).items()):
        taken = [_object(each) for each in files if selection.takes_file(each.name)]
        if taken:
            taken.sort(key=lambda each: (each.first, each.rank, each.key))
            plan.partitions.append(PartitionPlan(topic, partition, tuple(taken)))
    if not plan.partitions:
        raise DestinationError(
            f"{topic}: none of the backup's objects is chosen by --format={chosen}, --partition, --start, --end, "
            "--window_start and --window_end together. Leave out some of them."
        )
    _take_in(plan, records)
    return plan


def _take_in(plan: RestorePlan, records: Iterable[RunRecord]) -> None:
    """What run records tell of the topic."""
    counts = [each.partition + 1 for record in records for each in record.read if each.topic == plan.topic]
    if counts:
        # -1 for a topic without partitions.
        plan.source_partitions = max(*counts, 1)
    for record in sorted(records, key=lambda each: each.ended):
        for each in record.schemas:
            if each.topic == plan.topic:
                plan.schemas[each.schema_version] = TopicSchema(each.type, each.definition, each.properties)


def _run_records(store: ObjectStore, prefix: str) -> Iterable[RunRecord]:
    for found in stored_objects(store, prefix, RUNS):
        if isinstance(found, OtherObject) and found.base.endswith(".json"):
            try:
                yield from_json(RunRecord, b"".join(store.read(found.key)), found.key)
            except DamagedError as error:
                _log.warning("%s It is left out.", error)


def _objects_by_topic(
    store: ObjectStore, prefix: str, folders: Sequence[Folders], topic: str | None
) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    topics: dict[str, str] = {}
    for below in _places(folders, topic):
        for each in stored_objects(store, prefix, below):
            if not isinstance(each, StoredFile):
                continue
            if each.folder not in topics:
                told = {name for one in folders if (name := one.topic_of(each.folder))}
                topics[each.folder] = told.pop() if len(told) == 1 else _topic_inside(store, each)
            name = topics[each.folder]
            if name not in found:
                found[name] = defaultdict(lambda: defaultdict(list))
            found[name][each.name.format][each.name.partition].append(each)
    return found


def _places(folders: Sequence[Folders], topic: str | None) -> list[str]:
    """What the folders of a topic begin with, in both areas; all, where that is not known."""
    if topic is None:
        return [""]
    begins = {begin for each in folders for begin in each.prefixes_of(topic)}
    shortest = sorted(each for each in begins if not any(each != one and each.startswith(one) for one in begins))
    # An empty one covers quarantine too.
    return shortest if shortest == [""] else [area + each for area in ("", QUARANTINE) for each in shortest]


def _topic_inside(store: ObjectStore, file: StoredFile) -> str:
    """The topic of an object whose folder does not tell it: that of its first record."""
    for record in read_records(store.read(file.key), file.name.extension, file.key):
        return partition_of(record).topic
    raise DamagedError(f"{file.key} is damaged: it holds no message.")


def _object(file: StoredFile) -> BackupObject:
    rank = _QUARANTINED if file.area == QUARANTINE else _VALUE if file.name.version else _PAYLOAD
    run = file.name.run
    return BackupObject(file.key, run.first, run.last, run.messages, file.size, file.name.extension, rank)
