"""A backup of a real broker: proved, compared with what the broker holds, and found wanting once an object is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pulsar

from tests.pipelines.backups import Folder, backup
from tests.pipelines.producing import numbered, send
from transforms.testing.pulsar_standalone import PulsarStandalone


def run_verify(place: Folder, *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command as a person does; gives its exit code and its result."""
    command = [sys.executable, "-m", "pipelines.cli", "verify", f"file://{place.path}", "--json", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in ended.stderr
    return ended.returncode, json.loads(ended.stdout) if ended.stdout else {}


def test_a_backup_of_a_broker_is_proved_and_compared(
    broker: PulsarStandalone, client: pulsar.Client, topic: Callable[..., str], folder: Folder
) -> None:
    place, name, plain = folder, topic(partitions=2), topic("plain")
    for index in range(2):
        send(client, f"{name}-partition-{index}", numbered(150), batch=1 + 6 * index)
    send(client, plain, numbered(20), batch=7)
    backup(broker, [name, plain], place, "--max_file_messages=50")
    against = ("--against-topic", f"--service-url={broker.service_url}")

    code, found = run_verify(place, "--deep", *against)
    assert (code, found["proved"], found["counts"]) == (0, True, {})
    assert sum(each["both"] for each in found["compared"]) == found["messages"] == 320
    assert len(found["stretches"]) == len(found["compared"]) == 3

    # What came since is told, and stands against nothing; once it is stored, too, a second run has joined the first.
    send(client, f"{name}-partition-0", numbered(30))
    code, found = run_verify(place, *against)
    assert (code, set(found["counts"])) == (0, {"behind"})
    assert sum(each["behind"] for each in found["compared"]) == 30
    backup(broker, [name, plain], place, "--max_file_messages=50")
    code, found = run_verify(place, *against)
    assert (code, found["counts"], found["messages"]) == (0, {}, 350)

    # One object less: names and records tell, and so does the broker, to the message.
    gone = next(key for key in place.listed() if "-000050." in key)
    (place.path / gone).unlink()
    code, found = run_verify(place, *against)
    assert code == 6
    assert found["counts"]["missing"] == 1
    assert found["counts"]["not-stored"] == 1
    assert found["counts"]["fewer"] >= 1
    assert sum(each["not_stored"] for each in found["compared"]) == 50
    assert gone in [each["key"] for each in found["findings"] if each["kind"] == "missing"]

    # Neither topics nor subscriptions are left behind.
    for partition in (f"{name}-partition-0", plain):
        assert broker.admin.stats(partition)["subscriptions"] == {}
    assert run_verify(place, "--against-topic", f"--service-url={broker.service_url}", f"--topic={name}-none")[0] == 4
