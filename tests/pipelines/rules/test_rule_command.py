"""``tdmq-backup rule`` without a cluster."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.commands.rule_options import create_parser, edit_parser, read_words
from pipelines.commands.rule_views import print_rules
from pipelines.commands.words import offers, with_underscores
from pipelines.options import parse_options
from pipelines.rules.arguments import check_rule
from pipelines.rules.model import Rule, read_rule
from pipelines.rules.records import RunState, Trigger
from pipelines.rules.standing import all_standings
from pipelines.rules.store import RuleStore
from tests.pipelines.rules.asking import RIGHT, Said, ask, options
from tests.pipelines.rules.wrong_rules import SECRET

#: Each field with another value than its default.
FULL = {
    **RIGHT,
    "description": "of the shop's orders",
    "enabled": "no",
    "schedule": "0 6 * * mon",
    "retries": "5",
    "keep_log": "90d",
    "admin_url": "https://10.0.0.7:8080",
    "address": "pulsar+ssl://10.0.0.7:6651",
    "start_point": "1:30",
    "role": "backup",
    "role_key": "env:ROLE_KEY",
    "listener_name": "outside",
    "tls_trust_certs": "/etc/certs/ca.pem",
    "tls_cert": "/etc/certs/own.pem",
    "tls_key": "/etc/certs/own.key",
    "on_trimmed": "continue",
    "destination_path": "pulsar/",
    "cos_endpoint": "http://127.0.0.1:9000",
    "cos_credentials": "cvm-role:backup",
    "storage_class": "STANDARD_IA",
    "server_side_encryption": "AES256",
    "acl": "private",
    "tags": "team=shop",
    "metadata": "owner=shop",
    "retry_deadline": "20m",
    "granularity": "1h",
    "window_by": "event_time",
    "allowed_disorder": "1m",
    "max_file_messages": "100",
    "max_file_bytes": "1MB",
    "format": "jsonl",
    "codec": "none",
    "payload": "json",
    "path_template": "{topic}/%Y/",
    "timezone": "Asia/Shanghai",
    "manifest": "off",
    "local_workers": "2",
    "memory_budget": "512MB",
}


@pytest.fixture(autouse=True)
def own_store(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDMQ_BACKUP_STORE", sqlite_url)


def rule(*words: str, text: str | bytes = "") -> Said:
    return ask("rule", *words, text=text)


def done(*words: str, text: str | bytes = "") -> str:
    said = rule(*words, text=text)
    assert said.code == 0, said.errors
    return said.output


def create(name: str = "orders", **fields: str) -> str:
    return done("create", name, "--no-check", *options({**RIGHT, **fields}))


def shown(name: str = "orders") -> dict:
    return json.loads(done("show", name, "--json"))


def test_what_is_given_is_kept_and_shown() -> None:
    assert create(schedule="every 15m").startswith("Rule orders is created. Its next turn is 20")
    found = shown()
    assert found["given"] == {**RIGHT, "name": "orders", "topic": ["orders"], "schedule": "every 15m"}
    assert (found["state"], found["revision"], found["positions"]) == ("never run", 1, {})
    text = done("show", "orders")
    assert "schedule      every 15m" in text
    assert "role_key" not in text


def test_a_name_that_is_taken_is_refused() -> None:
    create()
    said = rule("create", "orders", "--no-check", *options(RIGHT))
    assert said.code == 2
    assert said.sentences == ["There is a rule orders already. Choose another name, or edit that one."]


def test_options_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "rule.json").write_text(json.dumps({**RIGHT, "granularity": "1h", "format": "jsonl"}))
    done("create", "orders", "--no-check", f"--file={tmp_path}/rule.json", "--granularity=2m")
    assert shown()["given"]["granularity"] == "2m"
    assert shown()["given"]["format"] == "jsonl"


def test_the_command_that_a_rule_is_does_the_same() -> None:
    create(granularity="1h", destination_path="pulsar/", tags="team=shop")
    words = done("show", "orders", "--command").split()
    assert words[:2] == ["tdmq-backup", "backup"]
    given = [with_underscores(word.strip("'")) for word in words[2:]]
    assert parse_options(given).destination == check_rule(read_rule(shown()["given"])).destination


def test_an_edit_shows_what_it_changes_and_what_follows() -> None:
    create()
    said = done("edit", "orders", "--no-check", "--granularity=1h", "--destination-path=other/")
    assert said.splitlines() == [
        "destination_path: (not given) -> other/",
        "granularity: 5m -> 1h",
        "New files go to backup-1250000000/other/. Those that were stored before stay in backup-1250000000/.",
        "From the next run on files are cut or written otherwise. What is stored stays as it is, and is not stored "
        "again.",
        "Rule orders is changed; it has revision 2 now.",
    ]
    assert "granularity: 5m -> 1h" in done("show", "orders", "--revisions")
    assert json.loads(done("show", "orders", "--revision=1", "--json"))["given"].get("granularity") is None
    said = done("edit", "orders", "--no-check", "--unset=granularity", "--json")
    assert json.loads(said)["changes"] == {"granularity": {"before": "1h", "after": "5m"}}
    assert done("edit", "orders", "--no-check", "--granularity=5m") == "Nothing to change.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--name=other"], "name: is never changed. "),
        (["--unset=name"], "--unset=name: a rule's name is never changed."),
        (["--unset=granularitee"], "--unset=granularitee: a rule has no such field. "),
        (["--unset=topic", "--topic=a"], "--unset=topic: a value is given for it as well. "),
        (["--granularity=5"], "granularity=5: not a duration. "),
        (["--revision=7", "--granularity=1h"], "Rule orders was changed by "),
        (["--editor"], "--editor: no editor is known. "),
        (["--file=-"], "name: is never changed, and this rule is orders. "),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_an_edit_that_is_wrong_changes_nothing(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    create()
    said = rule("edit", "orders", "--no-check", *words, text="name: payments\n")
    assert said.code == 2
    assert said.sentences[0].startswith(sentence)
    assert shown()["revision"] == 1


def test_a_file_is_the_whole_rule() -> None:
    create(granularity="1h")
    done("edit", "orders", "--no-check", "--file=-", text=json.dumps({**RIGHT, "format": "jsonl"}))
    assert shown()["given"] == {**RIGHT, "name": "orders", "topic": ["orders"], "format": "jsonl"}


def test_an_editor_changes_a_rule_and_what_is_wrong_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    create(granularity="1h")
    monkeypatch.setenv("EDITOR", "sed -i s/1h/2h/")
    assert "granularity: 1h -> 2h" in done("edit", "orders", "--no-check", "--editor")
    monkeypatch.setenv("EDITOR", "sed -i s/granularity/granularitee/")
    said = rule("edit", "orders", "--no-check", "--editor")
    assert said.code == 2
    assert said.sentences[0] == "granularitee: a rule has no such field. Did you mean granularity?"
    kept = Path(re.findall(r"--file=(\S+) takes it", said.errors)[0])
    assert "granularitee: 2h" in kept.read_text()
    kept.unlink()
    monkeypatch.setenv("EDITOR", "false")
    assert rule("edit", "orders", "--editor").sentences == ["--editor: false ended with 1. Nothing is changed."]


def test_the_second_of_two_editors_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create()
    other = f"{sys.executable} -m pipelines.cli rule edit orders --no-check --retries=7"
    (tmp_path / "editor").write_text(f"#!/bin/sh\n{other} && echo 'granularity: 1h' >> $1\n")
    (tmp_path / "editor").chmod(0o700)
    monkeypatch.setenv("EDITOR", str(tmp_path / "editor"))
    said = rule("edit", "orders", "--no-check", "--editor")
    assert said.code == 2
    assert re.fullmatch(
        r"Rule orders was changed by \S+ at \S+ \S+Z, while you worked on revision 1\. Look at it again \(rule show "
        r"orders\), and repeat your change\.",
        said.sentences[0],
    )
    assert shown()["given"]["retries"] == 7
    assert "granularity" not in shown()["given"]


def test_a_rule_is_disabled_and_enabled() -> None:
    create(schedule="every 15m")
    assert done("disable", "orders") == "Rule orders is disabled.\n"
    assert (shown()["state"], shown()["next_turn"]) == ("disabled", None)
    assert done("disable", "orders") == "Rule orders is disabled already.\n"
    assert done("enable", "orders").startswith("Rule orders is enabled. Its next turn is ")
    assert shown()["next_turn"] is not None


@pytest.mark.parametrize(
    ("schedule", "trigger", "expected"),
    [
        ("every 15m", Trigger.SCHEDULE, "Its run first goes on."),
        ("continuous", Trigger.MANUAL, "Its run first goes on."),
        ("continuous", Trigger.SCHEDULE, "The service that watches its job stops it with a savepoint."),
    ],
)
def test_disabling_says_what_becomes_of_the_run(
    schedule: str, trigger: Trigger, expected: str, sqlite_url: str
) -> None:
    flink = {"runner": "FlinkRunner", "runner_options": "--flink_master=http://127.0.0.1:1"}
    create(schedule=schedule, **(flink if schedule == "continuous" else {}))
    store = RuleStore(sqlite_url)
    store.begin("orders", trigger, run_id="first", holder="here:1", command="tdmq-backup run orders")
    assert done("disable", "orders") == f"Rule orders is disabled. {expected}\n"
    store.close()


def test_deleting_says_what_stays_and_wants_a_yes() -> None:
    create(destination_path="pulsar/")
    said = rule("delete", "orders")
    assert said.code == 2
    assert said.sentences == ["Delete rule orders? Nobody can be asked here: give --yes if you mean it."]
    assert "What rule orders has stored stays in backup-1250000000, below pulsar/." in said.errors
    assert "Its subscription backup stays, and its backlog grows from now on" in said.errors
    assert shown()["revision"] == 1
    assert rule("delete", "orders", "--yes").output == "Rule orders is deleted.\n"
    assert json.loads(done("list", "--json")) == []


def test_on_a_terminal_a_person_is_asked_before_a_rule_is_deleted() -> None:
    create()
    ours, theirs = pty.openpty()
    os.write(ours, b"no\n")
    found = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "rule", "delete", "orders"],
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(theirs)
    os.close(ours)
    assert (found.returncode, found.stdout) == (1, "")
    assert "Delete rule orders? [y/N]: " in found.stderr
    assert found.stderr.endswith("Nothing is changed.\n")
    assert shown()["revision"] == 1


def test_the_log_of_a_deleted_rule_stays_until_it_is_purged(sqlite_url: str) -> None:
    create()
    store = RuleStore(sqlite_url)
    store.begin("orders", Trigger.MANUAL, run_id="first", holder="here:1", command="tdmq-backup run orders")
    assert rule("delete", "orders", "--yes").code == 1
    store.end("first", RunState.SUCCEEDED, exit_code=0)
    done("delete", "orders", "--yes")
    assert [run["id"] for run in json.loads(ask("log", "orders", "--json").output)] == ["first"]
    assert done("delete", "orders", "--purge") == "The log of 1 deleted rule orders is forgotten.\n"
    assert ask("log", "orders").code == 2
    store.close()


def test_what_is_exported_is_imported_as_it_was(tmp_path: Path) -> None:
    create("full", **FULL)
    create("plain")
    assert set(shown("full")["given"]) >= set(FULL)
    before = [shown(name)["rule"] for name in ("full", "plain")]
    done("export", f"--output={tmp_path}/rules")
    first = {path.name: path.read_text() for path in (tmp_path / "rules").iterdir()}
    assert set(first) == {"full.yaml", "plain.yaml"}
    assert done("import", f"{tmp_path}/rules") == "Nothing to change.\n"
    for name in ("full", "plain"):
        done("delete", name, "--yes", "--purge")
    assert "create full" in done("import", f"{tmp_path}/rules")
    assert [shown(name)["rule"] for name in ("full", "plain")] == before
    done("export", f"--output={tmp_path}/again")
    assert {path.name: path.read_text() for path in (tmp_path / "again").iterdir()} == first
    assert done("import", "-", text=done("export")) == "Nothing to change.\n"


def test_import_makes_the_store_equal_to_files_or_does_nothing(tmp_path: Path) -> None:
    create("orders")
    create("payments")
    done("export", f"--output={tmp_path}")
    (tmp_path / "payments.yaml").unlink()
    orders = (tmp_path / "orders.yaml").read_text()
    (tmp_path / "refunds.yaml").write_text(orders.replace("name: orders", "name: refunds") + "granularity: 5\n")
    (tmp_path / "orders.yaml").write_text(orders + "granularity: 1h\n")
    said = rule("import", "--prune", "--yes", str(tmp_path))
    assert said.code == 2
    assert said.sentences == [f"{tmp_path}/refunds.yaml: granularity=5: not a duration. Write it as 90s, 5m or 1h."]
    (tmp_path / "refunds.yaml").write_text(orders.replace("name: orders", "name: refunds"))
    steps = ["edit orders", "  granularity: 5m -> 1h", "create refunds", "delete payments"]
    assert done("import", "--prune", "--dry-run", str(tmp_path)).splitlines() == steps
    assert rule("import", "--prune", str(tmp_path)).sentences == [
        "Delete payments? Nobody can be asked here: give --yes if you mean it."
    ]
    assert [each["name"] for each in json.loads(done("list", "--json"))] == ["orders", "payments"]
    assert shown("orders")["revision"] == 1
    assert done("import", "--prune", "--yes", str(tmp_path)).splitlines() == [*steps, "Done: 3 rules are changed."]
    assert [each["name"] for each in json.loads(done("list", "--json"))] == ["orders", "refunds"]
    (tmp_path / "twice.json").write_text(json.dumps({**RIGHT, "name": "orders"}))
    assert rule("import", str(tmp_path)).sentences == [
        f"{tmp_path}/twice.json: the rule orders stands in {tmp_path}/orders.yaml as well. Leave one out."
    ]


def test_no_secret_is_in_the_store_or_in_what_is_said(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLE_KEY", SECRET)
    said = rule("create", "orders", *options({**RIGHT, "role_key": "env:ROLE_KEY", "role": "backup"}))
    assert said.code == 4, said.errors  # nothing listens there
    create(role_key="env:ROLE_KEY", role="backup")
    everything = said.errors + "".join(done(*words) for words in (["show", "orders"], ["list"], ["export"]))
    store = sqlite_url.removeprefix("sqlite:///")
    kept = b"".join(path.read_bytes() for path in Path(store).parent.iterdir())
    assert b"env:ROLE_KEY" in kept
    assert "env:ROLE_KEY" in everything
    for secret in (SECRET, "eyJ"):
        assert secret not in everything
        assert secret.encode() not in kept


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_list_fits_into_the_terminal(width: int, sqlite_url: str) -> None:
    create(schedule="every 15m")
    create("payments-of-the-shop-in-the-other-region", schedule="0 6 * * mon", timezone="Asia/Shanghai")
    store = RuleStore(sqlite_url)
    store.begin("orders", Trigger.MANUAL, run_id="first", holder="here:1", command="tdmq-backup run orders")
    store.end("first", RunState.FAILED, exit_code=3, error="The token is refused. Copy it again.\nAnd more.")
    place = Console(width=width, file=io.StringIO(), markup=False, highlight=False)
    print_rules(all_standings(store.all(), store.last_runs()), place)
    store.close()
    said = place.file.getvalue()  # type: ignore[attr-defined]
    assert all(len(line) <= width for line in said.splitlines()), said
    if width == 160:
        assert "0 6 * * mon Asia/Shanghai" in said
        assert "failed 20" in said
    words = " ".join(said.split())
    assert "The token is refused. Copy it again." in words
    assert "And more" not in words
    assert "in trouble" in words or width == 40


def test_the_list_has_no_escape_codes_in_a_pipe() -> None:
    assert done("list") == "No rule yet. tdmq-backup rule create --help tells how to make one.\n"
    create()
    assert "\x1b" not in done("list")


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize("parser", [create_parser, edit_parser])
def test_the_help_fits_and_names_every_field(parser, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    said = parser().format_help()
    for line in said.splitlines():
        assert len(line) <= width or len(line.removesuffix(" \\").split()) == 1, line
    for name in Rule.model_fields:
        if name != "name":
            assert re.search(rf"^  --{name.replace('_', '-')}\b", said, re.MULTILINE), name
    examples = re.findall(r"^ +tdmq-backup rule (?:create|edit)( (?:.*\\\n)*.*)", said, re.MULTILINE)
    assert len(examples) == 4
    for example in examples:
        words = re.findall(r'(?:[^\s"]|"[^"]*")+', example.replace("\\\n", " "))
        asked = read_words(parser(), [word.replace('"', "") for word in words])
        if "bucket" in asked.values:
            check_rule(read_rule({**asked.values, "name": asked.name}), elsewhere=True)


def test_the_readme_has_every_field_with_its_default() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    table = text.partition("| field | default | meaning |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \| (.*?) \|", table, re.MULTILINE)
    assert [name for name, _ in rows] == list(Rule.model_fields)
    for name, shown in rows:
        default = Rule.model_fields[name].get_default(call_default_factory=True)
        if name == "name" or default in (None, "", (), {}):
            assert shown == "–", name
        else:
            assert shown == f"`{'yes' if default is True else default}`", name


def test_the_shell_is_told_fields_and_values() -> None:
    assert [each.value for each in offers(create_parser(), ["orders"], "--cos-")] == [
        "--cos-endpoint",
        "--cos-credentials",
    ]
    assert [each.value for each in offers(create_parser(), ["orders"], "--format=j")] == ["--format=jsonl"]
    assert "granularity" in [each.value for each in offers(edit_parser(), ["orders", "--unset"], "gran")]


def test_the_help_loads_no_beam() -> None:
    code = (
        "import sys\nfrom pipelines import cli\ntry: cli.main()\n"
        'finally: assert not {"apache_beam", "pulsar", "qcloud_cos", "sqlalchemy"} & set(sys.modules)\n'
    )
    found = subprocess.run(
        [sys.executable, "-c", code, "rule", "create", "--help"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("usage: tdmq-backup rule create NAME")
