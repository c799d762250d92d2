"""Sends messages of 200 B at a fixed rate: LZ4 batches, a key, two properties and an event time each.

python -m benchmarks.speed.fixed_rate URL TOPIC MESSAGES_PER_SECOND SECONDS
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from typing import Any

import pulsar

from benchmarks.speed.bare_loop import PARTITIONS
from transforms.testing.producers import generate

_TICK = 0.01
#: Messages are made once and sent again and again: making them takes longer than sending.
_DIFFERENT = 20_000


def main(service_url: str, topic: str, rate: str, seconds: str) -> None:
    """Send; prints how many were sent and the seconds that it took. Raises RuntimeError if any was refused."""
    failures: list[Any] = []

    def receipt(result: Any, _: Any) -> None:
        if result != pulsar.Result.Ok:
            failures.append(result)

    messages = list(generate(_DIFFERENT))
    client = pulsar.Client(service_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
    producers = [
        client.create_producer(
            f"{topic}-partition-{index}",
            compression_type=pulsar.CompressionType.LZ4,
            batching_enabled=True,
            batching_max_messages=1_000,
            batching_max_publish_delay_ms=10,
            block_if_queue_full=True,
            max_pending_messages=20_000,
        )
        for index in range(PARTITIONS)
    ]
    began, sent, total = time.monotonic(), 0, int(float(rate) * float(seconds))
    for tick in itertools.count(1):
        due = min(int(float(rate) * tick * _TICK), total)
        for number in range(sent, due):
            message = messages[number % _DIFFERENT]
            producers[number % PARTITIONS].send_async(
                message.payload,
                receipt,
                properties=message.properties,
                partition_key=message.key,
                event_timestamp=message.event_time,
            )
        sent = due
        if sent == total:
            break
        time.sleep(max(began + tick * _TICK - time.monotonic(), 0))
    lasted = time.monotonic() - began
    for producer in producers:
        producer.flush()
    client.close()
    if failures:
        raise RuntimeError(f"{len(failures)} messages were not taken, for one: {failures[0]}")
    print(sent, lasted)


if __name__ == "__main__":
    main(*sys.argv[1:])
