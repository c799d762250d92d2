from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.pipelines.backups import Bucket, arguments, backup, start_job
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.cos.uploads import UPLOADS_AT_ONCE
from transforms.testing.cos_faults import ALWAYS
from transforms.testing.producers import produce

ROOT = Path(__file__).parents[2]
SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
SMALL_FILES = ["--max_file_messages=100", "--subscription=ours"]

_LOGS_WITHOUT_END = """
import logging, os, threading, time
from pipelines import logs
logs.set_up("INFO", "text")
def log():
    while True:
        logging.getLogger("transforms").info("wrote another object")
for _ in range(4):
    threading.Thread(target=log, daemon=True).start()
time.sleep(0.1)
logs.hush()
logs.tell("interrupted", 130)
time.sleep(0.2)
os._exit(130)
"""


def wait_until_heard(process: subprocess.Popen[str]) -> None:
    """Until signals no longer do what the system does by default."""
    status = Path(f"/proc/{process.pid}/status")
    while not int(re.findall(r"SigCgt:\s*(\w+)", status.read_text())[0], 16) >> (signal.SIGTERM - 1) & 1:
        assert process.poll() is None
        time.sleep(0.001)


def end(process: subprocess.Popen[str], number: int) -> tuple[str, str]:
    """Send a signal; gives stdout and stderr of the process, which has to end within seconds."""
    process.send_signal(number)
    return process.communicate(timeout=10)


def start_program(program: Sequence[str], argv: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, *argv], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@contextlib.contextmanager
def waiting_for_a_silent_broker(bucket: Bucket) -> Iterator[subprocess.Popen[str]]:
    """A run whose broker takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"--service_url=pulsar://127.0.0.1:{silent.getsockname()[1]}"
        with start_job([url, "--topic=orders", *bucket.options]) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                yield process


@pytest.mark.parametrize(("number", "code", "said"), SIGNALS)
def test_a_run_that_is_asked_to_end_says_where_it_stands_and_running_again_completes_it(
    broker, topic, bucket, number, code, said
):
    name = topic(partitions=2)
    names = [f"{name}-partition-{index}" for index in range(2)]
    sent = produce(broker.service_url, name, 20_000, partitions=2)
    bucket.server.latency = 0.2
    # One more than are under way at once: of at least one the run has heard that it stands.
    under_way = bucket.when_stored(UPLOADS_AT_ONCE + 1)
    with start_job(arguments(broker, name, bucket, SMALL_FILES)) as process:
        assert under_way.wait(60)
        out, errors = end(process, number)
    assert (process.returncode, out) == (code, "")
    assert "Traceback" not in errors
    told = re.search(
        rf"^{said} while reading, with (\d+) objects? written: (.*); nothing was acknowledged\. "
        r"Run it again to complete it\.$",
        errors,
        re.MULTILINE,
    )
    assert told is not None, errors
    assert 0 < int(told[1]) <= len(bucket.listed())
    short = names[0].removeprefix("persistent://").removesuffix("-0")
    assert re.search(rf"{short}-[01] read up to \d+:\d+:\d+, of \d+:\d+:\d+|2 of 2 partitions read", told[2])
    for each in names:
        marked = broker.admin.internal_stats(each)["cursors"]["ours"]["markDeletePosition"]
        assert marked.endswith(":-1"), "nothing acknowledged"
    bucket.server.latency = 0
    backup(broker, name, bucket, *SMALL_FILES)
    assert_holds(
        messages_in(bucket), {each: [s.position for s in sent if s.partition == int(each[-1])] for each in names}
    )


@pytest.mark.parametrize("program", [["-m", "pipelines.backup"], ["-m", "pipelines.cli", "backup"]])
@pytest.mark.parametrize(("number", "code", "said"), SIGNALS)
def test_a_signal_while_the_program_loads_ends_it_with_a_sentence(program, number, code, said):
    with start_program(program, ["--topic=orders"]) as process:
        wait_until_heard(process)
        out, errors = end(process, number)
    assert (process.returncode, out) == (code, "")
    assert errors == f"{said} before anything was read; nothing was stored or acknowledged. Run it again.\n"


def test_the_sentence_is_the_last_line_however_much_is_logged():
    with start_program(["-c", _LOGS_WITHOUT_END], []) as process:
        _, errors = process.communicate(timeout=60)
    assert errors.endswith(" INFO transforms: wrote another object\ninterrupted\n")


def test_a_run_whose_bucket_does_not_answer_ends_all_the_same(broker, topic, bucket):
    name = topic()
    produce(broker.service_url, name, 1_000)
    bucket.server.faults.add("hang", operation="PutObject", key="*.avro", times=ALWAYS)
    with start_job(arguments(broker, name, bucket, SMALL_FILES)) as process:
        while bucket.server.faults.played == 0:
            time.sleep(0.01)
        _, errors = end(process, signal.SIGINT)
    assert process.returncode == 130
    assert "interrupted while reading, with 0 objects written" in errors


def test_a_broker_that_does_not_answer_keeps_no_run_from_ending(bucket):
    with waiting_for_a_silent_broker(bucket) as process:
        _, errors = end(process, signal.SIGTERM)
    assert process.returncode == 143
    assert errors.endswith("terminated before anything was read; nothing was stored or acknowledged. Run it again.\n")


def test_on_a_terminal_the_cursor_comes_back_and_the_sentence_stands_alone(broker, topic, bucket):
    name = topic()
    produce(broker.service_url, name, 5_000)
    bucket.server.latency = 0.2
    under_way = bucket.when_stored(3)
    terminal, inner = pty.openpty()
    argv = arguments(broker, name, bucket, SMALL_FILES)
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.backup", *argv], cwd=ROOT, stderr=inner, stdout=inner
    ) as process:
        os.close(inner)
        shown, asked = bytearray(), False
        with contextlib.suppress(OSError):  # how a terminal ends
            while piece := os.read(terminal, 65536):
                shown += piece
                if under_way.is_set() and not asked:
                    process.send_signal(signal.SIGINT)
                    asked = True
        process.wait(10)
    os.close(terminal)
    assert process.returncode == 130
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor is shown again"
    ended = bytes(shown[shown.rindex(b"\x1b[?25h") :])
    assert re.search(rb"interrupted while reading, [^\n]*complete it\.\r\n$", ended), ended


def test_a_second_signal_ends_a_run_whose_sentence_nobody_reads(bucket):
    with waiting_for_a_silent_broker(bucket) as process:
        assert process.stderr is not None
        full = os.open(f"/proc/{process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(full, b"." * 4096)
        os.close(full)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_a_signal_that_is_sent_twice_at_once_is_one():
    """As timeout(1) sends it, to the process and to its group. The savepoint of a stream takes seconds."""
    script = (
        "import os, signal, time; from pipelines import signals; signals.listen(); "
        "signals.stands(lambda: time.sleep(2) or 'with a savepoint.'); "
        "[os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)]; time.sleep(60)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (143, "terminated with a savepoint.\n")


def test_two_signals_at_once_leave_the_sentence_whole(bucket):
    with start_program(["-m", "pipelines.backup"], ["--topic=orders"]) as process:
        wait_until_heard(process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    assert process.returncode in (130, 143)
    assert errors.endswith("before anything was read; nothing was stored or acknowledged. Run it again.\n")
