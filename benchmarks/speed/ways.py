"""What is measured: parts of a benchmark, the ways to read in each of them, and how long each takes, about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.speed.flink_jobs import run_bounded, run_stream
from benchmarks.speed.local_jobs import COS, FOLDER, run_job, run_loop, run_newcomer
from benchmarks.speed.measurements import LOOP, Measurement, Spent, marginal
from benchmarks.speed.servers import Broker
from transforms.testing.flink_workers import Flink

NEWCOMER = "one element a message, Beam's fileio"
FLINK, LATENCY, PROFILE = "Flink", "latency", "profile"
#: Payload and messages of a topic, by the name of the part.
SIZES = {"200 B": (200, 1_000_000), "2 kB": (2_000, 200_000), "1 MB": (1_000_000, 5_000)}
PARTS = (*SIZES, FLINK, LATENCY, PROFILE)
#: Of the messages of a topic: in the topic that tells the start.
_PART = 5
_NULL, _LINES, _ZSTANDARD = "Avro, no codec", "JSON lines, no codec", "Avro, zstandard"
FORMATS = {
    _NULL: ("--format=avro", "--codec=null"),
    _LINES: ("--format=jsonl", "--codec=none"),
    _ZSTANDARD: ("--format=avro", "--codec=zstandard"),
    "Avro, snappy": ("--format=avro", "--codec=snappy"),
    "Avro, deflate (default)": ("--format=avro", "--codec=deflate"),
    "JSON lines, zstd": ("--format=jsonl", "--codec=zstd"),
    "JSON lines, gzip (default)": ("--format=jsonl", "--codec=gzip"),
}
#: Of the messages of a part, for what runs in the first round only: enough to compare codecs.
_SHARE_ONCE = {"200 B": 0.4, "2 kB": 1.0, "1 MB": 0.2}
#: How many worker processes a run has; the default is one for each core.
WORKERS = "--local_workers={}".format

Run = Callable[[Broker, int, int], Spent]


@dataclass(frozen=True)
class Way:
    """A way to read that ends by itself."""

    name: str
    run: Run
    once: bool = False
    """In the first round only."""
    share: float = 1.0
    """Of the messages of the part."""
    cost: float = 14.0
    """Seconds for each million messages of 200 B, or what weighs as much; a guess for the time that is left."""


def local_ways(part: str) -> Iterator[Way]:
    """Those of a part without Flink, the loop first."""
    yield Way(LOOP, run_loop, cost=12)
    always = {_NULL, _LINES, *((_ZSTANDARD,) if part == "200 B" else ())}
    for label, options in FORMATS.items():
        for place in (FOLDER, COS):
            once = label not in always
            share = _SHARE_ONCE[part] if once else 1.0
            run = partial(run_job, options=(*options, WORKERS(1)), place=place)
            yield Way(f"{label}, {place}", run, once, share, 30 if "default" in label else 14)
    if part == "200 B":
        for place in (FOLDER, COS):
            run = partial(run_job, options=(*FORMATS[_NULL], WORKERS(2)), place=place)
            yield Way(two_workers(f"{_NULL}, {place}"), run)
        yield Way(NEWCOMER, run_newcomer, share=0.1, cost=260)


def two_workers(name: str) -> str:
    """What a way is called with two worker processes."""
    return f"{name}, 2 workers"


def one_worker(name: str) -> str | None:
    """The way with one worker process that one with two is held against; None for all others."""
    return name.removesuffix(", 2 workers") if name.endswith(", 2 workers") else None


@dataclass(frozen=True)
class Step:
    """Something that is measured in one go."""

    part: str
    round: int
    what: str
    seconds: float
    """Guessed."""
    measure: Callable[[], Measurement]


def steps(part: str, broker: Broker, flink: Callable[[], Flink], scale: float, rounds: int) -> Iterator[Step]:
    """The steps of a part, in order; ``flink`` starts a cluster if there is none."""
    if part in SIZES:
        payload, messages = SIZES[part]
        weight = messages / 1e6 * {"200 B": 1.0, "2 kB": 1.5, "1 MB": 180.0}[part]
        for number in range(1, rounds + 1):
            for way in local_ways(part):
                if number == 1 or not way.once:
                    many = _count(messages * scale * way.share)
                    seconds = 6 + way.cost * weight * scale * way.share * (1 + 1 / _PART)
                    measure = partial(_measure, part, number, way.name, way.run, broker, payload, many)
                    yield Step(part, number, way.name, seconds, measure)
    elif part == FLINK:
        yield from _flink_steps(broker, flink, scale, rounds)


def _flink_steps(broker: Broker, flink: Callable[[], Flink], scale: float, rounds: int) -> Iterator[Step]:
    payload, messages = SIZES["200 B"]
    many = _count(messages * scale)
    for number in range(1, rounds + 1):
        yield Step(
            FLINK, number, LOOP, 12 * scale + 1, partial(_measure, FLINK, number, LOOP, run_loop, broker, payload, many)
        )
        for workers in (1, 2):
            bounded, stream = f"{_NULL}, COS, with an end", f"{_NULL}, COS, streaming"

            def run(broker: Broker, payload: int, count: int, workers: int = workers) -> Spent:
                return run_bounded(broker, flink(), payload, count, FORMATS[_NULL], workers)

            def measure_stream(number: int, way: str, workers: int = workers) -> Measurement:
                return run_stream(broker, flink(), FLINK, number, way, (payload, many), workers)

            stream, bounded = (stream, bounded) if workers == 1 else (two_workers(stream), two_workers(bounded))
            yield Step(FLINK, number, stream, 14 + 24 * scale, partial(measure_stream, number, stream))
            measure = partial(_measure, FLINK, number, bounded, run, broker, payload, many)
            yield Step(FLINK, number, bounded, 24 + 28 * scale, measure)


def topics(part: str, scale: float) -> list[tuple[int, int]]:
    """Payload and messages of each topic of a part."""
    payload, messages = SIZES.get(part, SIZES["200 B"])
    shares = {way.share for way in local_ways(part)} if part in SIZES else {1.0}
    return [
        (payload, count)
        for share in sorted(shares)
        for count in (_count(messages * scale * share) // _PART, _count(messages * scale * share))
    ]


def _count(messages: float) -> int:
    """A number of messages that has a fifth, and fills every partition."""
    return max(round(messages / 20), 2) * 20


def _measure(part: str, number: int, way: str, run: Run, broker: Broker, payload: int, many: int) -> Measurement:
    few = run(broker, payload, many // _PART)
    return marginal(part, number, way, few, run(broker, payload, many))
