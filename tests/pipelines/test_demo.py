from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import demo, demo_messages
from pipelines.demo_messages import KINDS, WINDOW_MS, Kind, Message, MessageId, compare, messages_of, read_back

EXACTLY_ONCE = "Every message was counted exactly once, in both formats."


@pytest.fixture
def few_messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(demo_messages, "KINDS", tuple(Kind(kind.name, 200, kind.about) for kind in KINDS))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_demo_counts_every_message_exactly_once_and_keeps_the_objects(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    result = subprocess.run(
        [sys.executable, "-m", "pipelines.demo", "--keep", str(kept)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.splitlines()[-2] == EXACTLY_ONCE
    total = sum(kind.messages for kind in KINDS)
    for name in ("avro", "jsonl"):
        assert f"{name}: {total:,} messages read, {total:,} of them stored already, 0 objects written" in result.stdout
        found = list(read_back(kept / name))
        assert Counter(message_id.topic for message_id, _ in found) == {kind.topic: kind.messages for kind in KINDS}
        assert len({message.event_time // WINDOW_MS for _, message in found}) == 3
    assert max(map(len, result.stdout.splitlines())) < 600
    assert "\x1b" not in result.stdout


def test_demo_fails_when_an_object_is_lost(
    few_messages: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    download = demo._download

    def losing(config: Any, folder: Path) -> dict[str, int]:
        sizes = download(config, folder)
        if folder.name == "avro":
            next(folder.rglob("sensors/**/*.avro")).unlink()
        return sizes

    monkeypatch.setattr(demo, "_download", losing)
    assert demo.main([]) == 1
    output = capsys.readouterr().out
    assert "NOT every message was counted exactly once." in output
    assert EXACTLY_ONCE not in output
    assert " 0 missing" not in next(line for line in output.splitlines() if line.startswith("avro: 600 produced"))


def test_demo_fails_when_a_second_run_writes(
    few_messages: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    states = iter((set(), {("a new key", "crc", 1.0)}))
    monkeypatch.setattr(demo, "_standing", lambda _: next(states))
    assert demo.main([]) == 1
    assert "OBJECTS WERE ADDED OR CHANGED." in capsys.readouterr().out


def test_demo_refuses_a_folder_that_is_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").touch()
    assert demo.main(["--keep", str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("awaited", ["Two servers", "The job, writing Avro"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_demo_ends_at_once_and_without_a_traceback_when_interrupted(
    awaited: str, number: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pipelines.demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(awaited):
            break
    time.sleep(0.5)
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (code, "")
    assert output.endswith("interrupted\n")


def test_messages_are_the_same_each_time_in_three_windows_of_event_time() -> None:
    first_window = 1_000 * WINDOW_MS
    for kind in KINDS:
        messages = list(messages_of(kind, first_window))
        assert messages == list(messages_of(kind, first_window))
        assert len(messages) == kind.messages
        assert {message.event_time // WINDOW_MS for message in messages} == {1_000, 1_001, 1_002}


def test_comparison_tells_what_is_missing_double_changed_and_unknown() -> None:
    ids = [MessageId("topic", 1, entry, 0) for entry in range(5)]
    messages = {message_id: Message("key", {"a": "b"}, 7, b"payload") for message_id in ids[:4]}
    found = list(messages.items())
    assert compare(messages, found).equal
    assert compare(messages, reversed(found)).equal
    assert not compare(messages, found[1:]).equal
    assert not compare(messages, [*found, found[0]]).equal
    assert not compare(messages, [*found, (ids[4], found[0][1])]).equal
    for change in ({"key": None}, {"properties": {}}, {"event_time": 8}, {"payload": None}, {"payload": b""}):
        assert not compare(messages, [*found[1:], (ids[0], found[0][1]._replace(**change))]).equal, change
    everything = compare(messages, [found[0], found[0], (ids[1], found[1][1]._replace(key="x")), (ids[4], found[0][1])])
    assert str(everything) == "4 produced, 4 read back: 2 missing, 1 more than once, 1 changed, 1 unknown"
