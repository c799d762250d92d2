"""What can be done to a backup; each gives what must be found of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import fastavro
import orjson
from fastcrc import crc64

from tests.pipelines.verify.stored_backup import ORDERS, PARTITIONS, SECONDS, StoredBackup, messages_of
from transforms.files.formats import make_format
from transforms.files.naming import FileName, parse_name
from transforms.files.pieces import Pieces
from transforms.pulsar.messages import MessageBatch
from transforms.pulsar.positions import Position
from transforms.verify.findings import Kind as Found

#: What must be found, and what the key or the details of it must hold.
Expected = Sequence[tuple[Found, str]]


def name_of(key: str) -> FileName:
    name = parse_name(key.rpartition("/")[2])
    assert name is not None
    return name


def called(key: str, name: FileName) -> str:
    return f"{key.rpartition('/')[0]}/{name}"


def an_object(backup: StoredBackup) -> str:
    """One in the middle of partition 0, of several messages."""
    return next(key for key in backup.keys("/orders/", "-p0000-")[1:] if name_of(key).run.messages > 2)


def a_manifest(backup: StoredBackup, number: int = 0, topic: str = "/orders/") -> str:
    """Of the second window, which has two."""
    keys = [key for key in backup.keys("_manifest-", topic) if f"-{number:04d}.json" in key]
    return keys[-1] if number else keys[1]


def edit(backup: StoredBackup, key: str, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(backup.read(key))
    change(document)
    backup.write(key, json.dumps(document).encode())


def naming(backup: StoredBackup, key: str) -> str:
    """The manifest that names an object."""
    base = key.rpartition("/")[2]
    (found,) = (
        each
        for each in backup.keys("_manifest-")
        if base.encode() in backup.read(each) and (("/orders/" in key) == ("/orders/" in each))
    )
    return found


def restate(backup: StoredBackup, key: str) -> None:
    """Make the manifest say what the object is now."""
    content, base = backup.read(key), key.rpartition("/")[2]

    def change(document: dict[str, Any]) -> None:
        for file in document["files"]:
            if file["name"] == base:
                file["bytes"], file["crc64"] = len(content), str(crc64.xz(content))

    edit(backup, naming(backup, key), change)


def rewrite(backup: StoredBackup, change: Callable[[list[MessageBatch]], list[MessageBatch]]) -> str:
    """Write an object anew, with other messages in it, and hide that as well as can be."""
    key = an_object(backup)
    run = name_of(key).run
    kind = backup.kind
    chosen = []
    for batch in messages_of(PARTITIONS[0], kind):
        inside = [
            at for at, each in enumerate(batch.ids) if run.first <= Position(*each[:2], max(each[2], 0)) <= run.last
        ]
        if inside:
            chosen.append(replace(batch, columns=batch.columns.part(inside[0], inside[-1] + 1)))
    file_format, factory = make_format(kind.format, kind.codec, kind.payload)
    encoder, header, records, count = factory(), b"", b"", 0
    for batch in change(chosen):
        (encoded,) = encoder.encode(batch)
        header, records, count = encoded.header, records + encoded.data, count + len(encoded.lengths)
    backup.write(key, header + bytes(file_format.block(Pieces(records), count)))
    restate(backup, key)
    return key


def removed(backup: StoredBackup) -> Expected:
    key = an_object(backup)
    backup.delete(key)
    return [(Found.MISSING, key), (Found.FEWER, "_runs/run-1.json")]


def removed_with_its_window(backup: StoredBackup) -> Expected:
    stamp = name_of(an_object(backup)).__str__()[:16]
    for key in [*backup.keys(stamp), *backup.keys("_manifest-", stamp), *backup.keys(stamp, area="_quarantine/")]:
        backup.delete(key)
    return [(Found.FEWER, "_runs/run-1.json")]


def truncated(backup: StoredBackup) -> Expected:
    key = an_object(backup)
    backup.write(key, backup.read(key)[:-20])
    return [(Found.SIZE, key)]


def bit_flipped_at_rest(backup: StoredBackup) -> Expected:
    backup.rot(an_object(backup), -30)
    return []


def changed_with_its_size_kept(backup: StoredBackup) -> Expected:
    key = an_object(backup)
    content = backup.read(key)
    backup.write(key, content[:-30] + bytes([content[-30] ^ 1]) + content[-29:])
    return [(Found.CRC64, key)] if backup.server else []


def swapped(backup: StoredBackup) -> Expected:
    one, other = backup.keys("/orders/", "-p0000-")[0], backup.keys("/orders/", "-p0001-")[0]
    contents = backup.read(one), backup.read(other)
    backup.write(one, contents[1])
    backup.write(other, contents[0])
    return [(Found.CRC64, one), (Found.CRC64, other)] if backup.server else []


def copied_under_another_cut(backup: StoredBackup) -> Expected:
    key = an_object(backup)
    name = name_of(key)
    copy = called(key, name._replace(run=name.run._replace(first=name.run.last, messages=1)))
    backup.write(copy, backup.read(key), like=key)
    return [(Found.DUPLICATE, copy), (Found.UNNAMED, copy), (Found.MORE, "run-1")]


def overlapping(backup: StoredBackup) -> Expected:
    key = an_object(backup)
    name = name_of(key)
    run = name.run._replace(first=name.run.last, last=name.run.last._replace(entry=name.run.last.entry + 1))
    copy = called(key, name._replace(run=run))
    backup.write(copy, backup.read(key), like=key)
    return [(Found.OVERLAP, copy), (Found.UNNAMED, copy)]


def manifest_lost(backup: StoredBackup) -> Expected:
    key = backup.keys("_manifest-", "/orders/")[0]
    backup.delete(key)
    return [(Found.NO_MANIFEST, key.rpartition("/")[0])]


def first_manifest_lost(backup: StoredBackup) -> Expected:
    key = a_manifest(backup)
    backup.delete(key)
    return [(Found.MANIFEST_HOLE, key[:-9]), (Found.UNNAMED, "/orders/")]


def manifest_names_one_less(backup: StoredBackup) -> Expected:
    key = a_manifest(backup)
    gone = json.loads(backup.read(key))["files"][0]["name"]
    edit(backup, key, lambda document: document["files"].pop(0))
    return [(Found.UNNAMED, gone)]


def manifest_names_one_more(backup: StoredBackup) -> Expected:
    key = a_manifest(backup)

    def change(document: dict[str, Any]) -> None:
        file = dict(document["files"][0])
        document["files"].append({**file, "name": file["name"].replace("-p0000-", "-p0099-")})

    edit(backup, key, change)
    return [(Found.MISSING, "-p0099-")]


def manifest_edited(name: str, value: Any, found: Found, about: str) -> Callable[[StoredBackup], Expected]:
    def do(backup: StoredBackup) -> Expected:
        key = a_manifest(backup)
        edit(backup, key, lambda document: document["files"][0].update({name: value}))
        if found is Found.CRC64 and backup.server is None:
            return []
        file = json.loads(backup.read(key))["files"][0]["name"]
        return [(found, key if about == "manifest" else file)]

    return do


def times_in_a_manifest(backup: StoredBackup) -> Expected:
    edit(backup, a_manifest(backup), lambda document: document["files"][0].update(first_publish_time=7))
    return []


def manifest_of_another_reading(backup: StoredBackup) -> Expected:
    key = a_manifest(backup)
    edit(backup, key, lambda document: document["read"][0].update(messages=1_000_000))
    return [(Found.CHANGED_MANIFEST, key)]


def named_twice(backup: StoredBackup) -> Expected:
    one, other = a_manifest(backup), a_manifest(backup, 1)
    file = json.loads(backup.read(one))["files"][0]
    edit(backup, other, lambda document: document["files"].append(file))
    return [(Found.NAMED_TWICE, file["name"])]


def manifest_not_readable(backup: StoredBackup) -> Expected:
    key = a_manifest(backup)
    backup.write(key, backup.read(key)[:-30])
    return [(Found.BAD_MANIFEST, key)]


def manifest_of_another_window(backup: StoredBackup) -> Expected:
    first, key = backup.keys("_manifest-", "/orders/")[0], a_manifest(backup)
    backup.write(key, backup.read(first))
    return [(Found.CHANGED_MANIFEST, key)]


def manifest_of_another_topic(backup: StoredBackup) -> Expected:
    key = a_manifest(backup)
    backup.write(key, backup.read(a_manifest(backup, topic="/events/")))
    return [(Found.OTHER_TOPIC, key)]


def object_of_another_topic(backup: StoredBackup) -> Expected:
    key = backup.keys("/orders/", "-p0000-")[0]
    other = backup.keys("/events/")[0]
    assert key.rpartition("/")[2] == other.rpartition("/")[2]
    backup.write(key, backup.read(other))
    return [(Found.CRC64, key)] if backup.server else []


def folder_of_another_topic(backup: StoredBackup) -> Expected:
    for key in [*backup.keys("/orders/"), *backup.keys("_manifest-", "/orders/")]:
        backup.rename(key, key.replace("/orders/", "/orders-2/"))
    return [(Found.OTHER_TOPIC, "/orders-2/"), (Found.FEWER, ORDERS)]


def record_lost(backup: StoredBackup) -> Expected:
    backup.delete(f"{backup.prefix}_runs/run-1.json")
    return [(Found.NO_RECORD, "run-1")]


def record_edited(change: Callable[[dict[str, Any]], object], *expected: tuple[Found, str]) -> Callable[..., Expected]:
    def do(backup: StoredBackup) -> Expected:
        edit(backup, f"{backup.prefix}_runs/run-1.json", change)
        return expected

    return do


def record_not_readable(backup: StoredBackup) -> Expected:
    key = f"{backup.prefix}_runs/run-2.json"
    backup.write(key, b"{}")
    return [(Found.BAD_RECORD, key), (Found.NO_RECORD, "run-2")]


def record_copied(backup: StoredBackup) -> Expected:
    copy = f"{backup.prefix}_runs/run-3.json"
    backup.write(copy, backup.read(f"{backup.prefix}_runs/run-1.json"))
    return [(Found.CHANGED_RECORD, copy)]


def renamed(change: Callable[[FileName], FileName], *kinds: Found) -> Callable[[StoredBackup], Expected]:
    def do(backup: StoredBackup) -> Expected:
        key = an_object(backup)
        to = backup.rename(key, called(key, change(name_of(key))))
        metadata = [(Found.METADATA, to)] if backup.server and Found.METADATA in kinds else []
        return [(Found.MISSING, key), (Found.UNNAMED, to), *metadata]

    return do


def of_another_granularity(backup: StoredBackup) -> Expected:
    key = an_object(backup)
    copy = called(key, name_of(key)._replace(granularity=60))
    backup.write(copy, backup.read(key), like=key)
    return [(Found.UNNAMED, copy), (Found.UNPROVED, copy)]


def empty(backup: StoredBackup) -> Expected:
    key = an_object(backup)
    backup.write(key, b"")
    return [(Found.EMPTY, key), (Found.SIZE, key)]


def of_another_format(backup: StoredBackup) -> Expected:
    key = an_object(backup)
    backup.write(key, b"PAR1" + bytes(60) + b"PAR1")
    return [(Found.SIZE, key)]


def in_another_hour(backup: StoredBackup) -> Expected:
    key = an_object(backup)
    hour = key.rpartition("/hh=")[2][:2]
    to = backup.rename(key, key.replace(f"/hh={hour}/", "/hh=23/"))
    return [(Found.MISPLACED, to), (Found.MISSING, key)]


def renamed_to_no_name(backup: StoredBackup) -> Expected:
    key = an_object(backup)
    to = backup.rename(key, f"{key}.bak")
    return [(Found.STRANGER, to), (Found.MISSING, key)]


def spool_left(backup: StoredBackup) -> Expected:
    folder, _, base = an_object(backup)[len(backup.prefix) :].rpartition("/")
    key = f"{backup.prefix}_spool/{folder}/{base.rpartition('-')[0]}-main-avro.part00000"
    backup.write(key, b"part")
    return [(Found.SPOOL, key)]


def upload_left(backup: StoredBackup) -> Expected:
    assert backup.server is not None
    key = an_object(backup).replace("-p0000-", "-p0001-")
    backup.server.disk.start_upload(key=key, bucket=backup.destination.bucket or "", headers={})
    return [(Found.UPLOAD, key)]


def in_quarantine(do: Callable[[StoredBackup, str], Expected]) -> Callable[[StoredBackup], Expected]:
    return lambda backup: do(backup, backup.keys("/orders/", "-p0000-", area="_quarantine/")[0])


def quarantine_removed(backup: StoredBackup, key: str) -> Expected:
    backup.delete(key)
    return [(Found.MISSING, key), (Found.FEWER, "_runs/run-1.json")]


def quarantine_cut(backup: StoredBackup, key: str) -> Expected:
    backup.write(key, backup.read(key)[:-3])
    return [(Found.SIZE, key)]


def metadata_changed(**metadata: str) -> Callable[[StoredBackup], Expected]:
    def do(backup: StoredBackup) -> Expected:
        key = an_object(backup)
        backup.describe(key, **metadata)
        return [] if "records_crc64" in metadata else [(Found.METADATA, key)]

    return do


def everything_deleted(backup: StoredBackup) -> Expected:
    for key in list(backup.store.list_keys(backup.prefix)):
        backup.delete(key)
    return [(Found.NOTHING, "")]


def another_schema_version(backup: StoredBackup) -> Expected:
    key = next(each for each in backup.keys("/orders/") if "-v000000-" in each)
    backup.rename(key, key.replace("-v000000-", "-v000001-"))
    return [(Found.MISSING, key)]


def inside(change: Callable[[list[MessageBatch]], list[MessageBatch]]) -> Callable[[StoredBackup], Expected]:
    def do(backup: StoredBackup) -> Expected:
        key = rewrite(backup, change)
        return [(Found.CRC64, key)] if backup.server else []

    return do


def first_later(batches: list[MessageBatch]) -> list[MessageBatch]:
    late = batches[0].publish_times[0] + 2 * SECONDS * 1000
    first = MessageBatch.of(batches[0].partition, batches[0].messages, batches[0].ids, [late] * len(batches[0].ids), 0)
    return [replace(first, time=batches[0].time), *batches[1:]]


def first_of_another_partition(batches: list[MessageBatch]) -> list[MessageBatch]:
    return [replace(batches[0], partition=PARTITIONS[1]), *batches[1:]]


def avro_of_something_else(backup: StoredBackup) -> Expected:
    """Of a file across the end of a run, which is read in any case."""
    key, file = across(backup), io.BytesIO()
    fastavro.writer(file, {"type": "record", "name": "Other", "fields": [{"name": "id", "type": "long"}]}, [{"id": 1}])
    backup.write(key, file.getvalue())
    return [(Found.UNREADABLE, key)]


def a_field_of_another_type(name: str, value: Any) -> Callable[[StoredBackup], Expected]:
    """In lines of a file across the end of a run."""

    def do(backup: StoredBackup) -> Expected:
        key = across(backup)
        lines = backup.read(key).splitlines()
        backup.write(key, b"".join(orjson.dumps({**orjson.loads(line), name: value}) + b"\n" for line in lines))
        return [(Found.UNREADABLE, key)]

    return do


def across(backup: StoredBackup) -> str:
    """An object that lies across the end of a run, so that it is read in any case: a run that read only part of it."""
    key = an_object(backup)
    run = json.loads(backup.read(f"{backup.prefix}_runs/run-1.json"))
    read = next(each for each in run["read"] if (each["topic"], each["partition"]) == (ORDERS, 0))
    run["read"] = [{**read, "stop": str(name_of(key).run.first.next_message()), "messages": 1}]
    backup.write(f"{backup.prefix}_runs/run-3.json", json.dumps({**run, "run": "run-3"}).encode())
    return key
