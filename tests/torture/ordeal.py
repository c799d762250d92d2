"""What kill tests share: a topic that grows, runs over it as processes, and what must hold whenever one has ended."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pulsar

from tests.pipelines.backups import SECRETS, Bucket, arguments, is_document
from tests.pipelines.process_tree import children, running
from tests.pipelines.producing import place
from tests.pipelines.reading_back import (
    StoredFile,
    check_documents,
    check_file,
    check_metadata,
    partition_of,
    position,
    read_avro,
    read_lines,
    unnamed,
)
from transforms.files.naming import parse_name
from transforms.pulsar.ends import NOT_READY
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import Fields
from transforms.pulsar.wire import ServerRefusal
from transforms.testing.cos_disk import Stored
from transforms.testing.cos_server import TEST_BUCKET
from transforms.testing.pulsar_admin import AdminError, PulsarAdmin
from transforms.testing.pulsar_standalone import PulsarStandalone
from transforms.testing.raw_producer import Message, send_raw

ROOT = Path(__file__).parents[2]
SUBSCRIPTION = "ours"
#: With four partitions, parts of files that are not yet cut are spooled from 4 MiB on.
OPTIONS = [f"--subscription={SUBSCRIPTION}", "--memory_budget=64MB", "--max_file_messages=300", "--max_file_bytes=10MB"]

_EVENT_TIME = 1_772_366_400_000
_LARGE_BYTES = 20_000
_CHUNKED_BYTES = 6 << 20


@dataclass(frozen=True)
class Sent:
    """A message that the broker has taken."""

    position: Position
    begins: Position
    """Of a chunked message the first chunk."""
    crc: int
    """Of its payload."""


class Backlog:
    """A topic with partitions that grows, and every message in it, by partition and in order."""

    def __init__(self, client: pulsar.Client, topic: str, partitions: int, source: random.Random) -> None:
        self.topic = topic
        self.sent: dict[str, list[Sent]] = {f"{topic}-partition-{index}": [] for index in range(partitions)}
        self._client = client
        self._random = source

    @property
    def count(self) -> int:
        """Messages in all."""
        return sum(map(len, self.sent.values()))

    def grow(self, *, small: int = 1_200, large: int = 350, only: str | None = None) -> None:
        """Send ``small`` messages to each partition, in batches; to one also ``large`` ones and one in chunks.

        ``only`` names the one partition that gets anything.
        """
        chosen = only or self._random.choice(list(self.sent))
        for partition in [only] if only else self.sent:
            half = small // 2
            self._send(partition, self._payloads(half, 0, 400), batch=self._random.choice([20, 100]))
            if partition == chosen:
                self._send(partition, self._payloads(large, _LARGE_BYTES, _LARGE_BYTES), batch=0)
                self._send(partition, self._payloads(1, _CHUNKED_BYTES, _CHUNKED_BYTES), batch=0)
            self._send(partition, self._payloads(small - half, 0, 400), batch=self._random.choice([0, 50]))

    def grow_from_other_clocks(self, service_url: str, *, messages: int = 40) -> None:
        """Send a producer batch to each partition, by a clock that is up to an hour behind."""
        for partition in self.sent:
            behind = self._random.choice([0, 15_000, 600_000, 3_600_000])
            payloads = self._payloads(messages, 0, 400)
            time_ms = int(time.time() * 1000) - behind
            batch = [Message(payload, publish_time=time_ms) for payload in payloads]
            sent = taken(partial(send_raw, service_url, partition, batch, batch=True))
            self.sent[partition] += [
                Sent(each.position, each.position, zlib.crc32(each.message.payload or b"")) for each in sent
            ]

    def _payloads(self, count: int, least: int, most: int) -> list[bytes]:
        return [self._random.randbytes(self._random.randint(least, most)) for _ in range(count)]

    def _send(self, partition: str, payloads: Sequence[bytes], *, batch: int) -> None:
        """Send, ``batch`` messages in a producer batch; 0: each by itself, in chunks if it is too large for one."""
        sent: list[Sent] = []

        def receipt(payload: bytes, result: pulsar.Result, message_id: Any) -> None:
            assert result == pulsar.Result.Ok
            chunk = Fields(message_id.serialize()).strings(7)
            at = place(message_id)
            first = Fields(chunk[0]) if chunk else None
            begins = at if first is None else Position(first.number(1), first.number(2))
            sent.append(Sent(at, begins, zlib.crc32(payload)))

        producer = self._client.create_producer(
            partition,
            batching_enabled=batch > 0,
            chunking_enabled=batch == 0,
            batching_max_messages=max(batch, 2),
            batching_max_publish_delay_ms=60_000,
            block_if_queue_full=True,
        )
        for payload in payloads:
            event_time = self._random.choice([None, *(_EVENT_TIME + window * 300_000 for window in range(3))])
            producer.send_async(
                payload, lambda *outcome, payload=payload: receipt(payload, *outcome), event_timestamp=event_time
            )
        producer.flush()
        producer.close()
        assert len(sent) == len(payloads)
        self.sent[partition] += sent


@dataclass
class Ordeal:
    """Runs of one command over a backlog, and what must hold after each, however it ended."""

    broker: PulsarStandalone
    bucket: Bucket
    backlog: Backlog
    folder: Path
    options: Sequence[str] = ()
    by_event_time: bool = False
    granularity: int = 300
    service_url: str = ""
    """Where the runs find the broker, if not at its own address."""
    spooled: int = 0
    """How often a file of several parts was seen."""
    _known: dict[str, tuple[Stored, str]] = field(default_factory=dict)
    _stored: defaultdict[str, dict[Position, int]] = field(default_factory=lambda: defaultdict(dict))
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def start(self, *options: str) -> Attempt:
        """Start the command as a process."""
        argv = arguments(self.broker, self.backlog.topic, self.bucket, [*OPTIONS, *self.options, *options])
        if self.service_url:
            argv[0] = f"--service_url={self.service_url}"
        return Attempt(argv, self.folder / f"run-{next(self._numbers)}", self.objects)

    def complete(self, *options: str) -> Attempt:
        """Run the command to its end, which must be a good one, and look."""
        attempt = self.start(*options)
        assert attempt.wait(180) == 0, attempt.errors
        self.look()
        return attempt

    def objects(self) -> int:
        """How many files stand at the destination."""
        return sum(not self._spooled(key) for key in self.bucket.listed())

    def unnamed(self) -> set[str]:
        """Keys of files that no manifest names."""
        return unnamed(self.bucket)

    def look(self) -> None:
        """What must hold at every moment: no object is gone, changed or written again, and none overlaps another.

        Every message in them is the one that was sent; no subscription is ahead of what is stored.
        """
        # First, for a stream goes on meanwhile.
        marks = {partition: self._marked(partition) for partition in self.backlog.sent}
        found = self.bucket.server.disk.list(TEST_BUCKET, self.bucket.prefix, "", -1)
        now = {stored.key: stored for stored in found if not self._spooled(stored.key)}
        for key, (stored, _) in self._known.items():
            assert now.get(key) == stored, f"{key} is gone or was written again"
        for key in now.keys() - self._known.keys():
            self._take_in(now[key])
        self._refuse_overlaps()
        for partition, marked in marks.items():
            missing = self._first_missing(partition)
            assert missing is None or marked < missing.begins._replace(batch=0), (
                f"{partition} is acknowledged up to {marked}, and {missing} is not stored"
            )

    def assert_complete(self) -> None:
        """Every message that was sent is stored, once, and each object has the bytes that it had at first.

        Each file is named by one manifest.
        """
        self.look()
        assert check_documents(self.bucket) == set()
        for partition, sent in self.backlog.sent.items():
            assert self._stored[partition] == {each.position: each.crc for each in sent}
            assert self._marked(partition) == max(each.position for each in sent)._replace(batch=0)
        for key, (_, digest) in self._known.items():
            assert hashlib.sha256(self.bucket.read(key)).hexdigest() == digest, f"{key} has other bytes"

    def missing(self) -> int:
        """How many messages that were sent are not stored, as far as the last look saw."""
        return sum(
            sent.position not in self._stored[each] for each, all_sent in self.backlog.sent.items() for sent in all_sent
        )

    def all_acknowledged(self) -> bool:
        """Whether every subscription stands at the last message."""
        return all(
            self._marked(partition) == max(each.position for each in sent)._replace(batch=0)
            for partition, sent in self.backlog.sent.items()
        )

    def acknowledged(self) -> dict[str, Position]:
        """The last entry that is acknowledged, by partition."""
        return {partition: self._marked(partition) for partition in self.backlog.sent}

    def _spooled(self, key: str) -> bool:
        return key.startswith(f"{self.bucket.prefix}_spool/")

    def _take_in(self, stored: Stored) -> None:
        body = self.bucket.read(stored.key)
        if is_document(stored.key.removeprefix(self.bucket.prefix)):
            self._known[stored.key] = stored, hashlib.sha256(body).hexdigest()
            return
        self.spooled += "-" in stored.content.etag
        folder, _, base = stored.key.removeprefix(self.bucket.prefix).rpartition("/")
        name = parse_name(base)
        assert name is not None, stored.key
        records = read_avro(body) if name.format == "avro" else read_lines(body, name.extension)
        file = StoredFile(stored.key, f"{folder}/", name, records)
        check_file(file, granularity=self.granularity, by_event_time=self.by_event_time)
        check_metadata(file, self.bucket.metadata(stored.key))
        messages = self._stored[partition_of(records[0])]
        for record in records:
            assert position(record) not in messages, f"{stored.key}: {position(record)} stands twice"
            messages[position(record)] = zlib.crc32(record["payload"])
        self._known[stored.key] = stored, hashlib.sha256(body).hexdigest()

    def _refuse_overlaps(self) -> None:
        runs = defaultdict(list)
        for key in sorted(self._known):
            name = parse_name(key.rpartition("/")[2])
            if name is None:
                continue  # a document
            runs[name.window, name.partition].append(name)
        for names in runs.values():
            for before, after in itertools.pairwise(names):
                assert before.run.last < after.run.first, f"{before} and {after} overlap"

    def _first_missing(self, partition: str) -> Sent | None:
        stored = self._stored[partition]
        return next((sent for sent in self.backlog.sent[partition] if sent.position not in stored), None)

    def _marked(self, partition: str) -> Position:
        cursors = asked(lambda: self.broker.admin.internal_stats(partition))["cursors"]
        if SUBSCRIPTION not in cursors:
            return Position(-1, -1, 0)
        return Position(*map(int, cursors[SUBSCRIPTION]["markDeletePosition"].split(":")))


class Attempt:
    """One run as a process, its output in files."""

    def __init__(self, argv: Sequence[str], place: Path, objects: Callable[[], int]) -> None:
        self._out, self._errors = place.with_suffix(".out"), place.with_suffix(".err")
        self._objects = objects
        self._before = objects()
        self._began = time.monotonic()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("COS_")}
        with self._out.open("wb") as out, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.backup", *argv],
                cwd=ROOT,
                env={**clean, **SECRETS},
                stdout=out,
                stderr=errors,
            )

    @property
    def out(self) -> str:
        """Its standard output."""
        return self._out.read_text()

    @property
    def errors(self) -> str:
        """Its standard error."""
        return self._errors.read_text()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self._began

    @property
    def listens(self) -> bool:
        """Whether SIGTERM reaches our code: the interpreter itself needs a moment until anybody can listen."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except FileNotFoundError:
            return False
        caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    @property
    def wrote(self) -> int:
        """Objects that appeared since its start."""
        return self._objects() - self._before

    def until(self, reached: Callable[[], bool], *, timeout: float = 180) -> bool:
        """Wait until something is so; False if the run has ended before."""
        deadline = time.monotonic() + timeout
        while self.running:
            if reached():
                return True
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.005)
        return False

    def wait(self, timeout: float) -> int:
        """Its exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the run did not end within {timeout} s: {self.errors}") from None

    def kill(self) -> bool:
        """SIGKILL. False if it had ended by then, well."""
        others = [each for host in children(self.process.pid) for each in (host, *children(host))]
        self.process.kill()
        code = self.process.wait()
        assert code in (0, -9), self.errors
        deadline = time.monotonic() + 10
        while any(map(running, others)):
            assert time.monotonic() < deadline, "a worker has outlived its run"
            time.sleep(0.001)
        return code == -9

    def kill_worker(self, source: random.Random) -> bool:
        """SIGKILL one of its workers, or the process itself where there are none. False if it had ended by then, well.

        Whatever is killed, no process of the run is left.
        """
        hosts = children(self.process.pid)
        workers = [worker for host in hosts for worker in children(host)]
        if not workers:
            return self.kill()
        with suppress(ProcessLookupError):
            os.kill(source.choice(workers), signal.SIGKILL)
        code = self.wait(30)
        assert code in (0, 1), self.errors
        assert code == 0 or "a worker process of the run was killed (SIGKILL)" in self.errors, self.errors
        assert not any(map(running, [*hosts, *workers]))
        return code == 1

    def end(self, *numbers: int) -> int:
        """Send signals; its exit code, which has to come within seconds."""
        for number in numbers:
            self.process.send_signal(number)
        return self.wait(10)


def asked(question: Callable[[], Any], *, timeout: float = 30) -> Any:
    """The answer of an admin interface whose topics are being loaded."""
    return _once_loaded(question, lambda error: isinstance(error, AdminError | OSError), timeout)


def taken(send: Callable[[], Any], *, timeout: float = 30) -> Any:
    """Receipts for one entry. A topic that moves refuses it before it is written, and clients send it again, too.

    It says so by a code before there is a producer, and behind that by a sentence.
    """

    def is_refused_unwritten(error: Exception) -> bool:
        return isinstance(error, ServerRefusal) and (error.code == NOT_READY or error.sentence == "fenced")

    return _once_loaded(send, is_refused_unwritten, timeout)


def _once_loaded(ask: Callable[[], Any], is_loading: Callable[[Exception], bool], timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    while True:
        try:
            return ask()
        except Exception as error:
            if not is_loading(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def consumers(admin: PulsarAdmin, partition: str) -> int:
    """Who is connected to the subscription."""
    found = asked(lambda: admin.stats(partition))["subscriptions"].get(SUBSCRIPTION, {})
    return len(found.get("consumers", ()))
