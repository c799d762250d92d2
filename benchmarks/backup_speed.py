"""What a backup costs, beside a bare loop of the client that touches the same fields. In one run, several rounds.

    python -m benchmarks.backup_speed [--scale 0.1] [--rounds 3] [--size "200 B"] [--output build/benchmark]

Starts a real broker and a COS server on this machine, fills topics of 4 partitions (producer batches compressed with
LZ4, a key, two properties and an event time each), and reads them by the loop and by the job, turn about. CPU seconds
are of the reading process and its children; the servers are processes of their own, on the same cores.

The cost of a message is marginal: the difference between a whole topic and one of a fifth of the messages, so that the
start is told apart. Medians of the rounds. Writes ``speed.json`` and ``speed.md`` into the output folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import pulsar

from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY
from transforms.testing.measured_process import Cost, measure
from transforms.testing.producers import produce
from transforms.testing.pulsar_standalone import PulsarStandalone

_PARTITIONS = 4
#: Payload and messages of a topic.
SIZES = {"200 B": (200, 1_000_000), "2 kB": (2_000, 200_000), "1 MB": (1_000_000, 5_000)}
#: Of the messages of a topic: in the topic that tells the start.
_PART = 5
#: Of the messages of a topic: what one element a message is given.
_NEWCOMER = 10
_FORMATS = {
    "Avro, no codec": ("--format=avro", "--codec=null"),
    "Avro, deflate (default)": ("--format=avro",),
    "Avro, snappy": ("--format=avro", "--codec=snappy"),
    "Avro, zstandard": ("--format=avro", "--codec=zstandard"),
    "JSON lines, no codec": ("--format=jsonl", "--codec=none"),
    "JSON lines, gzip (default)": ("--format=jsonl",),
    "JSON lines, zstd": ("--format=jsonl", "--codec=zstd"),
}
_LOOP, _FILEIO = "bare client loop", "one element a message, Beam's fileio"
_PIECE_BYTES = 100_000_000


@dataclass
class Measured:
    """What one way to read cost, round by round: of the whole topic, and of the small one."""

    whole: list[Cost] = field(default_factory=list)
    part: list[Cost] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    size: str
    name: str
    messages: int
    cpu_seconds_per_million: float
    """Marginal."""
    of_the_loop: float
    start_cpu_seconds: float
    messages_per_second: float
    """Of the whole process, start included."""
    peak_mb: float


def bare_loop(service_url: str, topic: str) -> None:
    """Read every message, touch the fields that a backup needs, keep nothing."""
    client = pulsar.Client(service_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
    for index in range(_PARTITIONS):
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


@contextmanager
def cos_server() -> Iterator[str]:
    """A COS server in a process of its own; gives its address."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "transforms.testing.cos_server"]
        server = subprocess.Popen(
            [*command, f"--directory={folder}", f"--bucket={TEST_BUCKET}"],
            env=_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
            server.wait()


def run(command: Sequence[str]) -> Cost:
    cost = measure([sys.executable, "-m", *command], _environment(), seconds=3600)
    if cost.code:
        raise SystemExit(f"{' '.join(command)} failed with exit code {cost.code}:\n{cost.errors}")
    return cost


def run_job(service_url: str, topic: str, options: Sequence[str], *, to_cos: bool) -> Cost:
    """Run the job once, to a place that is deleted again."""
    command = ["pipelines.backup", f"--service_url={service_url}", f"--topic={topic}", "--log_level=ERROR", *options]
    if to_cos:
        with cos_server() as endpoint:
            place = (f"--destination=cos://{TEST_BUCKET}/speed/", f"--cos_endpoint={endpoint}")
            return run([*command, *place, "--cos_region=ap-guangzhou"])
    with tempfile.TemporaryDirectory() as folder:
        return run([*command, f"--destination=file://{folder}/"])


def run_newcomer(service_url: str, topic: str) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        return run(["benchmarks.newcomer", service_url, topic, folder])


def fill(broker: PulsarStandalone, name: str, count: int, payload: int) -> str:
    topic = f"persistent://test/speed/{name}"
    broker.admin.create_partitioned_topic(topic, _PARTITIONS)
    piece = max(_PIECE_BYTES // (payload + 400), _PARTITIONS)
    for seed, begin in enumerate(range(0, count, piece)):
        produce(broker.service_url, topic, min(piece, count - begin), partitions=_PARTITIONS, size=payload, seed=seed)
    return topic


def compare(broker: PulsarStandalone, size: str, scale: float, rounds: int) -> list[Row]:
    """All ways to read messages of one size."""
    payload, messages = SIZES[size]
    whole = max(int(messages * scale), 10 * _PARTITIONS)
    print(f"producing {whole:,} messages of {size}", flush=True)
    counts = {"whole": whole, "part": whole // _PART, "few": whole // _NEWCOMER, "fewer": whole // _NEWCOMER // _PART}
    topics = {name: fill(broker, f"{name}-{payload}", count, payload) for name, count in counts.items()}
    url = broker.service_url
    measured: dict[str, Measured] = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        for name, topic in (("whole", topics["whole"]), ("part", topics["part"])):
            loop = measured.setdefault(_LOOP, Measured())
            getattr(loop, name).append(run(["benchmarks.backup_speed", "--bare", url, topic]))
            for to_cos, place in ((False, "folder"), (True, "COS")):
                for label, options in _FORMATS.items():
                    job = measured.setdefault(f"{label}, {place}", Measured())
                    getattr(job, name).append(run_job(url, topic, options, to_cos=to_cos))
        newcomer = measured.setdefault(_FILEIO, Measured())
        newcomer.whole.append(run_newcomer(url, topics["few"]))
        newcomer.part.append(run_newcomer(url, topics["fewer"]))
    rows: list[Row] = []
    for name, each in measured.items():
        low, high = ("fewer", "few") if name == _FILEIO else ("part", "whole")
        rows.append(_row(size, name, each, counts[low], counts[high], rows[0] if rows else None))
    return rows


def _row(size: str, name: str, costs: Measured, part: int, whole: int, loop: Row | None) -> Row:
    margins = [
        (high.cpu_seconds - low.cpu_seconds) / (whole - part) for high, low in zip(costs.whole, costs.part, strict=True)
    ]
    margin = statistics.median(margins)
    start = statistics.median(low.cpu_seconds for low in costs.part) - margin * part
    return Row(
        size,
        name,
        whole,
        margin * 1e6,
        margin * 1e6 / loop.cpu_seconds_per_million if loop else 1.0,
        start,
        whole / statistics.median(high.seconds for high in costs.whole),
        max(high.peak_bytes for high in costs.whole) / 1e6,
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| messages | | CPU s per million | of the loop | start, CPU s | messages/s | peak RSS, MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row.size} | {row.name} | {row.cpu_seconds_per_million:,.1f} | {row.of_the_loop:.2f} "
            f"| {row.start_cpu_seconds:.1f} | {row.messages_per_second:,.0f} | {row.peak_mb:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the messages, for a quick run")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken")
    parser.add_argument("--size", action="append", choices=SIZES, help="repeatable; all by default")
    parser.add_argument("--output", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--bare", nargs=2, metavar=("URL", "TOPIC"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare_loop(*options.bare)
        return
    facts = machine()
    rows: list[Row] = []
    with PulsarStandalone() as broker:
        broker.admin.create_tenant("test")
        broker.admin.create_namespace("test/speed")
        for size in options.size or SIZES:
            rows += compare(broker, size, options.scale, options.rounds)
    options.output.mkdir(parents=True, exist_ok=True)
    facts |= {"rounds": options.rounds, "scale": options.scale, "rows": [asdict(row) for row in rows]}
    (options.output / "speed.json").write_text(json.dumps(facts, indent=2) + "\n")
    (options.output / "speed.md").write_text(table(rows))
    print(f"\n{table(rows)}\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")


def _environment() -> dict[str, str]:
    return {**os.environ, "COS_SECRET_ID": TEST_SECRET_ID, "COS_SECRET_KEY": TEST_SECRET_KEY}


if __name__ == "__main__":
    main()
