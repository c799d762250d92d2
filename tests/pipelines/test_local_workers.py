from __future__ import annotations

import json
import logging
import os
import pickle
import re
import signal
import subprocess
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import job
from pipelines.ending import explained
from pipelines.local_pipeline import new_pipeline, run_pipeline
from pipelines.local_workers.processes import WorkerProcesses
from pipelines.local_workers.run import Taken
from pipelines.local_workers.shares import cores, spread, workers
from pipelines.local_workers.told import Order, Result, Share, ToldOf
from pipelines.options import parse_options
from pipelines.results import CollectHere, forget, results_of
from tests.pipelines.backups import SECRETS, Destination, Folder, Run, arguments, backup, refused, start_job
from tests.pipelines.documents import manifests, run_records
from tests.pipelines.process_tree import children, running
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in, unnamed
from transforms.cos.destination import parse_destination
from transforms.cos.uploads import UPLOADS_AT_ONCE
from transforms.cos.window_manifest import ManifestSettings
from transforms.errors import AccessError, ConfigurationError, SeveralErrors, TopicNotFoundError
from transforms.files.format import RecordEncoder
from transforms.files.naming import Layout
from transforms.files.windows_complete import Came, encode_told
from transforms.progress import Progress
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.client import disconnect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.request import Resolution
from transforms.pulsar.resolve import resolve
from transforms.pulsar.restriction import PartitionRange
from transforms.pulsar.windows import FOREVER
from transforms.testing.cos_faults import ALWAYS
from transforms.testing.producers import produce, produce_avro_versions
from transforms.testing.raw_producer import Message, send_raw

