from __future__ import annotations

import json
import logging
import re
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import job
from pipelines.ending import explained
from pipelines.local_pipeline import new_pipeline, run_pipeline
from pipelines.local_workers.processes import WorkerProcesses
from pipelines.local_workers.run import Taken
from pipelines.local_workers.told import Order, Result, Share, ToldOf
from pipelines.options import parse_options
from pipelines.results import CollectHere, forget, results_of
from tests.pipelines.backups import Destination, Folder, Run, arguments, backup, refused
from tests.pipelines.documents import manifests, run_records
from tests.pipelines.odd_encoder import odd_encoder
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in, unnamed
from tests.transforms.cos.made_files import LAYOUT, NOON, TOPIC, put_file
from transforms.cos.destination import parse_destination
from transforms.cos.folder_store import FolderStore
from transforms.cos.window_manifest import ManifestSettings
from transforms.files.windows_complete import Came, encode_told
from transforms.progress import Progress
from transforms.pulsar.client import disconnect
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import FOREVER, TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.request import Resolution
from transforms.pulsar.resolve import resolve
from transforms.pulsar.restriction import PartitionRange
from transforms.testing.cos_faults import ALWAYS
from transforms.testing.producers import produce_avro_versions
from transforms.testing.raw_producer import Message, send_raw

PARTITIONS = 4
#: Of a summary or a document: what is another each time.
_OF_THE_MOMENT = ("run", "started", "finished", "seconds", "destination", "ended", "written")


def told(run: Run) -> dict:
    return {name: value for name, value in run.summary.items() if name not in _OF_THE_MOMENT}


def stored(destination: Destination) -> dict[str, bytes]:
    """Every object by its key without the prefix; documents without the names of runs and without times."""
    found = {}
    for key in destination.everything():
        body = destination.read(key)
        place = key.removeprefix(destination.prefix)
        if key in destination.documents():
            body = re.sub(rb'"(run|started|ended|written)":\s*"[^"]*"', rb"", body)
            place = re.sub(r"_runs/.*", "_runs/", place)
        found[place] = body
    return found


@pytest.mark.parametrize("format_options", [["--format=avro"], ["--format=jsonl"]], ids=["avro", "jsonl"])
def test_any_number_of_workers_stores_and_tells_the_same(broker, backlog, new_bucket, tmp_path, format_options):
    name, positions = backlog
    options = [*format_options, "--subscription=ours", "--acknowledge=never", "--max_file_messages=777"]
    alone = new_bucket()
    one = backup(broker, name, alone, *options)
    assert_holds(messages_in(alone, most=777), positions)
    wanted = stored(alone)
    assert any("_manifest-" in key for key in wanted)
    for number in (2, 3):
        Path(tmp_path, f"{number}").mkdir()
        for place in (new_bucket(), Folder(tmp_path / f"{number}")):
            several = backup(broker, name, place, *options, f"--local_workers={number}")
            assert told(several) == told(one)
            if place.prefix:
                assert stored(place) == wanted
            else:
                assert stored(place).keys() == wanted.keys()


def test_topics_and_partitions_of_several_sizes_are_stored_once(broker, client, topic, bucket):
    one, two = topic("one", partitions=2), topic("two")
    sent = {two: send(client, two, numbered(70), batch=10)}
    for index, count in enumerate((3, 500)):
        each = f"{one}-partition-{index}"
        sent[each] = send(client, each, numbered(count), batch=7)
    run = backup(broker, [one, two], bucket, "--local_workers=8", "--max_file_messages=40", "--subscription=ours")
    assert_holds(messages_in(bucket, most=40), sent)
    assert run.summary["messages"] == 573
    assert all(part["acknowledged_before"] == part["stop"] for part in run.summary["partitions"])
    (record,) = run_records(bucket)
    assert sum(each.messages for each in record.read) == 573
    assert unnamed(bucket) == set()
    again = backup(broker, [one, two], bucket, "--local_workers=8", "--max_file_messages=40")
    assert (again.summary["files"], again.summary["already_stored"]) == (0, 573)


