"""A rule without an end, by a real service on a real Flink."""

from __future__ import annotations

import os
import signal
import time

import pytest

from pipelines.flink import FlinkCluster
from pipelines.rules.model import Rule
from pipelines.rules.records import RunState
from pipelines.rules.store import RuleStore
from pipelines.rules.streams import _changed
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in, unnamed
from tests.pipelines.rules.fast_service import FastClock
from tests.pipelines.rules.ruled import run_rule
from tests.pipelines.rules.serving import Serving, fast, rule_for, runs_of

GRANULARITY = 5
_LEASE = 6.0
#: A retry after 30 s comes within two.
_SPEED = 20.0
_SERVICE = ["tests.pipelines.rules.fast_service", "serve"]


@pytest.fixture
def jobs(flink):
    """The cluster by its REST; no job is left there."""
    rest = FlinkCluster(flink.cluster.rest_url)
    yield rest
    for job in rest.jobs():
        if not job.ended:
            rest.cancel(job.id)


def _rule(broker, name, bucket, flink) -> Rule:
    options = [each for each in flink.options if each != "--runner=FlinkRunner"]
    return rule_for(
        broker,
        name,
        bucket,
        schedule="continuous",
        granularity=f"{GRANULARITY}s",
        allowed_disorder="1s",
        runner="FlinkRunner",
        runner_options=[*options, "--checkpointing_interval=2000", "--execution_retry_delay=2000"],
    )


def _assert_nothing_is_stored_beside(store: RuleStore, job: str) -> None:
    """Though nobody watches it."""
    refused, _ = run_rule(store, start="earliest")
    assert refused.error is not None
    assert refused.error.startswith(f"The rule's job {job} runs on Flink. Disable the rule while tdmq-backup")


def test_its_job_outlives_who_watches_and_is_found_again_and_a_disabled_one_goes_on_from_its_savepoint(
    broker, client, topic, bucket, flink, jobs, sqlite_url, tmp_path
):
    name = topic()
    sent = send(client, name, numbered(50))
    environment = fast(time.time(), time.time(), _SPEED, _LEASE)
    store = RuleStore(sqlite_url, clock=FastClock(environment["FAST_CLOCK"]), lease_seconds=_LEASE)
    store.create(_rule(broker, name, bucket, flink))
    known = {job.id for job in jobs.jobs()}

    def living() -> list[str]:
        return [job.name for job in jobs.jobs() if job.id not in known and not job.ended]

    def watched() -> bool:
        runs = store.log("orders", last=1)
        return bool(runs and runs[0].state is RunState.RUNNING and runs[0].flink_job) and len(living()) == 1

    serving = Serving(_SERVICE, sqlite_url, tmp_path, environment)
    try:
        serving.until(watched)
        serving.until(lambda: _stored(bucket) == len(sent))
        (first,) = living()
        # Both die without a word; the job does not.
        serving.process.kill()
        serving.process.wait()
        for pid in runs_of(sqlite_url):
            os.kill(pid, signal.SIGKILL)
        sent += send(client, name, numbered(20, "alone"))
        serving = Serving(_SERVICE, sqlite_url, tmp_path, environment)
        serving.until(lambda: "runs already, and is watched from here" in serving.log)
        assert living() == [first]
        serving.until(lambda: _stored(bucket) == len(sent))
        assert [run.flink_job for run in store.log("orders")] == [first, first]
        assert store.log("orders")[1].state is RunState.LOST
        # A clean stop leaves it running as well.
        assert serving.stop() == 143
        assert living() == [first]
        assert store.log("orders", last=1)[0].state is RunState.INTERRUPTED
        _assert_nothing_is_stored_beside(store, first)
        serving = Serving(_SERVICE, sqlite_url, tmp_path, environment)
        serving.until(lambda: serving.log.count("runs already, and is watched from here") == 2)
        # Disabled, it ends with a savepoint; enabled again, the next job goes on there.
        found = store.get("orders")
        store.edit(found.rule.model_copy(update={"enabled": False}), found.revision)
        serving.until(lambda: store.running() == {} and not living())
        (ended,) = store.log("orders", last=1)
        assert ended.state is RunState.SUCCEEDED and ended.savepoint is not None
        sent += send(client, name, numbered(30, "disabled"))
        found = store.get("orders")
        store.edit(found.rule.model_copy(update={"enabled": True, "description": "again"}), found.revision)
        serving.until(lambda: watched() and living() != [first])
        serving.until(lambda: f"runs, from {ended.savepoint}" in serving.log)
        serving.until(lambda: _stored(bucket) == len(sent) and not unnamed(bucket))
        assert serving.stop() == 143
    finally:
        serving.close()
        for pid in runs_of(sqlite_url):
            os.kill(pid, signal.SIGKILL)
        store.close()
    assert_holds(messages_in(bucket, granularity=GRANULARITY), {name: sent})
    assert len([job for job in jobs.jobs() if job.id not in known]) == 2


def _stored(bucket) -> int:
    """Messages at the destination, whether their windows have manifests yet or not."""
    return sum(map(len, messages_in(bucket, granularity=GRANULARITY, named=False).values()))


def test_a_savepoint_is_left_behind_by_edits_that_change_what_its_state_is_about():
    rule = Rule(name="orders", schedule="continuous", runner_options=("--flink_master=http://a:1", "--parallelism=2"))
    kept = {"description": "x", "role_key": "env:OTHER", "memory_budget": "512MB", "on_trimmed": "continue"}
    assert _changed(rule, rule.model_copy(update=kept)) == []
    assert _changed(rule, rule.model_copy(update={"runner_options": ("--flink_master=http://a:1",)})) == []
    left = {"topic": ("a",), "granularity": "1h", "format": "jsonl", "bucket": "b-1", "subscription": "other"}
    for field, value in left.items():
        assert _changed(rule, rule.model_copy(update={field: value})) == [field]
    assert _changed(rule, rule.model_copy(update={"runner_options": ("--flink_master=http://b:1",)})) == [
        "--flink_master"
    ]
    assert _changed(None, rule) == ["the rule"]