PARTITIONS = 4
SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
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


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The worker processes of a run."""
    (host,) = children(process.pid)
    return children(host)


def wait_for(question: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def backlog(broker, topic):
    name = topic(partitions=PARTITIONS)
    sent = produce(broker.service_url, name, 20_000, partitions=PARTITIONS)
    names = [f"{name}-partition-{index}" for index in range(PARTITIONS)]
    return name, {each: [one.position for one in sent if one.partition == int(each[-1])] for each in names}


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


def test_a_worker_that_is_killed_ends_the_run_with_a_sentence_and_the_next_run_completes_it(broker, backlog, bucket):
    name, positions = backlog
    bucket.server.latency = 0.2
    options = ["--local_workers=2", "--max_file_messages=100", "--subscription=ours"]
    under_way = bucket.when_stored(UPLOADS_AT_ONCE + 1)
    with start_job(arguments(broker, name, bucket, options)) as process:
        assert under_way.wait(60)
        victim, other = workers_of(process)
        os.kill(victim, signal.SIGKILL)
        out, errors = process.communicate(timeout=20)
        assert not running(other)
    assert (process.returncode, out) == (1, "")
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert told == [
        "error: a worker process of the run was killed (SIGKILL), as a rule by the system for want of memory: give the "
        "machine or the container more, or the run a smaller --memory_budget or fewer --local_workers. What is stored "
        "stays, and nothing was acknowledged. Run it again to complete it."
    ]
    assert "Traceback" not in errors
    bucket.server.latency = 0
    backup(broker, name, bucket, *options)
    assert_holds(messages_in(bucket, most=100), positions)


def test_a_run_that_is_killed_leaves_no_worker_and_is_completed_by_the_next(broker, backlog, bucket):
    name, positions = backlog
    bucket.server.latency = 0.2
    options = ["--local_workers=2", "--max_file_messages=100"]
    under_way = bucket.when_stored(UPLOADS_AT_ONCE + 1)
    with start_job(arguments(broker, name, bucket, options)) as process:
        assert under_way.wait(60)
        (host,) = children(process.pid)
        workers = workers_of(process)
        process.kill()
        process.wait()
    wait_for(lambda: not any(map(running, [host, *workers])))
    bucket.server.latency = 0
    written = bucket.written()
    backup(broker, name, bucket, *options)
    assert {key: time for key, time in bucket.written().items() if key in written} == written
    assert_holds(messages_in(bucket, most=100), positions)


@pytest.mark.parametrize(("number", "code", "said"), SIGNALS)
def test_a_signal_to_the_whole_group_ends_a_run_with_one_sentence(broker, backlog, bucket, number, code, said):
    name, positions = backlog
    bucket.server.latency = 0.2
    options = ["--local_workers=2", "--max_file_messages=100", "--subscription=ours"]
    under_way = bucket.when_stored(2 * UPLOADS_AT_ONCE + 1)
    with start_job(arguments(broker, name, bucket, options), new_group=True) as process:
        assert under_way.wait(60)
        (host,) = children(process.pid)
        workers = workers_of(process)
        os.killpg(process.pid, number)
        out, errors = process.communicate(timeout=10)
    assert (process.returncode, out) == (code, "")
    assert "Traceback" not in errors
    assert "error" not in errors
    (line,) = (line for line in errors.splitlines() if line.startswith(said))
    told = re.fullmatch(rf"{said} while reading, with (\d+) objects? written: .* Run it again to complete it\.", line)
    assert told is not None, errors
    assert 0 < int(told[1]) <= len(bucket.listed())
    wait_for(lambda: not any(map(running, [host, *workers])))
    bucket.server.latency = 0
    backup(broker, name, bucket, *options)
    assert_holds(messages_in(bucket, most=100), positions)


def test_no_command_line_of_a_run_has_a_secret_and_its_host_has_forked_without_threads(broker, backlog, bucket):
    name, _ = backlog
    bucket.server.faults.add("hang", operation="PutObject", key="*.avro", times=ALWAYS)
    with start_job(arguments(broker, name, bucket, ["--local_workers=2"])) as process:
        wait_for(lambda: bucket.server.faults.played > 0)
        (host,) = children(process.pid)
        workers = workers_of(process)
        for each in (process.pid, host, *workers):
            line = Path(f"/proc/{each}/cmdline").read_bytes()
            assert not any(secret.encode() in line for secret in SECRETS.values())
        # The one that watches the run, begun behind the fork.
        assert len(list(Path(f"/proc/{host}/task").iterdir())) == 2
        process.kill()
        process.wait()
    wait_for(lambda: not any(map(running, [host, *workers])))


def test_each_worker_gets_about_as_many_entries_where_they_are_known():
    def part(index: int, start: Position, stop: Position) -> PartitionRange:
        return PartitionRange(TopicPartition("persistent://a/b/c", index), start, stop)

    def indexes(ranges: list[PartitionRange], workers: int) -> list[list[int]]:
        return [[each.partition.index for each in share] for share in spread(ranges, workers)]

    sizes = (10, 80, 30, 20)
    known = [part(index, Position(5, 0), Position(5, size)) for index, size in enumerate(sizes)]
    assert indexes(known, 2) == [[1], [0, 2, 3]]
    assert indexes(known, 9) == [[1], [2], [3], [0]]
    unknown = [*known, part(4, Position(5, 0), Position(6, 1))]
    assert indexes(unknown, 2) == [[0, 2, 4], [1, 3]]


def test_with_admin_rest_each_worker_gets_about_as_many_bytes(broker, client, topic):
    name = topic(partitions=3)
    ranges = []
    for index, (count, size) in enumerate([(5, 10), (5, 10_000), (300, 10)]):
        partition = TopicPartition(name, index)
        sent = send(client, partition.name, [b"." * size] * count)
        ranges.append(PartitionRange(partition, sent[0], sent[-1].next_entry()))
    admin = PulsarAdmin(PulsarConnection(broker.service_url, admin_url=broker.admin_url))
    for known, shares in ((admin, [[1], [0, 2]]), (None, [[2], [0, 1]])):
        found = spread(ranges, 2, known)
        assert [[each.partition.index for each in share] for share in found] == shares


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "what\n"}, None),
    ],
)
def test_the_cores_are_those_of_the_affinity_and_of_the_quota(tmp_path, files, most):
    for name, text in files.items():
        tmp_path.joinpath(name).parent.mkdir(exist_ok=True)
        tmp_path.joinpath(name).write_text(text)
    allowed = len(os.sched_getaffinity(0))
    assert cores(tmp_path) == min(allowed, most or allowed)
    assert workers(None, 100, tmp_path) == cores(tmp_path)


def test_there_are_never_more_workers_than_partitions_nor_less_than_one():
    assert [workers(4, partitions) for partitions in (1, 3, 9)] == [1, 3, 4]


@pytest.mark.parametrize(
    "error",
    [
        SeveralErrors([AccessError("no"), ConfigurationError("a", "b")]),
        ConfigurationError("a", "b"),
        TopicNotFoundError("gone"),
    ],
)
def test_errors_are_the_same_behind_a_pipe(error):
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), other.exit_code) == (type(error), str(error), error.exit_code)
    assert getattr(other, "problems", None) == getattr(error, "problems", None)


class Odd(Exception):
    """Can be pickled, and not be made again of that."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def odd_encoder() -> RecordEncoder:
    raise Odd("what nobody", "has thought of")


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
    topic = "persistent://a/b/c"
    layout = Layout(granularity=300)
    settings = ManifestSettings(parse_destination(folder.options[0].split("=")[1]), layout, "avro", "run-gap")
    start, stop = Position(7, 0), Position(9, 0)
    gap = Gap(TopicPartition(topic, 0), start, Position(8, 0))
    ranges = [PartitionRange(TopicPartition(topic, index), start, stop) for index in range(2)]
    with Taken("run-gap", settings, job.known_of_topics(Resolution(ranges))) as taken:
        taken.take(0, Result(gap))
        for index in range(2):
            told = Came(index, sealed=FOREVER, last=Position(8, 5), messages=3, windows={0})
            taken.take(index, ToldOf(topic, encode_told(told)))
        taken.finish()
    assert results_of("run-gap").gaps == {gap}
    forget("run-gap")
    (manifest,) = manifests(folder)
    assert [(each.partition, each.start, each.stop) for each in manifest.gaps] == [(0, start, Position(8, 0))]
