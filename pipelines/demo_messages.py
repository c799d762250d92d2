"""The messages of the demo: made, produced to a broker, read back from files, and compared."""

from __future__ import annotations

import gzip
import json
import os
import random
import struct
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, NamedTuple, cast

import fastavro
import orjson
import pulsar

WINDOW_MS = 300_000
WINDOWS = 3
LATE_EVERY = 1_900
"""One message in so many has an event time one window before its turn."""
JITTER_MS = 10_000
"""By how much other event times are out of order; less than the job's --allowed_disorder."""
BIG_BYTES = 4_000_000
"""One message has as many. pulsar-lite 0.2.0 now and then sends chunked messages incompletely, so it is not larger."""
TOMBSTONE_EVERY = 50

# Event times go as this power of the message's number, so that half of them are in the first of three windows.
_CURVE = 1.585
_NAMES = ("Zoë", "李小龙", "Łukasz", "Ζωή", "Олена", "محمد", "さくら", "José 🎉")
_ORDERS = 4_000
_SENSORS = 40


class Message(NamedTuple):
    """What was produced, and what must come back."""

    key: str | None
    properties: dict[str, str]
    event_time: int
    payload: bytes | None


class MessageId(NamedTuple):
    """Where the broker put a message."""

    topic: str
    ledger: int
    entry: int
    batch: int


Produced = dict[MessageId, Message]


class Kind(NamedTuple):
    """A topic of the demo."""

    name: str
    messages: int
    about: str

    @property
    def topic(self) -> str:
        """Full name."""
        return f"persistent://demo/shop/{self.name}"


KINDS = (
    Kind("orders", 11_600, f"JSON with keys, properties, names in many scripts; every {TOMBSTONE_EVERY}th a tombstone"),
    Kind("sensors", 5_200, "20 bytes of binary each"),
    Kind("letters", 3_200, f"text; one has {BIG_BYTES:,} bytes"),
)


def messages_of(kind: Kind, first_window: int) -> Iterator[Message]:
    """The messages of a topic, each time the same, with event times from ``first_window`` (milliseconds) on."""
    chance = random.Random(kind.name)  # noqa: S311 - nothing secret is drawn
    span = WINDOWS * WINDOW_MS
    for number in range(kind.messages):
        at = int((number / kind.messages) ** _CURVE * span) + chance.randrange(-JITTER_MS, JITTER_MS)
        if number % LATE_EVERY == LATE_EVERY - 1:
            at -= WINDOW_MS
        event_time = first_window + min(max(at, 0), span - 1)
        if kind.name == "orders":
            order = {"order": number, "customer": chance.choice(_NAMES), "cents": chance.randrange(1, 10**6)}
            tombstone = number % TOMBSTONE_EVERY == TOMBSTONE_EVERY - 1
            payload = None if tombstone else json.dumps(order, ensure_ascii=False).encode()
            properties = {"source": chance.choice(("web", "app", "店")), "try": "1"}
            yield Message(f"order-{chance.randrange(_ORDERS):04d}", properties, event_time, payload)
        elif kind.name == "sensors":
            reading = struct.pack(">IQd", 0xFFFE0000 + number, event_time, chance.gauss(20, 3))
            yield Message(f"sensor-{number % _SENSORS}", {}, event_time, reading)
        else:
            text = f"Dear {chance.choice(_NAMES)}, {'all is well. ' * chance.randrange(1, 20)}".encode()
            yield Message(None, {"no": str(number)}, event_time, _long(text) if number == kind.messages // 2 else text)


def _long(text: bytes) -> bytes:
    return text * (BIG_BYTES // len(text)) + b"." * (BIG_BYTES % len(text))


def produce(service_url: str) -> Produced:
    """Produce all messages, their event times in whole windows that have just passed; returns where each one is."""
    produced: Produced = {}
    failed: list[str] = []
    now = time.time_ns() // 1_000_000
    first_window = now - now % WINDOW_MS - WINDOWS * WINDOW_MS
    # The client has one logger for the process, so this one is the job's as well. What it calls errors may mend
    # themselves; what does not is raised.
    client = pulsar.Client(service_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
    try:
        for kind in KINDS:
            producer = client.create_producer(
                kind.topic, batching_enabled=True, batching_max_publish_delay_ms=5, block_if_queue_full=True
            )
            for message in messages_of(kind, first_window):

                def sent(outcome: Any, found: Any, message: Message = message, topic: str = kind.topic) -> None:
                    if outcome == pulsar.Result.Ok:
                        produced[MessageId(topic, found.ledger_id(), found.entry_id(), found.batch_index())] = message
                    else:
                        failed.append(f"{topic}: {outcome}")

                producer.send_async(
                    message.payload,
                    sent,
                    properties=message.properties,
                    partition_key=message.key,
                    event_timestamp=message.event_time,
                )
            producer.flush()
    finally:
        client.close()
    if failed:
        raise RuntimeError(f"{len(failed)} messages were not produced; the first: {failed[0]}")
    return produced


def records(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The records of Avro files and of files of JSON lines, as their readers give them."""
    for path in paths:
        if path.suffix == ".avro":
            with path.open("rb") as file:
                yield from cast(Iterator[dict[str, Any]], fastavro.reader(file))
        else:
            with gzip.open(path) as lines:
                yield from map(orjson.loads, lines)


def is_document(path: PurePath) -> bool:
    """Whether it is a manifest or the record of a run, and holds no messages."""
    return path.suffix == ".json"


def read_back(folder: Path) -> Iterator[tuple[MessageId, Message]]:
    """All messages in all files under a folder."""
    for record in records(sorted(path for path in folder.rglob("*") if path.is_file() and not is_document(path))):
        found = MessageId(record["topic"], record["ledger_id"], record["entry_id"], record["batch_index"])
        event_time, payload = record["event_time"], record["payload"]
        if isinstance(event_time, datetime):
            event_time = round(event_time.timestamp() * 1000)
        if "payload_base64" in record:
            payload = b64decode(record["payload_base64"])
        elif isinstance(payload, str):
            payload = payload.encode()
        yield found, Message(record["key"], record["properties"], event_time, payload)


@dataclass(frozen=True)
class Comparison:
    """What was produced against what was found."""

    produced: int
    found: int
    missing: int
    twice: int
    changed: int
    unknown: int

    @property
    def equal(self) -> bool:
        """Whether each message was found once and unchanged, and nothing else was."""
        return not (self.missing or self.twice or self.changed or self.unknown)

    def __str__(self) -> str:
        return (
            f"{self.produced:,} produced, {self.found:,} read back: {self.missing} missing, {self.twice} more than "
            f"once, {self.changed} changed, {self.unknown} unknown"
        )


def compare(produced: Produced, found: Iterable[tuple[MessageId, Message]]) -> Comparison:
    """Compare by message id; key, properties, event time and payload must be equal."""
    times: Counter[MessageId] = Counter()
    changed = 0
    for message_id, message in found:
        times[message_id] += 1
        changed += produced.get(message_id, message) != message
    return Comparison(
        produced=len(produced),
        found=sum(times.values()),
        missing=len(produced.keys() - times.keys()),
        twice=sum(1 for count in times.values() if count > 1),
        changed=changed,
        unknown=len(times.keys() - produced.keys()),
    )
