"""Restores that are killed at random moments and started again: nothing is missing, nothing stands twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pulsar
import pytest

from tests.pipelines.backups import Folder, backup
from tests.pipelines.reading_back import messages_in, position
from tests.pipelines.restoring import restore, restore_arguments, start_restore
from transforms.testing.producers import produce

PARTITIONS = 3


@pytest.fixture(params=["by the broker", "by the origin"])
def ways(request, broker, topic, client, tmp_path):
    """A backup, a target that deduplicates or not, and the options of the restore."""
    source, target = topic(partitions=PARTITIONS), topic(partitions=PARTITIONS + 1)
    deduplicates = request.param == "by the broker"
    if deduplicates:
        set_deduplication(broker, target)
    folder = Folder(tmp_path / "backup")
    folder.path.mkdir()
    return Ordeal(broker, client, source, target, folder, tmp_path, deduplicates)


def set_deduplication(broker, target: str) -> None:
    namespace = target.removeprefix("persistent://").rpartition("/")[0]
    broker.admin.request("POST", f"namespaces/{namespace}/deduplication", True)


class Ordeal:
    """A restore that is started again and again."""

    def __init__(self, broker, client, source, target, folder, place: Path, deduplicates: bool) -> None:
        self.broker, self.client, self.source, self.target = broker, client, source, target
        self.folder, self.place, self.deduplicates = folder, place, deduplicates
        self.attempts = 0

    def fill(self, count: int) -> None:
        produce(self.broker.service_url, self.source, count, partitions=PARTITIONS)
        backup(self.broker, self.source, self.folder)
        self.stored = messages_in(self.folder)

    def start(self, *options: str):
        self.attempts += 1
        # Of the keys' partitions, which are more than those they come from: each source goes to all targets.
        argv = restore_arguments(self.broker, self.folder, self.target, ["--routing=key", *options])
        return start_restore(argv, self.log)

    def complete(self) -> dict[str, Any]:
        """Run it to its end, in this process."""
        return restore(self.broker, self.folder, self.target, "--routing=key").summary

    @property
    def log(self) -> Path:
        return self.place / f"restore-{self.attempts}.log"

    def arrived(self) -> int:
        """Messages that the target has taken."""
        names = [f"{self.target}-partition-{index}" for index in range(PARTITIONS + 1)]
        return sum(self.broker.admin.stats(name)["msgInCounter"] for name in names)

    def held(self) -> dict[str, list[str]]:
        """The original ids of all messages of the target, by source and target partition, in their order."""
        found: dict[str, list[str]] = {}
        for index in range(PARTITIONS + 1):
            name = f"{self.target}-partition-{index}"
            reader = self.client.create_reader(name, pulsar.MessageId.earliest)
            while reader.has_message_available():
                properties = reader.read_next(10_000).properties()
                found.setdefault(f"{properties['tdmq-backup-topic']} {index}", []).append(
                    properties["tdmq-backup-message-id"]
                )
            reader.close()
        return found

    def assert_whole(self) -> None:
        """Each message stands once, those of one partition of the target in the order that they had."""
        found = self.held()
        for partition, records in self.stored.items():
            order = {str(position(each)): number for number, each in enumerate(records)}
            mine = [ids for name, ids in found.items() if name.startswith(f"{partition} ")]
            assert sorted(each for ids in mine for each in ids) == sorted(order), f"{partition} is not whole"
            for ids in mine:
                assert ids == sorted(ids, key=order.__getitem__), f"{partition} is out of order"


def test_killed_restores_go_on_where_they_stood(torture, ways, topic):
    wanted = torture.count(3 if ways.deduplicates else 1, 30)
    total = torture.count(6_000, 60_000)
    ways.fill(total)
    killed = early = 0
    # The last one has to stand in the midst of it, for there to be something left to go on with.
    while killed < wanted or not 0 < ways.arrived() < total:
        begun = ways.arrived()
        process = ways.start(f"--rate={torture.count(1_000, 2_500)}")
        if torture.random.random() < 0.8 or not killed:
            # Only then there is something to break; the first time as soon as the first message is there.
            deadline = time.monotonic() + 120
            while process.poll() is None and ways.arrived() == begun:
                assert time.monotonic() < deadline, ways.log.read_text()
            time.sleep(torture.random.uniform(0, 0.6) if killed else 0)
        else:
            time.sleep(torture.random.uniform(0, 6))
        process.kill()
        code = process.wait()
        assert code in (0, -9), ways.log.read_text()
        early += ways.arrived() == begun
        killed += code == -9
        if ways.arrived() == total:
            ways.assert_whole()
            ways.target = topic(partitions=PARTITIONS + 1)
    torture.say(f"{killed} kills, {early} of them before the first message, {ways.arrived():,} messages were there")
    begun = ways.arrived()
    done = ways.complete()
    ways.assert_whole()
    assert sum(map(len, ways.stored.values())) == total
    assert (done["messages"], done["already_there"], done["doubtful"]) == (total, begun, 0)
    assert ("the broker deduplicates" if ways.deduplicates else "by the origin") in done["guarantee"]
    # And once more, when all is there.
    assert ways.complete()["already_there"] == total
    ways.assert_whole()
