"""The command: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pipelines.rules.model import read_rule
from pipelines.rules.store import RuleStore
from tests.pipelines.backups import SECRETS
from tests.pipelines.verify.stored_backup import Kind, in_bucket, in_folder, write_backup, write_run
from transforms.testing.cos_server import TEST_BUCKET, CosServer

#: Runs the command, and fails where that has loaded Beam or the client of Pulsar.
LIGHT = """
import sys
from pipelines import cli
try: cli.main()
finally: assert not {"apache_beam", "pulsar"} & set(sys.modules)
"""


def run(*arguments: str, light: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(("-c", LIGHT) if light else ("-m", "pipelines.cli")), "verify", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )


def test_a_person_is_told_what_is_proved_and_what_was_found_with_its_cure(tmp_path: Path) -> None:
    backup = write_backup(in_folder(tmp_path, Kind()))
    ended = run(f"file://{tmp_path}")
    assert (ended.returncode, ended.stderr) == (0, "")
    first, looked, *_, last = ended.stdout.splitlines()
    assert first.endswith("108 messages in 6 windows; 8 manifests, 2 run records.")
    assert looked == "Looked at: names, manifests, run records, not contents (--deep)."
    assert last == "PROVED: all 108 messages are where they belong."
    (tmp_path / "cluster/shop/\x1b[2J.txt").touch()
    (tmp_path / "cluster/nowhere").symlink_to(tmp_path / "none")
    for key in backup.keys("/orders/")[:3]:
        backup.delete(key)
    ended = run(f"file://{tmp_path}", "--show=2", "--deep")
    assert ended.returncode == 6
    assert "FOUND missing (3): A manifest names objects that are not there." in ended.stdout
    assert "  … and 1 more; --all shows them." in ended.stdout
    assert "  → If the broker still holds the messages, run the backup over them again" in ended.stdout
    assert "note stranger (1)" in ended.stdout
    assert "\x1b" not in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("NOT PROVED: 4 findings of 2 kinds")


def test_a_program_is_told_the_same(tmp_path: Path) -> None:
    with CosServer(tmp_path) as server:
        backup = write_backup(in_bucket(tmp_path, server, Kind("jsonl", "zstd", "value")))
        lost = backup.keys("/events/")[0]
        backup.delete(lost)
        options = (f"cos://{TEST_BUCKET}/backup", f"--cos-endpoint={server.endpoint}", "--json", "--deep")
        ended = run(*options, **SECRETS)
        found = json.loads(ended.stdout)
        assert (ended.returncode, found["proved"]) == (6, False)
        assert found["looked_at"] == {"heads": found["objects"], "contents": True, "broker": False}
        assert found["counts"] == {"missing": 1, "fewer": 1}
        assert [each["key"] for each in found["findings"]] == [lost, "backup/_runs/run-1.json"]
        events = next(each for each in found["stretches"] if each["topic"].endswith("/events"))
        assert (events["start"], events["stop"], events["proved"], events["payload_value"]) == (
            "7:0:0",
            "8:4:0",
            False,
            True,
        )
        refused = run(*options, COS_SECRET_ID=SECRETS["COS_SECRET_ID"], COS_SECRET_KEY="another")
        assert (refused.returncode, refused.stdout) == (3, "")
        assert "another" not in refused.stderr


def test_without_run_records_and_manifests_nothing_says_how_much_there_should_be(tmp_path: Path) -> None:
    backup = in_folder(tmp_path, Kind())
    write_run(backup, "run-1", record=False, manifests=False)
    for options, kinds in (((), {"no-manifest", "unproved"}), (("--no-manifests",), {"unproved"})):
        ended = run(f"file://{tmp_path}", "--json", *options)
        assert (ended.returncode, set(json.loads(ended.stdout)["counts"])) == (6, kinds)
    write_run(backup, "run-2")  # over the same, and with both
    assert run(f"file://{tmp_path}").returncode == 0


def test_layouts_of_ones_own_are_taken_from_run_records_or_options(tmp_path: Path) -> None:
    backup = in_folder(tmp_path, Kind())
    template = "{topic}/%d/"
    write_run(backup, "run-1", template=template)
    assert run(f"file://{tmp_path}").returncode == 0
    backup.delete("_runs/run-1.json")
    ended = run(f"file://{tmp_path}", "--json")
    assert (ended.returncode, "unknown-topic" in json.loads(ended.stdout)["counts"]) == (6, True)
    ended = run(f"file://{tmp_path}", "--json", f"--path-template={template}")
    assert (ended.returncode, set(json.loads(ended.stdout)["counts"])) == (0, {"no-run-record"})


def test_a_rule_says_where_its_backup_is_and_what_is_in_it(tmp_path: Path) -> None:
    backup = in_folder(tmp_path / "backup", Kind())
    write_backup(backup)
    backup.delete(backup.keys("/events/")[0])
    store = f"--store=sqlite:///{tmp_path}/rules.db"
    rule = {
        "name": "orders",
        "address": "pulsar://127.0.0.1:1",
        "role_key": "env:IS_NOT_SET_HERE",
        "cluster": "cluster",
        "namespace": "shop",
        "topic": ["orders", "empty"],
        "subscription": "backup",
        "bucket": backup.destination.url,
    }
    RuleStore(store.partition("=")[2]).create(read_rule(rule))
    ended = run("--rule=orders", store, "--json", light=False)
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["messages"], found["counts"]) == (0, 72, {"absent": 1})
    topics = [f"--topic=persistent://cluster/shop/{name}" for name in ("orders", "empty")]
    ended = run("--rule=orders", store, "--json", *topics, light=False)
    assert (ended.returncode, json.loads(ended.stdout)["counts"]) == (6, {"nothing": 1})
    ended = run("--rule=payments", store, light=False)
    assert (ended.returncode, ended.stdout) == (2, "")


def test_what_is_wrong_with_options_ends_with_2_and_in_the_words_of_the_command() -> None:
    for options, said in [
        ([], "error: Give the URL of the backup, or --rule with the rule that makes it."),
        (["backup"], "error: backup/ is neither cos://BUCKET-APPID/PREFIX/ nor file:///FOLDER/."),
        (["file:///x", "--against-topic"], "error: --against-topic needs --service-url"),
        (["file:///x", "--token=env:X"], "error: --service-url, --admin-url and --token are for --against-topic"),
        (["file:///x", "--path-template=x/"], "error: --path-template=x/: must hold {topic}"),
    ]:
        ended = run(*options)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert said in ended.stderr
