"""A broker that dies, moves its topics or loses its connections while a run reads from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.pipelines.producing import connected
from tests.torture.cutting_proxy import CuttingProxy
from tests.torture.ordeal import Attempt, Backlog, Ordeal, asked
from transforms.testing.pulsar_standalone import PulsarStandalone

PARTITIONS = 4
NAMESPACE = "test/faults"


@pytest.fixture(scope="module")
def proxy() -> Iterator[CuttingProxy]:
    with CuttingProxy() as between:
        yield between


@pytest.fixture(scope="module")
def own_broker(proxy: CuttingProxy) -> Iterator[PulsarStandalone]:
    """A broker that may be killed; who asks for its listener ``proxy`` finds it behind the proxy."""
    with PulsarStandalone(proxy_port=proxy.port) as server:
        proxy.target = int(server.service_url.rpartition(":")[2])
        server.admin.create_tenant("test")
        server.admin.create_namespace(NAMESPACE)
        yield server


@pytest.fixture
def new_ordeal(own_broker, bucket, torture, tmp_path, request):
    """Makes a topic with a backlog that takes a run some ten seconds, however fast the broker is."""
    client = connected(own_broker.service_url)
    request.addfinalizer(client.close)
    bucket.server.latency = 0.3

    def make(*options: str) -> Ordeal:
        name = f"persistent://{NAMESPACE}/topic-{torture.random.randrange(10**9)}"
        own_broker.admin.create_partitioned_topic(name, PARTITIONS)
        backlog = Backlog(client, name, PARTITIONS, torture.random)
        return Ordeal(own_broker, bucket, backlog, tmp_path, options)

    return make


def harass(ordeal: Ordeal, torture, wanted: int, fault: Callable[[], None]) -> list[Attempt]:
    """Let ``fault`` happen so often while runs read; gives them, all ended.

    Before each, the run has written something since the last one.
    """
    attempts = []
    happened = while_read = 0
    while happened < wanted:
        for partition in ordeal.backlog.sent:
            ordeal.backlog.grow(small=100, large=700, only=partition)
        run = ordeal.start()
        attempts.append(run)
        wrote, during = 0, 0
        while happened < wanted and run.until(lambda run=run, wrote=wrote: run.wrote > wrote):
            moment = run.seconds + torture.random.uniform(0, 1)
            if not run.until(lambda run=run, moment=moment: run.seconds >= moment):
                break
            while_read += readers(ordeal) > 0
            fault()
            happened += 1
            during += 1
            # Live production goes on, and does not belong to this run.
            ordeal.backlog.grow(small=100, large=0)
            wrote = run.wrote
        code = run.wait(240)
        torture.say(f"{happened} faults, {during} during this run, which ended with {code}")
        if code != 0:
            torture.say(run.errors.splitlines()[-1])
            assert code == 4, run.errors
            assert re.search(r"^error: .*\.$", run.errors, re.MULTILINE), run.errors
        assert "Traceback" not in run.errors
        ordeal.look()
    torture.say(f"{while_read} of {happened} faults met a reader")
    assert while_read > 0
    ordeal.complete()
    ordeal.assert_complete()
    return attempts


def readers(ordeal: Ordeal) -> int:
    """Partitions from which a run still reads."""
    admin = ordeal.broker.admin
    found = (asked(lambda each=each: admin.stats(each))["subscriptions"] for each in ordeal.backlog.sent)
    return sum(any(not each["durable"] and each["consumers"] for each in kinds.values()) for kinds in found)


def test_a_broker_killed_while_it_is_read_costs_no_message(torture, new_ordeal, own_broker):
    def restart() -> None:
        own_broker.kill()
        own_broker.start()

    wanted = torture.count(1, 10)
    attempts = harass(new_ordeal(), torture, wanted, restart)
    survived = sum(each.process.returncode == 0 for each in attempts)
    torture.say(
        f"{wanted} restarts in {len(attempts)} runs; {survived} went on to their end, the others were completed"
    )


def test_runs_go_on_when_topics_are_unloaded(torture, new_ordeal, own_broker):
    ordeal = new_ordeal()
    topics = list(ordeal.backlog.sent)

    def unload() -> None:
        if torture.random.random() < 0.3:
            asked(lambda: own_broker.admin.request("PUT", f"namespaces/{NAMESPACE}/unload"))
        else:
            asked(lambda: own_broker.admin.unload(torture.random.choice(topics), at_once=True))

    attempts = harass(ordeal, torture, torture.count(2, 10), unload)
    assert [each.process.returncode for each in attempts] == [0] * len(attempts)


def test_runs_go_on_when_connections_are_cut(torture, new_ordeal, own_broker, proxy):
    ordeal = new_ordeal("--listener_name=proxy")
    ordeal.service_url = f"pulsar://127.0.0.1:{proxy.port}"
    cut = []
    attempts = harass(ordeal, torture, torture.count(2, 20), lambda: cut.append(proxy.cut()))
    # One that comes while the last files are uploaded finds nothing to cut: all has been read.
    assert sum(each > 0 for each in cut) >= len(cut) / 2
    assert [each.process.returncode for each in attempts] == [0] * len(attempts)
