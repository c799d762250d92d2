"""``ls``, ``cat`` and ``find``: what they print of a bucket and of a folder, and what is said of wrong inputs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines import cli
from pipelines.commands import looking
from tests.transforms.looking.made_backup import TOPIC, Backup, make_backup
from transforms.cos.destination import open_store, parse_destination
from transforms.cos.folder_store import FolderStore
from transforms.files.naming import DEFAULT_PATH
from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY, CosServer

ROOT = Path(__file__).parents[2]
BUCKET = f"cos://{TEST_BUCKET}/b/"

Look = Callable[..., Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with CosServer(tmp_path_factory.mktemp("cos"), region="ap-guangzhou") as running:
        yield running


@pytest.fixture(scope="module")
def made(server) -> Backup:
    """In a bucket."""
    environment = pytest.MonkeyPatch()
    environment.setenv("COS_SECRET_ID", TEST_SECRET_ID)
    environment.setenv("COS_SECRET_KEY", TEST_SECRET_KEY)
    try:
        store = open_store(parse_destination(BUCKET, region="ap-guangzhou", endpoint=server.endpoint))
        make_backup(store, "b/", topic="persistent://shop/web/clicks", windows=1, partitions=1, window_by=None)
        make_backup(store, "b/_quarantine/", windows=1, partitions=1, files=1, manifests=False, window_by=None)
        return make_backup(store, "b/")
    finally:
        environment.undo()


@pytest.fixture
def look(server, made, monkeypatch) -> Look:
    """Runs a command on the bucket."""
    monkeypatch.setenv("COS_SECRET_ID", TEST_SECRET_ID)
    monkeypatch.setenv("COS_SECRET_KEY", TEST_SECRET_KEY)

    def run(command: str, *options: str, place: str = BUCKET) -> Any:
        place_options = ("--cos-region=ap-guangzhou", f"--cos-endpoint={server.endpoint}")
        return CliRunner().invoke(cli.app, [command, place, *place_options, *options])

    return run


def test_the_template_is_the_usual_one():
    assert looking.DEFAULT_TEMPLATE == DEFAULT_PATH


def test_ls_counts_topics_by_names_alone(look, server):
    before = server.requests["GetObject"]
    done = look("ls")
    assert (done.exit_code, server.requests["GetObject"]) == (0, before)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "topic partitions windows from to files messages size in quarantine"
    rows = {line.split()[0]: line for line in lines[1:]}
    start, end = "2026-11-22 09:40:00Z", "2026-11-22 10:20:00Z"
    assert rows["shop/web/orders"].startswith(f"shop/web/orders 3 8 {start} {end} 48 480 ")
    assert rows["shop/web/orders"].endswith("kB 10")
    assert rows["shop/web/clicks"].startswith(f"shop/web/clicks 1 1 {start} 2026-11-22 09:45:00Z 2 20 ")
    found = [
        json.loads(line)
        for line in look("ls", "--json", "--topic=shop/web/orders", "--partition=1").stdout.splitlines()
    ]
    assert [(each["topic"], each["files"], each["messages"], each["partitions"]) for each in found] == [
        (TOPIC, 16, 160, 1)
    ]


def test_ls_lists_files_while_they_come(look, made):
    done = look("ls", "--long", "--topic=shop/web/orders", "--from=2026-11-22T10:00:00Z", "--to=2026-11-22T10:04:00Z")
    keys = [line.split()[-1] for line in done.stdout.splitlines()]
    assert keys == made.keys_of(window=4)
    assert done.stdout.split()[:7] == ["2026-11-22", "10:00:00Z", "300s", "p0", "5:80:0", "5:89:0", "10"]
    (*others, fact) = map(json.loads, look("ls", "-l", "--json", "--topic", TOPIC).stdout.splitlines())
    assert len(others) == 48
    assert (fact["quarantined"], others[0]["quarantined"]) == (True, False)
    assert others[0]["url"] == f"cos://{TEST_BUCKET}/{made.objects[0]}"


def test_ls_says_where_nothing_is(look, tmp_path):
    done = look("ls", "--topic=shop/web/none")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "No files of messages are there (0 objects were listed).\n"


def test_cat_shows_records_as_lines_and_as_json(look, made):
    done = look("cat", "--topic=shop/web/orders", "--limit=2")
    assert done.stdout == (
        '2026-11-22 09:40:00.000Z p0 5:0:0 key=customer-0 event=2026-11-22T09:40:01Z try=1  {"order": 0, "shop": 0}\n'
        '2026-11-22 09:40:15.000Z p0 5:1:0 key=customer-1 event=2026-11-22T09:40:01Z try=1  {"order": 1, "shop": 0}\n'
    )
    (line,) = look("cat", "--id=5:15", "--topic=shop/web/orders-partition-2", "--json").stdout.splitlines()
    assert (json.loads(line)["entry_id"], json.loads(line)["payload"]) == (15, '{"order": 15, "shop": 2}')
    many = look(
        "cat", "--id-range=5:15..5:24:0", "--partition=2", "--key=customer-3", "--key=customer-2", "--json"
    ).stdout.splitlines()
    assert [json.loads(line)["entry_id"] for line in many] == [16, 17, 23, 24]
    between = (
        "--from=2026-11-22T09:59:46Z",
        "--to=1795341600000",
        "--partition=0",
        "--topic=shop/web/orders",
        "--json",
    )
    assert [json.loads(line)["publish_time"] for line in look("cat", *between).stdout.splitlines()] == [1795341600000]
    assert len(look("cat", "--quarantine").stdout.splitlines()) == 10


def test_cat_reads_objects_and_folders(look, made, server, tmp_path, monkeypatch):
    key = made.objects[5]
    done = look("cat", place=f"cos://{TEST_BUCKET}/{key}")
    assert len(done.stdout.splitlines()) == 10
    make_backup(FolderStore(tmp_path / "a b"), kind=("jsonl", "zstd"), windows=1)
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    (file, *_) = sorted((tmp_path / "a b").rglob("*.zst"))
    for places, count in (
        (["a b"], 60),
        ([(tmp_path / "a b").as_uri() + "/"], 60),
        ([str(file)], 10),
        ([str(file.relative_to(tmp_path)), file.as_uri()], 20),
        (["a b", str(file)], 70),
    ):
        done = run.invoke(cli.app, ["cat", *places])
        assert (done.exit_code, len(done.stdout.splitlines())) == (0, count), done.output


def test_find_reads_as_few_objects_as_names_and_manifests_allow(look, made, server):
    message = made.messages[37]
    before = server.requests["GetObject"]
    done = look("find", f"--id={message.id_text}", f"--topic={TOPIC}", f"--partition={message.partition}")
    assert done.stdout == (
        f"cos://{TEST_BUCKET}/{message.object} record {message.place + 1}: {message.id_text}, "
        'published 2026-11-22T09:44:15.000Z, key "customer-3"\n'
    )
    assert (done.exit_code, done.stderr) == (0, "1 found: 56 objects listed, 0 manifests and 1 objects read.\n")
    assert server.requests["GetObject"] == before + 1
    asked = ("--key=customer-3", "--from=2026-11-22T09:42:00Z", "--to=2026-11-22T09:42:30Z", "--topic=shop/web/orders")
    found = json.loads(look("find", *asked, "--json").stdout)
    assert {name: found[name] for name in ("listed", "manifests_read", "read")} == {
        "listed": 56,
        "manifests_read": 1,
        "read": 6,
    }
    assert [(each["id"], each["record"], each["key"]) for each in found["found"]] == [("5:10:0", 0, "customer-3")] * 3
    missing = look("find", "--id=9:9", "--topic=shop/web/orders")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert missing.stderr == "0 found: 56 objects listed, 0 manifests and 0 objects read.\n"


def test_by_what_time_windows_are_is_looked_up_or_said_to_be_assumed(tmp_path):
    store = FolderStore(tmp_path)
    options = {"windows": 1, "partitions": 1, "files": 1}
    for number in range(6):
        make_backup(store, topic=f"persistent://shop/web/other-{number}", run_id=f"0000000{number}", **options)
    # Published an hour behind the begin of its window.
    make_backup(store, topic="persistent://shop/web/streamed", window_by=None, shift=3600_000, **options)
    make_backup(store, window_by="event_time", shift=3600_000, run_id="90000000", **options)
    time = ("--from=2026-11-22T10:40:00Z", "--json")
    for topic, given, count, assumed in [
        ("orders", [], 10, False),
        ("streamed", [], 0, True),
        ("streamed", ["--window-by=event_time"], 10, False),
        ("streamed", ["--window-by=publish_time"], 0, False),
    ]:
        done = CliRunner().invoke(cli.app, ["cat", str(tmp_path), f"--topic=shop/web/{topic}", *time, *given])
        assert (done.exit_code, len(done.stdout.splitlines())) == (0, count)
        assert ("publish time is assumed" in done.stderr, "--window-by=event_time" in done.stderr) == (assumed,) * 2
        assert len(done.stderr.splitlines()) == assumed


def test_what_is_damaged_is_told_behind_what_was_read(tmp_path):
    make_backup(FolderStore(tmp_path), windows=1, partitions=1, files=1)
    (file,) = tmp_path.rglob("*.avro")
    file.write_bytes(file.read_bytes()[:-20])
    done = CliRunner().invoke(cli.app, ["cat", str(tmp_path)])
    assert done.exit_code == 5
    assert file.name in done.stderr
    assert "is damaged" in done.stderr


WRONG = [
    ("cat", ["--id=5"], "--id=5: not a message id such as 1234:56 or 1234:56:7."),
    ("cat", ["--id=5:99999999999999999999"], "--id=5:99999999999999999999: no message has such an id."),
    ("cat", ["--id-range=5:1"], "--id-range=5:1: not of the form FIRST..LAST, such as 1234:0..1234:99."),
    ("cat", ["--id-range=5:1..x"], "--id-range=x: not a message id such as 1234:56 or 1234:56:7."),
    ("cat", ["--id-range=5:2..5:1"], "--id-range=5:2..5:1: the last id stands before the first."),
    ("cat", ["--id=5:1", "--id-range=5:2..5:3"], "--id and --id-range: give one of them."),
    ("find", ["--id=x", "--from=y"], "--from=y: not a date-time such as 2026-11-22T09:45:00Z.\n"
     "--id=x: not a message id such as 1234:56 or 1234:56:7."),
    ("find", ["--key=a", "--from=2026-11-22T09:45:00"], "--from=2026-11-22T09:45:00: a date-time needs a zone, such as "
     "2026-11-22T09:45:00Z or 2026-11-22T09:45:00+08:00."),
    ("ls", ["--to=1795340400"], "--to=1795340400: epoch times are milliseconds, and this one lies before 1973. Did you "
     "mean 1795340400000?"),
    ("ls", ["--from=2026-11-22T09:45:00Z", "--to=2026-11-22T09:44:59Z"],
     "--to=2026-11-22T09:44:59Z is before --from=2026-11-22T09:45:00Z."),
    ("ls", ["--topic=a/b"], "--topic=a/b: not a topic. Give a name, tenant/namespace/name or "
     "persistent://tenant/namespace/name."),
    ("ls", ["--topic="], "--topic=: not a topic. Give a name, tenant/namespace/name or "
     "persistent://tenant/namespace/name."),
    ("ls", ["--path-template=x/"], "--path-template=x/: must hold {topic}, or files of several topics could not be "
     "told apart."),
    ("cat", ["--window-by=day", "--from=1795340400000"], "--window-by=day: choose one of publish_time, event_time."),
    ("find", [], "Say what to find: --id L:E[:B], or --key KEY."),
]  # fmt: skip


@pytest.mark.parametrize(("command", "options", "said"), WRONG)
def test_wrong_options_are_told_in_a_sentence(look, command, options, said):
    done = look(command, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "".join(f"error: {line}\n" for line in said.splitlines())


@pytest.mark.parametrize(
    ("command", "place", "code", "said"),
    [
        ("ls", "nowhere", 2, "nowhere is neither cos://BUCKET-APPID/PREFIX/ nor file:///FOLDER/, and there is no such"),
        ("ls", "file:///nowhere/", 5, "There is no folder /nowhere."),
        ("ls", "s3://bucket/", 2, "s3://bucket/ is neither cos://BUCKET-APPID/PREFIX/ nor file:///FOLDER/."),
        ("ls", "cos://backup/", 2, "cos://backup/ has no bucket of the form NAME-APPID"),
        ("ls", "cos://none-1250000000/", 5, "There is no bucket none-1250000000 (region ap-guangzhou)"),
        ("cat", "cos://none-1250000000/", 5, "There is no bucket none-1250000000 (region ap-guangzhou)"),
        ("cat", f"cos://{TEST_BUCKET}/b/x.avro", 5, f"There is no object cos://{TEST_BUCKET}/b/x.avro."),
        ("cat", "file:///none.jsonl", 5, "There is no object file:///none.jsonl."),
        ("cat", "none.avro", 5, "There is no object none.avro."),
    ],
)
def test_wrong_places_are_told_in_a_sentence(look, command, place, code, said):
    done = look(command, place=place)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith(f"error: {said}")


def test_a_reader_that_stops_ends_the_command(tmp_path):
    """As ``head`` does: what would take long is left."""
    make_backup(FolderStore(tmp_path), windows=40, partitions=1, files=1, messages=1000, window_by=None)
    for command in (["cat", str(tmp_path), "--json"], ["ls", str(tmp_path), "--long"]):
        program = f"from pipelines import cli\nimport sys\nsys.argv = {['tdmq-backup', *command]!r}\ncli.main()"
        if command[0] == "cat":  # no later object can be read
            for file in sorted(tmp_path.rglob("*.avro"))[20:]:
                file.write_bytes(b"damaged")
        with subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_help_comes_without_beam_and_clients():
    program = (
        "import sys\nfrom pipelines import cli\n"
        "try: cli.app(sys.argv[1:])\n"
        'finally: assert not {"apache_beam", "pulsar", "qcloud_cos"} & set(sys.modules)'
    )
    for command in ("ls", "cat", "find"):
        done = subprocess.run(
            [sys.executable, "-c", program, command, "--help"],
            cwd=ROOT, env={**os.environ, "COLUMNS": "120"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert f"tdmq-backup {command} cos://backup-1250000000/pulsar/ --cos-region ap-guangzhou" in done.stdout


def test_the_examples_of_the_readme_print_what_they_say(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Looking into a backup")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    make_backup(FolderStore(tmp_path / "backup"))
    monkeypatch.chdir(tmp_path)
    for example in block.removeprefix("$ ").split("\n$ "):
        command, _, printed = example.replace(" \\\n", " ").partition("\n")
        done = CliRunner().invoke(cli.app, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
        pattern = r"\S+".join(map(re.escape, " ".join(printed.split()).split("…")))
        assert re.fullmatch(pattern, " ".join((done.stdout + done.stderr).split())), command
