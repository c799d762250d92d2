"""What is said on stderr, and in which form; and that the result alone is on stdout."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from pipelines import logs
from pipelines.display import progress_console, shown
from pipelines.logs import asked_format, cleaned
from tests.pipelines.backups import arguments, backup, run_job, start_job
from tests.pipelines.producing import numbered, send
from transforms.progress import Progress
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.restriction import PartitionRange

JSON = "--log_format=json"


def lines_of(stderr: str) -> list[dict[str, object]]:
    """Every line as the object that it must be."""
    lines = [json.loads(line) for line in stderr.splitlines()]
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(line)
        moment = datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
        assert line["time"].endswith("Z")
        assert moment.utcoffset() is not None
    return lines


@pytest.fixture
def root():
    """Logging is put back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_with_json_each_line_of_a_process_is_an_object_and_so_is_the_result(broker, client, topic, bucket):
    name = topic()
    send(client, name, numbered(30))
    options = [JSON, "--log_level=DEBUG", "--max_file_messages=10"]
    with start_job(arguments(broker, name, bucket, options)) as process:
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    (result,) = stdout.splitlines()
    assert json.loads(result)["messages"] == 30
    lines = lines_of(stderr)
    assert {"pulsar", "transforms.cos.sink"} <= {line["logger"] for line in lines}
    files = [line for line in lines if "key" in line]
    assert sorted(line["key"] for line in files) == bucket.listed()
    assert {line["partition"] for line in files} == {name}
    assert sum(line["messages"] for line in files) == 30
    assert all({"window", "first", "last", "seconds"} <= set(line) for line in files)
    assert sorted(line["bytes"] for line in files) == sorted(len(bucket.read(key)) for key in bucket.listed())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--log_level=LOUD"], 2),
        (["--max_file_messages=many"], 2),
        (["--bogus"], 2),
        (["--start=yesterday", "--granularity=7"], 2),
        (["--topic"], 2),
        ([], 4),
    ],
)
def test_with_json_each_error_is_an_object_with_the_exit_code(options, code):
    source = ["--service_url=pulsar://127.0.0.1:1", "--topic=orders", "--destination=file:///tmp/x/"]
    run = run_job([*source, JSON, *options])
    assert run.code == code
    lines = lines_of(run.errors)
    assert [line["exit_code"] for line in lines] == [code] * len(lines)
    assert [line["level"] for line in lines] == ["ERROR"] * len(lines)
    assert len(lines) == (2 if len(options) == 2 else 1)


def test_as_text_an_error_is_a_sentence_behind_its_word():
    run = run_job(["--service_url=pulsar://127.0.0.1:1", "--topic=orders", "--destination=file:///tmp/x/", "--topic"])
    assert run.code == 2
    assert run.errors == "error: --topic: needs a value. --help lists the options.\n"


@pytest.mark.parametrize(
    ("argv", "form"),
    [
        ([], "text"),
        (["--log_format=json"], "json"),
        (["--log_format", "json"], "json"),
        (["--log_format=json", "--log_format=text"], "text"),
        (["--log_format=xml"], "text"),
        (["--log_format"], "text"),
    ],
)
def test_the_form_is_known_before_the_options_are_read(argv, form):
    assert asked_format(argv) == form


def test_an_exception_is_part_of_its_line(root, capsys):
    logs.set_up("DEBUG", "json")
    try:
        raise ValueError("two\nlines, and Authorization: Bearer abcdef")
    except ValueError:
        logging.getLogger("x").exception("it failed:\nthere")
    (line,) = lines_of(capsys.readouterr().err)
    assert line["message"] == "it failed:\nthere"
    assert "Traceback" in line["exception"]
    assert "abcdef" not in line["exception"]
    assert "two\nlines" in line["exception"]


