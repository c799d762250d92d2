"""What a soak sends, and whether it is stored: each payload tells its partition and its number in it."""

from __future__ import annotations

import itertools
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pulsar

from tests.pipelines.backups import Bucket, is_document
from tests.pipelines.producing import connected
from tests.pipelines.reading_back import StoredFile, check_file, position, read_avro
from transforms.files.naming import parse_name
from transforms.pulsar.positions import Position
from transforms.testing.cos_server import TEST_BUCKET

_HEAD = struct.Struct(">IQ")
_SMALL = range(150, 251)
#: 24 of them are more than what waits of an open file: they are spooled in parts.
_LARGE, _LARGE_AT_ONCE, _LARGE_EVERY = 250_000, 24, 20.0
_NOISE = random.Random(1).randbytes(1 << 20)
_TICK = 0.05


def payload(partition: int, number: int, size: int) -> bytes:
    """What message ``number`` of a partition holds, ``size`` bytes of at least 12."""
    begin = (partition * 7_919 + number * 104_729) % (len(_NOISE) - size)
    return _HEAD.pack(partition, number) + _NOISE[begin : begin + size - _HEAD.size]


class Production:
    """Sends to each partition of a topic, in producer batches, now and then large messages among them."""

    def __init__(self, service_url: str, topic: str, partitions: int, rate: float, source: random.Random) -> None:
        self.taken = [0] * partitions
        """Messages that the broker has confirmed, by partition."""
        self.partitions = [f"{topic}-partition-{index}" for index in range(partitions)]
        """Their full names."""
        self._rate = rate
        self._random = source
        self._failures: list[object] = []
        self._client = connected(service_url)
        self._ended = threading.Event()

    @property
    def count(self) -> int:
        """Messages that the broker has confirmed."""
        return sum(self.taken)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Send while the body runs; when it has ended, all that was sent is confirmed. Fails if anything was not."""
        thread = threading.Thread(target=self._run, daemon=True, name="production")
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
        if self._failures:
            raise RuntimeError(f"{len(self._failures)} messages were not taken, for one: {self._failures[0]}")

    def close(self) -> None:
        """Let go of the client."""
        self._client.close()

    def _run(self) -> None:
        try:
            producers = [self._producer(partition) for partition in self.partitions]
            self._send(producers)
            for producer in producers:
                producer.flush()
                producer.close()
        except BaseException as error:
            self._failures.append(error)

    def _producer(self, partition: str) -> pulsar.Producer:
        return self._client.create_producer(
            partition,
            batching_enabled=True,
            batching_max_messages=1_000,
            batching_max_publish_delay_ms=50,
            block_if_queue_full=True,
            max_pending_messages=5_000,
        )

    def _send(self, producers: Sequence[pulsar.Producer]) -> None:
        began = time.monotonic()
        sent = [0] * len(producers)
        large_at = began + _LARGE_EVERY
        receipts = [self._receipt(index) for index in range(len(producers))]

        def send(index: int, size: int) -> None:
            producers[index].send_async(payload(index, sent[index], size), receipts[index])
            sent[index] += 1

        for tick in itertools.count(1):
            due = int(self._rate * tick * _TICK / len(producers))
            for index in range(len(producers)):
                for _ in range(due - sent[index]):
                    send(index, self._random.choice(_SMALL))
            if time.monotonic() >= large_at:
                large_at += _LARGE_EVERY
                chosen = self._random.randrange(len(producers))
                for _ in range(_LARGE_AT_ONCE):
                    send(chosen, _LARGE)
            if self._ended.wait(max(began + tick * _TICK - time.monotonic(), 0)):
                return

    def _receipt(self, index: int) -> Callable[[pulsar.Result, Any], None]:
        def receipt(result: pulsar.Result, _: Any) -> None:
            # Called by one thread of the client.
            if result == pulsar.Result.Ok:
                self.taken[index] += 1
            else:
                self._failures.append(result)

        return receipt


class Stored:
    """What stands at the destination, as its names tell."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._files: dict[str, int] = {}
        self.in_parts = 0
        """Files that were joined of spooled parts."""

    @property
    def files(self) -> int:
        """How many files there were at the last look."""
        return len(self._files)

    def count(self) -> int:
        """Look; how many messages the files hold. Raises RuntimeError if one that was there is gone."""
        prefix = self._bucket.prefix
        found = self._bucket.server.disk.list(TEST_BUCKET, prefix, "", -1)
        files = {
            each.key: each
            for each in found
            if not (each.key.startswith(f"{prefix}_spool/") or is_document(each.key.removeprefix(prefix)))
        }
        if gone := self._files.keys() - files.keys():
            raise RuntimeError(f"{min(gone)} was there, and is gone")
        for key in files.keys() - self._files.keys():
            name = parse_name(key.rpartition("/")[2])
            if name is None:
                raise RuntimeError(f"{key} is no file of messages")
            self._files[key] = name.run.messages
            self.in_parts += "-" in files[key].content.etag
        return sum(self._files.values())

    def left_in_spool(self) -> int:
        """Spooled parts that still stand."""
        return len(self._bucket.server.stored_keys(TEST_BUCKET, f"{self._bucket.prefix}_spool/"))


class Census:
    """Counts messages read back: every one of each partition exactly once, with its own bytes and in its order."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._seen = [bytearray(count) for count in counts]
        self._places: list[list[tuple[Position, Position, int]]] = [[] for _ in counts]
        self.twice = 0
        self.other = 0
        """Messages that were never sent, have other bytes, or stand behind a later one in their file."""

    @property
    def missing(self) -> int:
        """Messages that were not counted."""
        return sum(seen.count(0) for seen in self._seen)

    @property
    def out_of_order(self) -> int:
        """Files that begin with a later message than the one behind them ends with, by their positions."""
        wrong = 0
        for places in self._places:
            places.sort()
            wrong += sum(before[1] >= after[0] or before[2] >= after[2] for before, after in itertools.pairwise(places))
        return wrong

    def take(self, records: Sequence[dict[str, Any]]) -> None:
        """Count the records of one file."""
        first = last = -1
        for record in records:
            body = record["payload"]
            partition, number = _HEAD.unpack_from(body)
            if not (partition < len(self._seen) and number < len(self._seen[partition])) or body != payload(
                partition, number, len(body)
            ):
                self.other += 1
                continue
            self.other += number <= last
            last = number
            first = number if first < 0 else first
            if self._seen[partition][number]:
                self.twice += 1
            self._seen[partition][number] = 1
        if first >= 0:
            self._places[records[0]["partition"]].append((position(records[0]), position(records[-1]), first))


def read_back(bucket: Bucket, counts: Sequence[int], granularity: int, say: Callable[[str], None]) -> Census:
    """Read every file, hold it against its name, and count its messages. Raises AssertionError for a wrong file."""
    census = Census(counts)
    keys = [key for key in bucket.listed() if not key.startswith(f"{bucket.prefix}_spool/")]
    told = time.monotonic()
    for done, key in enumerate(keys, 1):
        folder, _, base = key.removeprefix(bucket.prefix).rpartition("/")
        name = parse_name(base)
        assert name is not None, key
        records = read_avro(bucket.read(key))
        check_file(StoredFile(key, f"{folder}/", name, records), granularity=granularity)
        census.take(records)
        if time.monotonic() > told + 10:
            told = time.monotonic()
            say(f"read back {done:,} of {len(keys):,} files")
    return census
