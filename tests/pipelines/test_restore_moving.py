"""Restores whose target moves from one broker to another meanwhile: its producers are closed, and come again."""

from __future__ import annotations

import threading

import pytest

from tests.pipelines.backups import Folder, backup
from tests.pipelines.reading_back import messages_in, position
from tests.pipelines.restoring import origins, restore
from transforms.testing.producers import produce
from transforms.testing.pulsar_admin import AdminError


@pytest.mark.parametrize("deduplicates", [True, False])
def test_a_target_that_moves_gets_each_message_once(broker, topic, tmp_path, deduplicates):
    source, target = topic(partitions=1), topic(partitions=1)
    if deduplicates:
        namespace = target.removeprefix("persistent://").rpartition("/")[0]
        broker.admin.request("POST", f"namespaces/{namespace}/deduplication", True)
    folder, again = Folder(tmp_path / "backup"), Folder(tmp_path / "again")
    folder.path.mkdir()
    again.path.mkdir()
    produce(broker.service_url, source, 3_000, partitions=1, size=2_000)
    backup(broker, source, folder)
    ended = threading.Event()
    moved = []

    def move() -> None:
        # Where the broker does not deduplicate, an entry that it leaves unanswered is waited for half a minute.
        while not ended.wait(0.3) and (deduplicates or len(moved) < 2):
            try:
                broker.admin.unload(f"{target}-partition-0")
                moved.append(1)
            except AdminError:
                pass  # it is being loaded

    mover = threading.Thread(target=move)
    mover.start()
    try:
        run = restore(broker, folder, target, "--rate=3000")
    finally:
        ended.set()
        mover.join()
    assert len(moved) > 1
    assert (run.summary["messages"], run.summary["already_there"], run.summary["doubtful"]) == (3_000, 0, 0)
    backup(broker, target, again)
    (sent,) = messages_in(folder).values()
    (found,) = messages_in(again).values()
    assert origins(found) == [str(position(each)) for each in sent]
