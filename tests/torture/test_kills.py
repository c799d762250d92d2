"""Runs that end in the middle, whatever ends them: run again, they complete the backup, and nothing is doubled."""

from __future__ import annotations

import re
import signal

import pytest

from tests.torture.ordeal import Backlog, Ordeal, consumers

PARTITIONS = 4
CODES = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
KINDS = [["--format=avro"], ["--format=jsonl", "--window_by=event_time"], ["--format=avro", "--local_workers=3"]]


@pytest.fixture
def new_ordeal(broker, client, topic, bucket, torture, tmp_path):
    """Makes a topic with a backlog, and runs over it into a bucket that takes its time."""

    def make(*options: str) -> Ordeal:
        backlog = Backlog(client, topic(partitions=PARTITIONS), PARTITIONS, torture.random)
        backlog.grow()
        bucket.server.latency = 0.02
        return Ordeal(broker, bucket, backlog, tmp_path, options, "--window_by=event_time" in options)

    return make


@pytest.mark.parametrize("options", KINDS, ids=["avro", "jsonl", "workers"])
def test_runs_killed_at_random_moments_complete_what_they_began(torture, new_ordeal, options):
    ordeal = new_ordeal(*options)
    source, wanted = torture.random, torture.count(1, 40)
    undisturbed = ordeal.start()
    assert undisturbed.until(lambda: undisturbed.wrote > 0)
    loading = undisturbed.seconds
    assert undisturbed.wait(180) == 0, undisturbed.errors
    working = undisturbed.seconds - loading
    ordeal.look()
    ordeal.backlog.grow()
    killed = idle = completed = 0
    while killed < wanted:
        run = ordeal.start()
        moment = source.uniform(0, loading + working)
        if source.random() < 0.8:
            # Only then there is something to break.
            run.until(lambda run=run: run.wrote > 0)
            moment = run.seconds + source.uniform(0, working / 2)
        run.until(lambda run=run, moment=moment: run.seconds >= moment)
        # Where there are workers, one of them now and then: the run ends with it.
        if run.kill_worker(source) if source.random() < 0.5 else run.kill():
            killed += 1
            idle += run.wrote == 0
        else:
            completed += 1
            ordeal.backlog.grow()
        ordeal.look()
        if killed % 10 == 0:
            torture.say(f"{killed} kills, {idle} of them before the first object; {completed} runs came to their end")
    ordeal.complete()
    ordeal.assert_complete()
    assert ordeal.spooled > 0, "no file was large enough to be written in parts"
    again = ordeal.start("--start=earliest")
    assert again.wait(180) == 0, again.errors
    assert again.wrote == 0
    torture.say(f"{ordeal.backlog.count:,} messages in {ordeal.objects():,} objects, {ordeal.spooled} in parts: whole")


def test_a_run_killed_while_it_acknowledges_leaves_no_subscription_ahead(torture, new_ordeal):
    ordeal = new_ordeal("--start=subscription")
    ordeal.backlog.grow(large=0)
    before = moved = 0
    for _ in range(torture.count(1, 10)):
        for early in (True, False):
            ordeal.backlog.grow(small=200, large=0)
            last = list(ordeal.backlog.sent)[torture.random.randrange(PARTITIONS)]
            begun = ordeal.acknowledged()
            run = ordeal.start()
            run.until(lambda run=run: run.wrote > 0)
            if early:
                # A run subscribes once more when all is stored.
                run.until(lambda last=last: consumers(ordeal.broker.admin, last) > 0)
            else:
                run.until(lambda begun=begun: ordeal.acknowledged() != begun)
            if run.kill():
                before += early
                moved += not early
            ordeal.look()
    ordeal.complete()
    ordeal.assert_complete()
    torture.say(f"killed {before} times before, {moved} times between acknowledgements: never ahead")


def test_runs_that_are_asked_to_end_at_random_moments_say_where_they_stand(torture, new_ordeal):
    ordeal = new_ordeal()
    source = torture.random
    ordeal.complete()
    asked = completed = 0
    phases: dict[str, int] = {}
    while asked < torture.count(2, 20):
        if ordeal.backlog.count < 100_000:
            ordeal.backlog.grow(large=50)
        number = source.choice(list(CODES))
        code, word = CODES[number]
        hanging = source.random() < 0.3
        if hanging:
            ordeal.bucket.server.faults.add("hang", operation="PutObject", key="*.avro", nth=source.randint(1, 10))
        run = ordeal.start()
        moment = source.uniform(0.2, 4.0)
        if source.random() < 0.6:
            run.until(lambda run=run: run.wrote > 0, timeout=60) if not hanging else run.until(
                lambda: ordeal.bucket.server.faults.played > 0, timeout=60
            )
            moment = run.seconds + source.uniform(0, 2.0)
        run.until(lambda run=run, moment=moment: run.listens and run.seconds >= moment)
        ended = run.end(number)
        ordeal.bucket.server.faults.clear()
        ordeal.bucket.server.faults.played = 0
        assert "Traceback" not in run.errors
        if ended == 0:
            completed += 1
            assert run.out.endswith("/s).\n")
        else:
            asked += 1
            assert (ended, run.out) == (code, ""), run.errors
            told = re.search(rf"^{word} (before|while|when) .*Run it again.*\.$", run.errors, re.MULTILINE)
            assert told is not None, run.errors
            phases[told[1]] = phases.get(told[1], 0) + 1
        ordeal.look()
    ordeal.complete()
    ordeal.assert_complete()
    torture.say(f"{asked} signals ({phases}), {completed} runs had ended before theirs came")
