"""The yardstick: a loop of the Python client that touches the fields that a backup needs, and keeps nothing.

python -m benchmarks.speed.bare_loop URL TOPIC
"""

from __future__ import annotations

import os
import sys

import pulsar

PARTITIONS = 4


def main(service_url: str, topic: str) -> None:
    """Read every message of a topic."""
    client = pulsar.Client(service_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
    for index in range(PARTITIONS):
        reader = client.create_reader(f"{topic}-partition-{index}", pulsar.MessageId.earliest)
        while reader.has_message_available():
            for _ in range(1000):
                try:
                    message = reader.read_next(100)
                except pulsar.Timeout:
                    break
                place = message.message_id()
                place.ledger_id(), place.entry_id(), place.batch_index()
                message.publish_timestamp(), message.event_timestamp(), message.producer_name()
                message.schema_version(), message.partition_key(), message.ordering_key()
                message.properties(), message.data()
        reader.close()
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
