from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.backups import SECRETS, arguments, backup, start_job
from tests.pipelines.process_tree import children, running
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.cos.uploads import UPLOADS_AT_ONCE
from transforms.testing.cos_faults import ALWAYS

SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The worker processes of a run."""
    (host,) = children(process.pid)
    return children(host)


def wait_for(question: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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


def test_a_host_that_is_killed_while_it_loads_ends_the_run_with_a_sentence(broker, backlog, bucket):
    name, _ = backlog
    with start_job(arguments(broker, name, bucket, ["--local_workers=2"])) as process:
        wait_for(lambda: children(process.pid))
        (host,) = children(process.pid)
        os.kill(host, signal.SIGKILL)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "\nerror: the process that starts the workers of the run was killed (SIGKILL), as a rule" in f"\n{errors}"
    assert bucket.listed() == []


def test_a_host_that_is_killed_later_is_not_needed(broker, backlog, bucket):
    name, positions = backlog
    bucket.server.latency = 0.05
    under_way = bucket.when_stored(1)
    with start_job(arguments(broker, name, bucket, ["--local_workers=2"])) as process:
        assert under_way.wait(60)
        (host,) = children(process.pid)
        workers = children(host)
        os.kill(host, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert_holds(messages_in(bucket), positions)
    wait_for(lambda: not any(map(running, workers)))


def test_one_worker_is_the_process_of_the_run_itself(broker, backlog, bucket):
    name, _ = backlog
    bucket.server.faults.add("hang", operation="PutObject", key="*.avro", times=ALWAYS)
    with start_job(arguments(broker, f"{name}-partition-1", bucket, ["--local_workers=2"])) as process:
        wait_for(lambda: bucket.server.faults.played > 0)
        assert children(process.pid) == []
        process.kill()
