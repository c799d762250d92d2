"""A folder that is full, read-only or left dirty by a killed run. Real file systems, mounted for the job alone."""

from __future__ import annotations

import random
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.pipelines.backups import Folder, arguments, assert_sentences_only, backup, refused
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.cos.folder_store import _HOST
from transforms.testing.raw_producer import Message, send_raw

DAY = "--granularity=24h"
ROOT = Path(__file__).parents[2]

#: $1: the folder; $2: what becomes of it at first; $3: where everything is put in the end; then the job.
SCRIPT = """
set -u
folder=$1 fault=$2 out=$3; shift 3
mount -t tmpfs -o "size=3m" tmpfs "$folder" || exit 99
case $fault in read-only) mount -o remount,ro "$folder" || exit 99 ;; esac
"$@" 2> "$out/first.errors"; echo $? > "$out/first.code"
(cd "$folder" && find . -type f) > "$out/first.files"
mkdir "$out/first" && cp -R "$folder/." "$out/first/"
mount -o remount,rw,size=100m "$folder" || exit 99
"$@" 2> "$out/second.errors"; echo $? > "$out/second.code"
mkdir "$out/second" && cp -R "$folder/." "$out/second/"
"""


def run_twice(folder: Path, fault: str, out: Path, argv: list[str]) -> None:
    """Run the job on a file system of 3 MB, then on the same one with room; a name space of its own hides it."""
    job = [sys.executable, "-m", "pipelines.backup", *argv]
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh", str(folder), fault, str(out), *job]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, f"this test mounts file systems: {done.stderr}"


@pytest.mark.parametrize("options", [["--max_file_messages=2"], ["--memory_budget=64MB"]], ids=["plain", "spooled"])
def test_a_full_disk_is_an_error_that_says_so_and_with_room_the_next_run_completes(
    broker, topic, folder, tmp_path, options
):
    name, source = topic(), random.Random(5)
    size = 300_000 if "--max_file_messages=2" in options else 3_000_000
    sent = send_raw(broker.service_url, name, [Message(source.randbytes(size)) for _ in range(16)])
    places = [each.position for each in sent]
    out = tmp_path / "out"
    out.mkdir()
    run_twice(folder.path, "full", out, arguments(broker, name, folder, [DAY, "--codec=null", *options]))
    errors = (out / "first.errors").read_text()
    assert (out / "first.code").read_text() == "5\n", errors
    assert_sentences_only(errors)
    assert f"The file system of {folder.path} is full. Make room and run again." in errors
    left = (out / "first.files").read_text().split()
    assert not [name for name in left if ".partial" in name and not name.startswith("./_spool/")]
    first = messages_in(WithoutSpool(out / "first"), granularity=86400, named=False).get(name, [])
    assert len(first) < len(places), "it did not fit"
    assert (out / "second.code").read_text() == "0\n", (out / "second.errors").read_text()
    assert not list((out / "second").rglob(".partial*")), "the next run removes what the first has left"
    second = Folder(out / "second")
    assert_holds(messages_in(second, granularity=86400), {name: places})
    for key in WithoutSpool(out / "first").listed():
        assert second.read(key) == (out / "first" / key).read_bytes()


def test_a_read_only_folder_is_an_error_that_says_so_and_writable_the_next_run_completes(
    broker, client, topic, folder, tmp_path
):
    name = topic()
    places = send(client, name, numbered(10))
    out = tmp_path / "out"
    out.mkdir()
    run_twice(folder.path, "read-only", out, arguments(broker, name, folder, [DAY]))
    errors = (out / "first.errors").read_text()
    assert (out / "first.code").read_text() == "5\n", errors
    assert_sentences_only(errors)
    assert f"{folder.path} is on a file system that is mounted read-only. Mount it writable." in errors
    assert (out / "second.code").read_text() == "0\n"
    assert_holds(messages_in(Folder(out / "second"), granularity=86400), {name: places})


def test_a_folder_below_a_file_is_refused(broker, client, topic, tmp_path):
    name = topic()
    send(client, name, numbered(1))
    (tmp_path / "file").write_text("not a folder")
    run = refused(broker, name, Folder(tmp_path / "file" / "inner"))
    assert run.code == 5
    assert "cannot be made: a part of its path is a file. Use another folder." in run.errors


def test_partial_files_of_a_killed_run_are_cleared_by_the_next(broker, client, topic, folder):
    name = topic()
    places = send(client, name, numbered(20))
    backup(broker, name, folder, DAY, f"--end={places[9]}")
    (file,) = folder.listed()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    abandoned = f".partial-{_HOST}-{ended.pid}-{uuid.uuid4().hex[:8]}-{uuid.uuid4().hex}"
    spooled = folder.path / "_spool" / "shop"
    spooled.mkdir(parents=True)
    for place in (spooled, (folder.path / file).parent):
        (place / abandoned).write_bytes(b"half a fi")
    backup(broker, name, folder, DAY)
    assert_holds(messages_in(folder, granularity=86400), {name: places})


class WithoutSpool(Folder):
    """What stands there as files of messages."""

    def listed(self) -> list[str]:
        return [key for key in super().listed() if not key.startswith("_spool/")]
