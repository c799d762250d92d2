"""What a killed run leaves of large files: spooled parts and multipart uploads."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.pipelines.backups import arguments, backup, start_job
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.testing.cos_faults import ALWAYS
from transforms.testing.cos_server import TEST_BUCKET
from transforms.testing.raw_producer import Message, send_raw

DAY = "--granularity=24h"
LITTLE = "--memory_budget=64MB"


def large_topic(broker, topic, seed):
    name, source = topic(), random.Random(seed)
    sent = send_raw(broker.service_url, name, [Message(source.randbytes(5_000_000)) for _ in range(4)])
    return name, [each.position for each in sent]


def test_sigkill_while_parts_are_spooled_and_again_leaves_nothing_behind(broker, topic, bucket):
    first, sent = large_topic(broker, topic, 1)
    second, sent_second = large_topic(broker, topic, 2)
    bucket.server.faults.add("hang", operation="CompleteMultipartUpload", times=ALWAYS)
    asked = bucket.server.requests
    for number, name in enumerate([first, second]):
        killed_when(
            lambda wanted=number + 1: asked["CompleteMultipartUpload"] == wanted,
            arguments(broker, name, bucket, [DAY, LITTLE]),
        )
    bucket.server.faults.clear()
    assert len(spooled(bucket)) >= 2
    assert len(uploads(bucket)) == 2
    run = backup(broker, first, bucket, DAY, LITTLE)
    left = spooled(bucket)
    assert left, "the parts of the other topic stay"
    assert all(second.rpartition("/")[2] in key for key in [*left, *uploads(bucket)])
    assert run.errors.count("ended the multipart upload") == len(uploads(bucket)) == 1
    # Small files need no parts: none of those left is written anew, and so removed by the way.
    run = backup(broker, second, bucket, DAY, "--max_file_messages=1")
    assert (spooled(bucket), uploads(bucket)) == ([], [])
    for key in left:
        assert f"removed {key}, which an earlier run left behind" in run.errors
    assert_holds(messages_in(bucket, granularity=86400), {first: sent, second: sent_second})


def test_sigkill_while_parts_are_written_to_a_folder_and_again_leaves_nothing_behind(broker, topic, folder):
    name, sent = large_topic(broker, topic, 3)
    killed_when(
        lambda: any("_spool/" in key and ".part" in key for key in folder.listed()),
        arguments(broker, name, folder, [DAY, LITTLE]),
    )
    backup(broker, name, folder, DAY, "--max_file_messages=1")
    assert len(folder.listed()) == 4
    assert_holds(messages_in(folder, granularity=86400), {name: sent})


def killed_when(reached: Callable[[], bool], argv: list[str]) -> None:
    """Start the job, and SIGKILL it as soon as it has come so far."""
    with start_job(argv) as process:
        try:
            deadline = time.monotonic() + 90
            while not reached():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "the job was to come further"
                time.sleep(0.002)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == -9


def spooled(bucket) -> list[str]:
    return [key for key in bucket.listed() if key.startswith(f"{bucket.prefix}_spool/")]


def uploads(bucket) -> list[str]:
    return [upload.key for upload in bucket.server.disk.uploads(TEST_BUCKET, "")]