def test_values_quarantine_and_schemas_are_told_as_in_one_process(broker, topic, new_bucket):
    versions, unfit = topic("versions"), topic("unfit")
    produce_avro_versions(broker.service_url, broker.admin, versions)
    fields = [{"name": "age", "type": "int"}]
    version = broker.admin.upload_schema(unfit, "AVRO", {"type": "record", "name": "Age", "fields": fields})
    payloads = [b"\xff" if number % 3 == 0 else bytes([number]) for number in range(60)]
    send_raw(broker.service_url, unfit, [Message(payload, schema_version=version) for payload in payloads])
    alone, together = new_bucket(), new_bucket()
    runs = [
        backup(broker, [versions, unfit], place, "--payload=value", f"--local_workers={number}")
        for place, number in ((alone, 1), (together, 2))
    ]
    assert told(runs[0]) == told(runs[1])
    assert runs[1].summary["quarantined"] == 20
    assert stored(together) == stored(alone)
    (record,) = run_records(together)
    assert {(each.topic, each.schema_version) for each in record.schemas} == {(versions, 0), (versions, 1), (unfit, 0)}


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_workers_log_is_logged_by_the_run(broker, backlog, bucket, form):
    name, _ = backlog
    run = backup(broker, name, bucket, "--local_workers=2", f"--log_format={form}", "--max_file_messages=1000")
    keys = [key for key in bucket.listed()]
    lines = run.errors.splitlines()
    if form == "text":
        assert all(re.match(r"\S+ \S+ [A-Z]+ [\w.]+: ", line) for line in lines), run.errors
        assert all(any(f"INFO transforms.cos.sink: wrote {key}:" in line for line in lines) for key in keys)
    else:
        found = [json.loads(line) for line in lines]
        assert {each["key"] for each in found if each["logger"] == "transforms.cos.sink"} == set(keys)


def test_a_fault_in_a_worker_is_told_in_the_words_of_one_process(broker, backlog, new_bucket):
    name, _ = backlog
    said = []
    for number in (1, 2):
        place = new_bucket()
        place.server.faults.add("access-denied", operation="PutObject", key="*.avro", times=ALWAYS)
        run = refused(broker, name, place, f"--local_workers={number}", "--subscription=ours")
        assert run.code == 3
        (sentence,) = (line for line in run.errors.splitlines() if line.startswith("error: "))
        said.append(re.sub(r"[^\s']*\.avro|request id \w+|p000\d", "", sentence))
    assert said[0] == said[1]
    for index in range(PARTITIONS):
        marked = broker.admin.internal_stats(f"{name}-partition-{index}")["cursors"]["ours"]["markDeletePosition"]
        assert marked.endswith(":-1"), "nothing acknowledged"


def test_what_nobody_has_thought_of_is_told_as_in_one_process(broker, backlog, folder):
    name, _ = backlog
    config = parse_options(arguments(broker, name, folder, []))
    said = []
    for number in (1, 2):
        resolution = resolve(config.request)
        read, write = job.settings(config, f"run-{number}", PARTITIONS)
        write = replace(write, make_encoder=odd_encoder)
        with pytest.raises(Exception) as caught:
            if number == 1:
                pipeline = new_pipeline(())
                job.add_files(pipeline, resolution.ranges, read, write, CollectHere("run-1"))
                run_pipeline(pipeline, Progress())
            else:
                shares = [Share([each], read, write) for each in resolution.ranges[:2]]
                with WorkerProcesses(Order(shares, (), False, {"root": logging.INFO})) as started:
                    list(started.told())
        assert "odd_encoder" in "".join(traceback.format_exception(caught.value))
        said.append(explained(caught.value))
    assert said[0] == said[1]
    assert said[0][0].startswith("unexpected ")
    assert "what nobody has thought of" in said[0][0]
    disconnect(config.connection)


def test_a_gap_that_a_worker_tells_is_in_the_results_and_in_a_manifest(folder):
    made = put_file(FolderStore(folder.path), 0)
    settings = ManifestSettings(parse_destination(f"file://{folder.path}/"), LAYOUT, "avro", "run-gap")
    gap = Gap(TopicPartition(TOPIC, 0), Position(6, 0), Position(7, 0))
    ranges = [PartitionRange(TopicPartition(TOPIC, index), Position(6, 0), Position(9, 0)) for index in range(2)]
    with Taken("run-gap", settings, job.known_of_topics(Resolution(ranges))) as taken:
        taken.take(0, Result(gap))
        for index, files in enumerate(([made.facts], [])):
            told = Came(index, sealed=FOREVER, last=Position(7, 2), messages=3, windows={NOON}, files=files)
            taken.take(index, ToldOf(TOPIC, encode_told(told)))
        taken.finish()
    assert results_of("run-gap").gaps == {gap}
    forget("run-gap")
    (manifest,) = manifests(folder)
    assert [(each.partition, each.start, each.stop) for each in manifest.gaps] == [(0, gap.start, gap.stop)]
    assert [each.name for each in manifest.files] == [made.name]
