"""Runs into a folder that are killed while files grow in it: what they leave goes, and run again, they complete it."""

from __future__ import annotations

import time
from collections import defaultdict

import pytest

from tests.pipelines.backups import arguments, backup, start_job
from tests.pipelines.conftest import folder
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.pulsar.positions import Position
from transforms.testing.raw_producer import Message, send_raw

__all__ = ["folder"]

PARTITIONS = 2
#: Files larger than what may wait in memory, and some that are not.
OPTIONS = ["--granularity=24h", "--memory_budget=64MB", "--max_file_bytes=40MB"]
_SECONDS = 60.0


@pytest.mark.parametrize("options", [["--codec=null"], ["--format=jsonl", "--codec=zstd"]], ids=["avro", "jsonl"])
def test_killed_runs_leave_no_half_file_and_complete_what_they_began(broker, topic, folder, torture, options):
    name, source = topic(partitions=PARTITIONS), torture.random
    sent: defaultdict[str, list[Position]] = defaultdict(list)
    contents: dict[tuple[str, Position], bytes] = {}

    def grow() -> None:
        for partition in (f"{name}-partition-{index}" for index in range(PARTITIONS)):
            payloads = [source.randbytes(source.choice([10, 90_000, 1_500_000])) for _ in range(30)]
            for payload, place in zip(
                payloads, send_raw(broker.service_url, partition, map(Message, payloads)), strict=True
            ):
                sent[partition].append(place.position)
                contents[partition, place.position] = payload

    def hidden(below: str = "") -> list[str]:
        return [key for key in folder.everything() if key.startswith(below) and ".partial-" in key]

    grow()
    kills = growing = 0
    whole: dict[str, bytes] = {}
    wanted = torture.count(3, 60)
    while kills < wanted or not growing:
        assert kills < wanted + 20, "no run was killed while a file grew"
        below = source.choice(["", "_spool"])
        with start_job(arguments(broker, name, folder, [*OPTIONS, *options])) as run:
            try:
                deadline = time.monotonic() + _SECONDS
                while run.poll() is None and not hidden(below):
                    assert time.monotonic() < deadline, "the run was to come further"
                    time.sleep(0.005)
                time.sleep(source.choice([0, source.uniform(0, 2.5)]))
            finally:
                run.kill()
                output = run.communicate()
        if run.returncode == 0:
            grow()
            continue
        assert run.returncode == -9, output
        kills += 1
        growing += bool(hidden("_spool"))
        left = [key for key in folder.listed() if ".partial-" not in key]
        assert not [key for key in left if ".part" in key], "parts are hidden"
        for key, content in whole.items():
            assert folder.read(key) == content, f"{key} has other bytes"
        whole = {key: folder.read(key) for key in left}
    backup(broker, name, folder, *OPTIONS, *options)
    assert hidden() == []
    stored = messages_in(folder, granularity=86400)
    assert_holds(stored, sent)
    for partition, records in stored.items():
        for record in records:
            place = Position(record["ledger_id"], record["entry_id"], max(record["batch_index"], 0))
            assert record["payload"] == contents[partition, place]
    torture.say(f"{kills} kills, {growing} of them while a file grew; {sum(map(len, sent.values())):,} messages: whole")
