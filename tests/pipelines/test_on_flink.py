"""The job on a real Flink: with an end, and without one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest

from tests.pipelines.backups import Bucket, arguments, backup, refused, run_job
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import (
    StoredFile,
    assert_holds,
    messages_in,
    partition_of,
    position,
    read_files,
    unnamed,
)
from tests.pipelines.streams import GRANULARITY, Stream
from transforms.pulsar.positions import Position
from transforms.testing.cos_faults import ALWAYS
from transforms.testing.flink_workers import Flink
from transforms.testing.pulsar_admin import PulsarAdmin

SUBSCRIPTION = "ours"


@pytest.fixture
def stream(flink, broker, topic, bucket, tmp_path):
    """A stream over a topic of two partitions, not started."""
    name = topic(partitions=2)
    made = Stream(flink, arguments(broker, name, bucket, [f"--subscription={SUBSCRIPTION}"]), tmp_path)
    made.topic = name
    yield made
    made.close()


def test_a_run_with_an_end_gives_the_names_bytes_and_summary_of_a_local_one(broker, client, topic, new_bucket, flink):
    name = topic(partitions=3)
    sent = {
        f"{name}-partition-{index}": send(client, f"{name}-partition-{index}", numbered(700 + index))
        for index in range(2)
    }
    here, there = new_bucket(), new_bucket()
    options = ["--max_file_messages=300", f"--subscription={SUBSCRIPTION}"]
    on_flink = backup(broker, name, there, *options, "--log_format=json", "--parallelism=3", *flink.options)
    local = backup(broker, name, here, "--max_file_messages=300", "--subscription=another")
    assert there.contents() == here.contents()
    assert_holds(messages_in(there), sent)
    told = ("messages", "record_bytes", "already_stored", "files", "file_bytes", "first", "last", "acknowledged_before")
    for partition in sent:
        assert {key: on_flink.partition(partition)[key] for key in told} == {
            key: local.partition(partition)[key] for key in told
        }
    assert backlog(broker.admin, name) == 0
    lines = {line["key"]: line for line in files_logged(flink, there.listed())}
    for file in read_files(there):
        line, found = lines[file.key], [position(record) for record in file.records]
        assert (line["partition"], line["messages"]) == (partition_of(file.records[0]), len(found))
        assert (line["first"], line["last"]) == (str(found[0]), str(found[-1]))
        assert (line["bytes"], line["window"]) == (len(there.read(file.key)), window_of(file))
        assert line["seconds"] > 0
    again = backup(broker, name, there, *options, "--start=earliest", *flink.options)
    assert (again.summary["messages"], again.summary["already_stored"], again.summary["files"]) == (1401, 1401, 0)


def test_a_failure_on_a_worker_is_the_sentence_that_a_local_run_gives(broker, client, topic, bucket, flink):
    name = topic(partitions=1)
    send(client, f"{name}-partition-0", numbered(10))
    bucket.server.faults.add("access-denied", operation="PutObject", key="*.avro", times=ALWAYS)
    run = refused(broker, name, bucket, "--number_of_execution_retries=0", *flink.options)
    assert run.code == 3, run.errors
    assert "AccessDenied" in run.errors


def test_a_stream_stores_and_acknowledges_what_comes_and_finds_new_partitions(broker, client, stream, bucket):
    name = stream.topic
    sent = {
        f"{name}-partition-{index}": send(client, f"{name}-partition-{index}", numbered(500), batch=20)
        for index in range(2)
    }
    stream.start("--parallelism=2")
    stream.until(lambda: backlog(broker.admin, name) == 0)
    assert_stored(stream, bucket, sent)
    broker.admin.add_partitions(name, 3)
    sent[f"{name}-partition-2"] = send(client, f"{name}-partition-2", numbered(300))
    stream.until(lambda: stored(bucket) == 1300 and backlog(broker.admin, name) == 0)
    assert_stored(stream, bucket, sent)
    savepoint = stream.stop()
    # Added while nobody looks; and the subscription is created before anything of it can be lost.
    broker.admin.add_partitions(name, 4)
    sent[f"{name}-partition-3"] = send(client, f"{name}-partition-3", numbered(200))
    stream.start(f"--savepoint_path={savepoint}", "--parallelism=1")
    stream.until(lambda: stored(bucket) == 1500 and backlog(broker.admin, name) == 0)
    assert_stored(stream, bucket, sent)
    stream.cancel()


def test_windows_of_a_stream_close_without_a_message_behind_them(broker, client, stream, bucket):
    name = stream.topic
    stream.start()
    # Two partitions, four slots, one task manager with one worker.
    assert "what Flink is told: --parallelism=1 " in stream.log
    # One partition stays empty, the other has one message.
    send(client, f"{name}-partition-0", numbered(1))
    began = time.time()
    stream.until(lambda: stored(bucket) == 1)
    assert time.time() - began > 2
    stream.until(lambda: backlog(broker.admin, name) == 0)


def test_a_stream_is_listed_and_stopped_by_the_command(stream, bucket, client):
    stream.start("--sdk_worker_parallelism=3")
    assert "what Flink is told: --parallelism=2 " in stream.log
    listed = command("stream", "list", f"--flink-master={stream.cluster.rest_url}")
    assert "RUNNING      " in listed.stdout
    assert stream.job.name in listed.stdout
    stopped = command("stream", "stop", stream.job.name, f"--flink-master={stream.cluster.rest_url}")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert (
        f"{stream.job.name} has ended with a savepoint. A new job goes on with --savepoint-path=file:" in stopped.stdout
    )
    assert stream.ends() == 0
    again = command("stream", "stop", stream.job.name, f"--flink-master={stream.cluster.rest_url}")
    assert (again.returncode, again.stdout) == (1, "")
    assert "has ended already" in again.stderr


def test_more_subtasks_than_slots_is_a_sentence(broker, topic, bucket, flink):
    argv = arguments(broker, topic(partitions=1), bucket, ["--streaming", "--parallelism=99", *flink.options])
    run = run_job(argv, summary=False)
    assert run.code == 1
    assert re.fullmatch(
        r"error: --parallelism=99: only 4 slots of \S+ are free, and the job would wait for the others\. "
        r"Leave the option out, stop a job, or add a task manager\.\n",
        run.errors,
    ), run.errors


def test_a_cluster_that_does_not_answer_is_a_sentence(broker, topic, bucket, flink):
    name = topic(partitions=1)
    options = [option for option in flink.options if not option.startswith("--flink_master")]
    argv = arguments(broker, name, bucket, ["--streaming", "--flink_master=http://127.0.0.1:1", *options])
    run = run_job(argv, summary=False)
    assert run.code == 1
    assert "error: http://127.0.0.1:1: the Flink cluster does not answer (ConnectionError). Check" in run.errors


def assert_stored(stream: Stream, bucket: Bucket, sent: Mapping[str, Sequence[Position]]) -> None:
    """All that was sent is stored, and the manifests of all windows come."""
    stream.until(lambda: not unnamed(bucket))
    assert_holds(messages_in(bucket, granularity=GRANULARITY), sent)


def files_logged(flink: Flink, keys: list[str]) -> list[dict[str, Any]]:
    """What workers have logged of each of these files, in the log of the task manager."""
    deadline = time.monotonic() + 60
    while True:
        text = flink.cluster.task_managers[0].log.read_text(errors="replace")
        lines = [json.loads(line[line.index("{") :]) for line in text.splitlines() if '{"time": ' in line]
        found = [line for line in lines if line.get("key") in keys]
        if {line["key"] for line in found} == set(keys):
            return found
        assert time.monotonic() < deadline, text[-5_000:]
        time.sleep(0.2)


def window_of(file: StoredFile) -> str:
    """The start of its window, as the log has it."""
    return datetime.fromtimestamp(file.name.window / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run ``tdmq-backup``."""
    return subprocess.run([sys.executable, "-m", "pipelines.cli", *words], capture_output=True, text=True, check=False)


def backlog(admin: PulsarAdmin, topic: str) -> int:
    """Entries that the subscription has not acknowledged, of all partitions."""
    partitions = [
        each
        for each in admin.topics(topic.removeprefix("persistent://").rpartition("/")[0])
        if each.startswith(f"{topic}-")
    ]
    stats = [admin.stats(partition)["subscriptions"].get(SUBSCRIPTION, {}) for partition in partitions]
    return sum(each.get("msgBacklog", 1) for each in stats)


def stored(bucket: Bucket) -> int:
    """Messages that stand at the destination, by the names of the objects."""
    return sum(int(key.rpartition(".")[0].rpartition("-")[2]) for key in bucket.listed() if key.endswith(".avro"))
