"""A day's schedule, an hour of it in seconds, by two services: their runs, or they themselves, are killed at random."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pipelines.rules.records import RunRecord, RunState, Trigger
from pipelines.rules.store import RuleStore
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in
from tests.pipelines.rules.fast_service import FastClock
from tests.pipelines.rules.serving import Serving, fast, rule_for, runs_of
from transforms.pulsar.positions import Position
from transforms.testing.postgres_server import PostgresServer

PARTITIONS = 2
#: Real seconds of an hour, and of a lease.
HOUR = 1.5
LEASE = 5.0
_MIDNIGHT = datetime(2026, 11, 2, tzinfo=timezone.utc).timestamp()
_SERVICE = ["tests.pipelines.rules.fast_service", "serve"]


class Day:
    """A rule that runs every hour, the services that run it, and what is sent meanwhile."""

    def __init__(self, broker, client, topic, bucket, torture, folder: Path, url: str) -> None:
        self._folder, self._client, self._torture = folder, client, torture
        name = topic(partitions=PARTITIONS)
        self.sent = {f"{name}-partition-{index}": [] for index in range(PARTITIONS)}
        self._url = url
        self._environment = fast(time.time(), _MIDNIGHT, 3600 / HOUR, LEASE)
        clock = FastClock(self._environment["FAST_CLOCK"])
        self.store = RuleStore(self._url, clock=clock, lease_seconds=LEASE)
        rule = rule_for(broker, name, bucket, schedule="0 * * * *", retries=20)
        created = self.store.create(rule)
        self.rule_id, self.first_turn = created.id, created.next_turn
        self.services: list[Serving] = []

    def serve(self) -> None:
        """One more service."""
        self.services.append(Serving(_SERVICE, self._url, self._folder, self._environment))

    def kill_run(self) -> bool:
        """SIGKILL the run that is there; gives whether there was one."""
        there = runs_of(self._url)
        for pid in there:
            os.kill(pid, signal.SIGKILL)
        return bool(there)

    def kill_service(self) -> bool:
        """SIGKILL one of them, and start another; its run goes on."""
        victim = self.services.pop(self._torture.random.randrange(len(self.services)))
        victim.process.kill()
        victim.process.wait()
        self.serve()
        return True

    def send(self, seconds: float) -> None:
        """Let time pass, while messages come."""
        deadline = time.monotonic() + seconds
        while True:
            for partition, places in self.sent.items():
                places.extend(send(self._client, partition, numbered(10), batch=5))
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)

    def stop(self) -> None:
        """All services, cleanly."""
        for service in self.services:
            if service.process.poll() is None:
                service.process.send_signal(signal.SIGTERM)
        assert [service.process.wait(60) for service in self.services] == [143] * len(self.services)
        self.services.clear()

    def close(self) -> None:
        """Leave nothing behind, however the test went."""
        for service in self.services:
            service.process.kill()
            service.process.wait()
        for pid in runs_of(self._url):
            os.kill(pid, signal.SIGKILL)
        self.store.close()

    def runs(self) -> list[RunRecord]:
        """In the order in which they were made."""
        return self.store.log("orders")[::-1]

    def all_is_stored(self) -> bool:
        """Whether a run has come to the end of what was sent."""
        positions = self.store.positions(self.rule_id)
        return all(
            partition in positions and _place(positions[partition].upto) > places[-1]
            for partition, places in self.sent.items()
        )

    def log(self) -> str:
        """What all services have said."""
        return (self._folder / "serve.log").read_text(errors="replace")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In full, both are killed over both databases; in make test each over one."""
    if "victim" in metafunc.fixturenames:
        some = [("run", "sqlite"), ("service", "postgres")]
        others = [("run", "postgres"), ("service", "sqlite")]
        cases = [*some, *(others if metafunc.config.getoption("--torture") else [])]
        metafunc.parametrize(("victim", "database"), cases)


@pytest.fixture
def day(broker, client, topic, bucket, torture, tmp_path, database):
    with contextlib.ExitStack() as stack:
        if database == "postgres":
            server = stack.enter_context(PostgresServer())
            url = server.url(server.new_database())
        else:
            url = f"sqlite:///{tmp_path}/store.sqlite3"
        made = Day(broker, client, topic, bucket, torture, tmp_path, url)
        stack.callback(made.close)
        yield made


def test_a_day_of_kills_skips_no_turn_and_stores_each_message_once(day: Day, bucket, torture, victim):
    day.serve()
    day.serve()
    wanted = torture.count(3, 30)
    killed = 0
    deadline = time.monotonic() + 60 + 40 * wanted
    while killed < wanted:
        assert time.monotonic() < deadline, day.log()
        day.send(torture.random.uniform(0.2, 7.0))
        killed += day.kill_run() if victim == "run" else day.kill_service()
        torture.say(f"{killed} killed")
    while not day.all_is_stored():
        assert time.monotonic() < deadline, day.log()
        time.sleep(0.1)
    day.stop()
    runs = day.runs()
    torture.say(f"{len(runs)} runs: {[each.state.value for each in runs]}")
    assert all(run.state is not RunState.RUNNING for run in runs), runs
    assert day.store.running() == {}
    if victim == "run":
        # One that was killed when its record had ended is not lost.
        assert 1 <= sum(run.state is RunState.LOST for run in runs) <= wanted
    assert_no_overlap(runs)
    assert_no_turn_skipped(runs, day.first_turn)
    assert_positions_follow(day, runs)
    assert_holds(messages_in(bucket), day.sent)


def assert_no_overlap(runs: list[RunRecord]) -> None:
    """Each run began when the one before had ended, or was known to be lost."""
    for before, after in itertools.pairwise(runs):
        assert before.ended is not None
        assert before.ended <= after.started, (before, after)


def assert_no_turn_skipped(runs: list[RunRecord], first: datetime) -> None:
    """Each turn of the schedule was taken once, by a run for itself or for several."""
    taken = [run for run in runs if run.trigger is Trigger.SCHEDULE]
    expected = first
    for run in taken:
        assert run.due == expected + timedelta(hours=run.turns - 1), run
        expected += timedelta(hours=run.turns)
    assert len(taken) > 1


def assert_positions_follow(day: Day, runs: list[RunRecord]) -> None:
    """Each run that succeeded began where the last one before it had ended, and the store knows the last end."""
    succeeded = [run for run in runs if run.state is RunState.SUCCEEDED]
    assert succeeded
    for before, after in itertools.pairwise(succeeded):
        for partition, done in after.partitions.items():
            assert done.start == before.partitions[partition].stop, (before, after)
    positions = day.store.positions(day.rule_id)
    assert {name: each.upto for name, each in positions.items()} == {
        name: each.stop for name, each in succeeded[-1].partitions.items()
    }


def _place(text: str) -> Position:
    return Position(*map(int, text.split(":")))