def test_what_the_client_logs_is_given_out_whole_however_much_it_is(root, capfd, monkeypatch):
    from transforms.pulsar import client as pulsar_client

    logs.set_up("INFO", "text")
    monkeypatch.setattr(logs, "_CLIENT_SECONDS", 0.001)
    with open(pulsar_client.log_file, "ab", buffering=0) as file:

        def write(text: str) -> None:
            # What is written while the file is cut back may be lost.
            with logs._client_log._lock:
                file.write(text.encode())

        for number in range(20_000):
            write(f"2026-11-22 00:00:00.000 ERROR [1] Place:1 | line {number} {'x' * 80}\n")
            if number % 5_000 == 0:
                write("2026-11-22 00:00:00.000 WARN  [1] Place:1 | in ")
                logs.finish()
                write("two pieces\n")
                logs.finish()
    logs.finish()
    stderr = capfd.readouterr().err
    assert re.findall(r"ERROR pulsar: Place:1 \| line (\d+)", stderr) == [str(number) for number in range(20_000)]
    assert stderr.count("WARNING pulsar: Place:1 | in two pieces") == 4
    assert os.stat(pulsar_client.log_file).st_size <= 1 << 20


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("pulsar://user:pass@host:1/x", "pulsar://[hidden]@host:1/x"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [hidden]"),
        ("{'Authorization': 'q-sign-algorithm=sha1&q-ak=x'}", "{'Authorization': '[hidden]&q-ak=x'}"),
        ("x-cos-security-token: abc", "x-cos-security-token: [hidden]"),
        ("q-signature=0123abc&x=1", "q-signature=[hidden]&x=1"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.sig-_1 end", "token [hidden] end"),
        ("AKIDabcdefgh12345 does not exist", "[hidden] does not exist"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nx", "[hidden]\nx"),
        ("--token=env:ROLE_KEY: the variable", "--token=env:ROLE_KEY: the variable"),
        ("a\x1b[2Jb\rc\td\ne", "a\\x1b[2Jb\\x0dc\td\ne"),
        ("topic persistent://t/n/Größe 1.5@home", "topic persistent://t/n/Größe 1.5@home"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_what_moves_the_cursor_is_shown(text, clean):
    assert cleaned(text) == clean


@pytest.mark.parametrize(("live", "terminal"), [(False, "xterm"), (True, "dumb")])
def test_the_live_display_is_for_terminals_and_text_only(live, terminal, root, caplog, monkeypatch):
    monkeypatch.setenv("TERM", terminal)
    monkeypatch.setattr("pipelines.display._LINE_SECONDS", 0.01)
    caplog.set_level("INFO")
    ranges = [PartitionRange(TopicPartition("persistent://a/b/[red]c[/]"), Position(1, 0), Position(2, 0))]
    console = progress_console()
    console._force_terminal = True
    with shown(Progress(), ranges, console, live=live):
        while not caplog.records:
            pass
    (record, *_) = caplog.records
    assert record.fields == {"messages": 0, "bytes": 0, "files": 0, "partitions_done": 0}


def test_on_a_terminal_lines_and_errors_stay_readable_and_colours_can_be_switched_off(broker, client, topic, folder):
    name = topic("odd[red]:smile:")
    send(client, name, numbered(3))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.backup", *arguments(broker, name, folder, [])],
        cwd=Path(__file__).parents[2],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "40", "TERM": "xterm"},
    )
    os.close(theirs)
    shown_there = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        shown_there += piece
    assert process.wait(60) == 0, shown_there
    os.close(ours)
    assert not re.search(rb"\x1b\[[0-9;]*m", shown_there), "no colour, no weight"
    assert b"Traceback" not in shown_there
    assert b"[red]" in re.sub(rb"[^!-~]", b"", shown_there)


def test_names_with_markup_are_shown_as_they_are(broker, client, topic, bucket, capsys):
    name = topic("odd[red]:smile:")
    send(client, name, numbered(3))
    backup(broker, name, bucket)
    assert "odd[red]:smile:" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_result_that_nobody_reads_is_no_error(broker, client, topic, folder, form):
    name = topic()
    send(client, name, numbered(3))
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run(
        [sys.executable, "-m", "pipelines.backup", *arguments(broker, name, folder, [f"--log_format={form}"])],
        cwd=Path(__file__).parents[2],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    assert "BrokenPipe" not in process.stderr
