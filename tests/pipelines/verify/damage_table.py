"""A table of what can happen to a backup, and what verify must say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.pipelines.verify import damages as do
from tests.pipelines.verify.damages import Expected
from tests.pipelines.verify.stored_backup import ORDERS, SECONDS, Kind, StoredBackup
from transforms.verify.findings import Kind as Found

ROLES = ("bucket", "folder")


@dataclass(frozen=True)
class Damage:
    """One thing that happens to a backup."""

    what: str
    do: Callable[[StoredBackup], Expected]
    deep: Expected = ()
    """What only reading the contents tells."""
    where: tuple[str, ...] = ROLES
    payloads: tuple[str, ...] = ("bytes", "json", "value")
    """Kinds of payload of which a backup can have it."""

    files: tuple[str, ...] = ()
    """Formats and codecs of which a backup can have it; empty for all."""

    def happens_to(self, where: str, kind: Kind) -> bool:
        return where in self.where and kind.payload in self.payloads and (not self.files or kind.files in self.files)


LINES = ("jsonl-none",)
BYTES = ("bytes", "json")
KEY = "/orders/"
DAMAGES: Iterable[Damage] = [
    Damage("an object removed", do.removed),
    Damage("a window removed, with its manifests", do.removed_with_its_window),
    Damage("an object truncated", do.truncated, [(Found.UNREADABLE, KEY)]),
    Damage("a bit flipped where an object is kept", do.bit_flipped_at_rest, [(Found.CRC64, KEY)]),
    Damage("a byte changed, the size kept", do.changed_with_its_size_kept, [(Found.CRC64, KEY)]),
    Damage("two objects swapped", do.swapped, [(Found.PARTITION, KEY), (Found.CRC64, KEY)]),
    Damage("an object duplicated under another cut", do.copied_under_another_cut, [(Found.COUNT, KEY)]),
    Damage("an object that overlaps another", do.overlapping, [(Found.IDS, KEY)]),
    Damage("a manifest lost", do.manifest_lost),
    Damage("the first of two manifests lost", do.first_manifest_lost),
    Damage("a file left out of a manifest", do.manifest_names_one_less),
    Damage("a file added to a manifest", do.manifest_names_one_more),
    Damage(
        "another count in a manifest", do.manifest_edited("messages", 7_000_000, Found.CHANGED_MANIFEST, "manifest")
    ),
    Damage("another id in a manifest", do.manifest_edited("first", "1:1:0", Found.CHANGED_MANIFEST, "manifest")),
    Damage("another size in a manifest", do.manifest_edited("bytes", 7, Found.SIZE, "file")),
    Damage(
        "another CRC64 in a manifest",
        do.manifest_edited("crc64", "7", Found.CRC64, "file"),
        [(Found.CRC64, KEY)],
    ),
    Damage("times in a manifest", do.times_in_a_manifest, [(Found.TIMES, KEY)]),
    Damage("another reading in a manifest", do.manifest_of_another_reading),
    Damage("a file named by two manifests", do.named_twice),
    Damage("a manifest cut off", do.manifest_not_readable),
    Damage("the manifest of another window", do.manifest_of_another_window),
    Damage("the manifest of another topic", do.manifest_of_another_topic),
    Damage("an object of another topic", do.object_of_another_topic, [(Found.PARTITION, KEY)]),
    Damage(
        "a topic's objects in another topic's folder", do.folder_of_another_topic, [(Found.PARTITION, "/orders-2/")]
    ),
    Damage("a run record lost", do.record_lost),
    Damage("a run record cut off", do.record_not_readable),
    Damage("a run record copied", do.record_copied),
    Damage(
        "more messages in a run record",
        do.record_edited(lambda record: record["read"][0].update(messages=1_000), (Found.FEWER, "_runs/run-1.json")),
    ),
    Damage(
        "fewer messages in a run record",
        do.record_edited(lambda record: record["read"][0].update(messages=1), (Found.MORE, "_runs/run-1.json")),
    ),
    Damage(
        "a partition left out of a run record",
        do.record_edited(lambda record: record["read"].pop(0), (Found.UNPROVED, "-p0000-")),
    ),
    Damage(
        "a gap in a run record",
        do.record_edited(
            lambda record: record["gaps"].append(
                {"topic": ORDERS, "partition": 0, "start": "1:0:0", "stop": "7:0:0", "certain": True}
            ),
            (Found.GAP, "_runs/run-1.json"),
        ),
    ),
    Damage(
        "another count in a name",
        do.renamed(lambda name: name._replace(run=name.run._replace(messages=99)), Found.METADATA),
        [(Found.COUNT, "-000099.")],
    ),
    Damage(
        "another last id in a name",
        do.renamed(
            lambda name: name._replace(run=name.run._replace(last=name.run.last.next_message())), Found.METADATA
        ),
        [(Found.IDS, KEY)],
    ),
    Damage(
        "another first id in a name",
        do.renamed(
            lambda name: name._replace(run=name.run._replace(first=name.run.first.next_message())), Found.METADATA
        ),
        [(Found.IDS, KEY)],
    ),
    Damage(
        "another window in a name",
        do.renamed(lambda name: name._replace(window=name.window + SECONDS * 1000), Found.METADATA),
        [(Found.WINDOW, KEY)],
    ),
    Damage(
        "another partition in a name",
        do.renamed(lambda name: name._replace(partition=5)),
        [(Found.PARTITION, "-p0005-")],
    ),
    Damage("an object of another granularity", do.of_another_granularity),
    Damage("an empty object", do.empty),
    Damage("an object of another format", do.of_another_format, [(Found.UNREADABLE, KEY)]),
    Damage("an object in the folder of another hour", do.in_another_hour),
    Damage("an object renamed to what is no name", do.renamed_to_no_name),
    Damage("a spooled part left behind", do.spool_left),
    Damage("an upload left behind", do.upload_left, where=("bucket",)),
    Damage("an object in quarantine removed", do.in_quarantine(do.quarantine_removed), payloads=("value",)),
    Damage(
        "an object in quarantine cut off",
        do.in_quarantine(do.quarantine_cut),
        [(Found.SIZE, "_quarantine/")],
        payloads=("value",),
    ),
    Damage(
        "another schema version in a name",
        do.another_schema_version,
        [(Found.SCHEMA, "-v000001-")],
        payloads=("value",),
    ),
    Damage("metadata of another count", do.metadata_changed(messages="1"), where=("bucket",)),
    Damage("metadata of another window", do.metadata_changed(window="1"), where=("bucket",)),
    Damage(
        "metadata of other records", do.metadata_changed(records_crc64="1"), [(Found.METADATA, KEY)], where=("bucket",)
    ),
    Damage(
        "messages removed inside",
        do.inside(lambda batches: batches[:1] + batches[2:]),
        [(Found.COUNT, KEY)],
        payloads=BYTES,
    ),
    Damage(
        "a message twice inside", do.inside(lambda batches: batches[:1] + batches), [(Found.ORDER, KEY)], payloads=BYTES
    ),
    Damage(
        "messages in another order inside",
        do.inside(lambda batches: batches[::-1]),
        [(Found.ORDER, KEY)],
        payloads=BYTES,
    ),
    Damage("a message of another window inside", do.inside(do.first_later), [(Found.WINDOW, KEY)], payloads=BYTES),
    Damage(
        "a message of another partition inside",
        do.inside(do.first_of_another_partition),
        [(Found.PARTITION, KEY)],
        payloads=BYTES,
    ),
    Damage("an Avro file of something else", do.avro_of_something_else, files=("avro-deflate",)),
    Damage("a batch index of null", do.a_field_of_another_type("batch_index", None), files=LINES),
    Damage("a publish time of null", do.a_field_of_another_type("publish_time", None), files=LINES),
    Damage("a publish time of text", do.a_field_of_another_type("publish_time", "x"), files=LINES),
    Damage("everything deleted", do.everything_deleted),
]
