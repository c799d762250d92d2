"""What a backup costs, beside a bare loop of the client that touches the same fields. In one run, several rounds.

    python -m benchmarks.backup_speed [--messages 1000000] [--rounds 3]

Starts a real broker and a COS server on this machine, fills a topic, and reads it by the loop and by the job, turn
about. CPU seconds are of the reading process alone; the servers are processes of their own, on the same cores. The
cost of a message is given twice: as it is, and less what a run over an empty topic costs (start-up).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pulsar

from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY
from transforms.testing.producers import produce
from transforms.testing.pulsar_standalone import PulsarStandalone

_PAYLOAD = 200
_FORMATS = {
    "Avro, no codec": ["--format=avro", "--codec=null"],
    "Avro, deflate (default)": ["--format=avro"],
    "Avro, zstandard": ["--format=avro", "--codec=zstandard"],
    "JSON lines, no codec": ["--format=jsonl", "--codec=none"],
    "JSON lines, gzip (default)": ["--format=jsonl"],
}


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float
    memory: int
    """Largest resident size, kB."""


def bare_loop(service_url: str, topic: str) -> None:
    """Read every message, touch the fields that a backup needs, keep nothing."""
    client = pulsar.Client(service_url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    reader = client.create_reader(topic, pulsar.MessageId.earliest)
    while reader.has_message_available():
        for _ in range(1000):
            try:
                message = reader.read_next(1000)
            except pulsar.Timeout:
                break
            place = message.message_id()
            place.ledger_id(), place.entry_id(), place.batch_index()
            message.publish_timestamp(), message.event_timestamp(), message.producer_name(), message.schema_version()
            message.partition_key(), message.ordering_key(), message.properties(), message.data()
    client.close()


def measured(command: Sequence[str], **environment: str) -> Cost:
    """Run a process to its end; what it cost. Fails with it."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{output.read().decode()}")
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(each.wall for each in costs),
        statistics.median(each.cpu for each in costs),
        max(each.memory for each in costs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="of 200 B in the topic")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken")
    parser.add_argument("--bare", nargs=2, metavar=("URL", "TOPIC"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare_loop(*options.bare)
        return
    with PulsarStandalone() as broker, tempfile.TemporaryDirectory() as folder:
        secrets = {"COS_SECRET_ID": TEST_SECRET_ID, "COS_SECRET_KEY": TEST_SECRET_KEY}
        server = subprocess.Popen(
            [sys.executable, "-m", "transforms.testing.cos_server", f"--directory={folder}", f"--bucket={TEST_BUCKET}"],
            env={**os.environ, **secrets},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            endpoint = server.stdout.readline().strip()
            compare(options.messages, options.rounds, broker, endpoint, secrets)
        finally:
            server.terminate()
            server.wait()


def compare(messages: int, rounds: int, broker: PulsarStandalone, endpoint: str, secrets: dict[str, str]) -> None:
    namespace = "test/speed"
    broker.admin.create_tenant("test")
    broker.admin.create_namespace(namespace)
    full, empty = f"persistent://{namespace}/full", f"persistent://{namespace}/empty"
    broker.admin.create_topic(empty)
    print(f"producing {messages:,} messages of {_PAYLOAD} B", flush=True)
    for seed, count in enumerate([250_000] * (messages // 250_000) + [messages % 250_000]):
        if count:
            produce(broker.service_url, full, count, size=_PAYLOAD, seed=seed)

    def bare(topic: str) -> Cost:
        return measured([sys.executable, "-m", "benchmarks.backup_speed", "--bare", broker.service_url, topic])

    def job(topic: str, choice: Sequence[str], place: str) -> Cost:
        command = [sys.executable, "-m", "pipelines.backup", f"--service_url={broker.service_url}", f"--topic={topic}"]
        command += [f"--destination=cos://{TEST_BUCKET}/{place}/", f"--cos_endpoint={endpoint}", *choice]
        return measured([*command, "--cos_region=ap-guangzhou", "--log_level=ERROR"], **secrets)

    costs: dict[str, list[Cost]] = {"bare client loop": [], **{name: [] for name in _FORMATS}}
    idle: dict[str, list[Cost]] = {name: [] for name in costs}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        costs["bare client loop"].append(bare(full))
        idle["bare client loop"].append(bare(empty))
        for at, (name, choice) in enumerate(_FORMATS.items()):
            costs[name].append(job(full, choice, f"{number}-{at}"))
            idle[name].append(job(empty, choice, f"{number}-{at}-empty"))
    print(f"\n{messages:,} messages of {_PAYLOAD} B; medians of {rounds} rounds")
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print("CPU/M: CPU seconds for a million messages\n")
    print(f"{'':28}{'msg/s':>9}{'CPU/M':>8}{'less start':>12}{'of the loop':>13}{'MB':>6}")
    yardstick = 0.0
    for name, each in costs.items():
        cost, start = median(each), median(idle[name])
        net = (cost.cpu - start.cpu) * 1e6 / messages
        yardstick = yardstick or net
        rate, gross = messages / cost.wall, cost.cpu * 1e6 / messages
        print(f"{name:28}{rate:>9,.0f}{gross:>8.1f}{net:>12.1f}{net / yardstick:>13.2f}{cost.memory / 1024:>6.0f}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
