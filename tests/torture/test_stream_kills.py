"""Streams whose parts are killed: every message in exactly one object."""

from __future__ import annotations

import time

from tests.torture.stream_ordeal import completes, goes_on, production


def test_a_stream_whose_parts_are_killed_stores_every_message_once(torture, stream, ordeal):
    kills = ["worker"] * torture.count(1, 20) + ["task manager"] * torture.count(1, 5)
    torture.random.shuffle(kills)
    stream.start("--sdk_worker_parallelism=2")
    with production(ordeal, small=torture.count(60, 1_500)):
        for number, kind in enumerate(kills, 1):
            goes_on(stream, ordeal)
            time.sleep(torture.random.uniform(0, 6))
            if kind == "worker":
                stream.kill_worker(torture.random)
            else:
                stream.kill_task_manager()
            ordeal.look()
            torture.say(f"{number} of {len(kills)} kills, the last of a {kind}; {ordeal.objects()} objects")
        stream.until(lambda: min(map(len, ordeal.backlog.sent.values())) >= torture.count(0, 300_000), timeout=1200)
    completes(stream, ordeal)
    assert ordeal.spooled > 0, "no file was large enough to be written in parts"
    torture.say(f"{ordeal.backlog.count:,} messages in {ordeal.objects():,} objects, {ordeal.spooled} in parts: whole")
