"""Faults of COS, played at each kind of request that the job makes: it survives them, or ends with a sentence."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
import uuid
from collections.abc import Iterator
from functools import partial

import pytest

from tests.pipelines.backups import Bucket, arguments, assert_sentences_only, backup, run_job
from tests.pipelines.reading_back import assert_holds, messages_in
from tests.transforms.cos.passing_faults import AFTER_THE_EFFECT, WITHOUT_EFFECT
from transforms.cos import destination
from transforms.testing.cos_faults import ALWAYS, FaultKind
from transforms.testing.cos_server import TEST_BUCKET, CosServer
from transforms.testing.producers import produce
from transforms.testing.raw_producer import Message, send_raw

PARTITIONS = 8
#: With eight partitions, parts of files that are not yet cut are spooled from 2 MiB on.
OPTIONS = ["--granularity=24h", "--memory_budget=64MB", "--codec=null"]

#: Operation, key: each kind of request that a run makes, wherever it differs.
REQUESTS = {
    "list": ("GetBucket", "*"),
    "versioning": ("GetBucketVersioning", "*"),
    "probe": ("PutObject", "*/_spool/probe-*"),
    "part": ("PutObject", "*/_spool/*.part*"),
    "file": ("PutObject", "*.avro"),
    "head": ("HeadObject", "*.avro"),
    "initiate": ("InitiateMultipartUpload", "*"),
    "copy": ("UploadPartCopy", "*"),
    "tail": ("UploadPart", "*"),
    "complete": ("CompleteMultipartUpload", "*"),
    "abort": ("AbortMultipartUpload", "*"),
    "delete": ("DeleteObject", "*.part*"),
    "uploads": ("ListMultipartUploads", "*"),
}
#: What has to go wrong before for the job to make the request at all.
BEFORE: dict[str, tuple[FaultKind, str]] = {"head": ("reset-after", "file"), "abort": ("no-such-upload", "copy")}

PASSING: list[FaultKind] = [
    *WITHOUT_EFFECT,
    *AFTER_THE_EFFECT,
    "hang",
    "drip",
    "page",
    "wrong-crc",
    "no-crc",
    "corrupt",
    "no-such-upload",
    "complete-error",
    "complete-garbled",
]
LASTING: list[FaultKind] = [*PASSING, "access-denied", "redirect"]
OF_AN_UPLOAD = ("copy", "tail", "complete", "abort")


def can_meet(kind: FaultKind, request: str) -> bool:
    """Whether COS could answer so."""
    if kind == "no-such-upload":
        return request in OF_AN_UPLOAD
    return not kind.startswith("complete-") or request == "complete"


def some_of_each(dice: random.Random) -> list[tuple[FaultKind, str]]:
    """Each fault at some request, and some fault at each request; which, the dice tell."""
    possible = [(kind, request) for kind in LASTING for request in REQUESTS if can_meet(kind, request)]
    chosen = [dice.choice([case for case in possible if case[0] == kind]) for kind in LASTING]
    chosen += [dice.choice([case for case in possible if case[1] == request]) for request in REQUESTS]
    return sorted(set(chosen))


@pytest.fixture(scope="module")
def sent(broker):
    """A topic: one partition with a file that is spooled and joined, the others with small ones."""
    broker.admin.create_namespace("test/destination")
    name = f"persistent://test/destination/faults-{uuid.uuid4().hex[:8]}"
    broker.admin.create_partitioned_topic(name, PARTITIONS)
    source = random.Random(8)
    places = {}
    for index in range(PARTITIONS):
        # The last ones do not fill a block, so they wait until the file is cut: its tail.
        sizes = [900_000] * 6 + [100] * 2 if index == 0 else [100] * 3
        messages = [Message(source.randbytes(size), publish_time=1_772_366_400_000) for size in sizes]
        partition = f"{name}-partition-{index}"
        places[partition] = [each.position for each in send_raw(broker.service_url, partition, messages)]
    return name, places


@pytest.fixture
def hurried(monkeypatch):
    """COS is not waited for as long as it would be."""
    quick = partial(destination.CosClient, timeout=0.6, complete_timeout=0.6, request_limit=1.2)
    monkeypatch.setattr(destination, "CosClient", quick)


@pytest.fixture
def one_bucket(tmp_path):
    numbers = itertools.count()

    @contextlib.contextmanager
    def make() -> Iterator[Bucket]:
        with CosServer(tmp_path / f"cos-{next(numbers)}") as server:
            yield Bucket(server)

    return make


@pytest.fixture
def unharmed(broker, sent, one_bucket) -> dict[str, bytes]:
    """What a run without faults writes."""
    name, places = sent
    with one_bucket() as bucket:
        backup(broker, name, bucket, *OPTIONS)
        assert_holds(messages_in(bucket, granularity=86400), places)
        return bucket.contents()


def add(bucket: Bucket, kind: FaultKind, request: str, times: int = 1, nth: int = 1) -> None:
    operation, key = REQUESTS[request]
    bucket.server.faults.add(kind, operation=operation, key=key, nth=nth, times=times)


def assert_nothing_left(bucket: Bucket) -> None:
    assert [key for key in bucket.listed() if "/_spool/" in key] == []
    assert bucket.server.disk.uploads(TEST_BUCKET, "") == []


def test_each_fault_at_each_request_is_survived(broker, sent, one_bucket, unharmed, hurried, torture):
    name, _ = sent
    few: list[FaultKind] = ["reset-after", "page"]
    for kind in PASSING if torture.full else few:
        started = time.monotonic()
        requests = [request for request in REQUESTS if can_meet(kind, request)]
        with one_bucket() as bucket:
            for request in requests:
                if request in BEFORE:
                    before, at = BEFORE[request]
                    add(bucket, before, at)
                spoken_for = request in [at for _, at in BEFORE.values()]
                add(bucket, kind, request, nth=2 if spoken_for else 1)
            backup(broker, name, bucket, *OPTIONS)
            met = {(operation, kind) for kind, operation, _ in bucket.server.faults.met}
            missed = [request for request in requests if (REQUESTS[request][0], kind) not in met]
            assert missed == []
            assert bucket.contents() == unharmed
            assert_nothing_left(bucket)
            torture.say(f"{kind}: {bucket.server.faults.played} times, {time.monotonic() - started:.1f} s")


def test_a_fault_that_stays_is_a_sentence_and_the_next_run_completes(
    broker, sent, one_bucket, unharmed, hurried, torture
):
    name, _ = sent
    cases: list[tuple[FaultKind, str]] = [("503", "file"), ("access-denied", "tail")]
    if torture.full:
        cases = some_of_each(torture.random)
    for number, (kind, request) in enumerate(cases):
        started = time.monotonic()
        with one_bucket() as bucket:
            if request in BEFORE:
                before, at = BEFORE[request]
                add(bucket, before, at)
            add(bucket, kind, request, times=ALWAYS)
            options = [*OPTIONS, f"--subscription=s-{kind}-{request}"]
            argv = arguments(broker, name, bucket, [*options, "--retry_deadline=1s"])
            run = run_job(argv)
            assert kind in {met for met, *_ in bucket.server.faults.met}, (kind, request)
            stored = bucket.contents()
            if run.code:
                assert run.code in (3, 5), (kind, request, run.errors)
                assert_sentences_only(run.errors)
                assert acknowledged(broker, sent[1], f"s-{kind}-{request}") == []
            else:
                assert {key: stored[key] for key in unharmed} == unharmed, (kind, request)
            assert {key: body for key, body in stored.items() if "/_spool/" not in key}.items() <= unharmed.items()
            bucket.server.faults.clear()
            backup(broker, name, bucket, *options)
            assert bucket.contents() == unharmed, (kind, request)
            assert_nothing_left(bucket)
            torture.say(
                f"{number + 1} of {len(cases)}: {kind} at {request}: exit code {run.code}, "
                f"{time.monotonic() - started:.1f} s: {run.errors.splitlines()[-1][:150]}"
            )


def acknowledged(broker, partitions, subscription: str) -> list[str]:
    """Partitions of which the subscription has acknowledged anything."""
    moved = []
    for partition in partitions:
        cursor = broker.admin.internal_stats(partition)["cursors"].get(subscription)
        if cursor is not None and not cursor["markDeletePosition"].endswith(":-1"):
            moved.append(partition)
    return moved


@pytest.mark.parametrize(
    ("options", "rate"), [(["--max_file_messages=100"], 0.03), (["--max_file_messages=10000", "--codec=null"], 0.03)]
)
def test_random_faults_of_one_request_in_thirty(broker, topic, one_bucket, torture, options, rate):
    count = torture.count(20_000, 200_000)
    name = topic(partitions=PARTITIONS)
    produced = produce(broker.service_url, name, count, partitions=PARTITIONS, size=1000, seed=3)
    places = {f"{name}-partition-{index}": [] for index in range(PARTITIONS)}
    for each in produced:
        places[f"{name}-partition-{each.partition}"].append(each.position)
    options = ["--granularity=24h", "--memory_budget=64MB", *options]
    most = int(options[2].partition("=")[2])
    with one_bucket() as bucket, one_bucket() as calm:
        bucket.server.faults.at_random(rate, seed=torture.random.randrange(1000))
        backup(broker, name, bucket, *options)
        torture.say(f"{bucket.server.faults.played} faults in {bucket.server.requests.total() // 2} requests")
        assert bucket.server.faults.played > 0
        assert_holds(messages_in(bucket, granularity=86400, most=most), places)
        assert_nothing_left(bucket)
        backup(broker, name, calm, *options)
        assert bucket.contents() == calm.contents()
