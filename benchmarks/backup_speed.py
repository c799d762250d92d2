"""What a backup costs, beside a bare loop of the client that touches the same fields. In one run, several rounds.

    python -m benchmarks.backup_speed [--scale 0.1] [--rounds 3] [--only "200 B" --only Flink] [--readme]

Starts a real broker, a COS server and a Flink cluster on this machine, fills topics of 4 partitions (producer batches
compressed with LZ4, a key, two properties and an event time each), and reads them by the loop and by the job, turn
about. CPU seconds are of the reading process and all that it starts; the servers are processes of their own, on the
same cores, and counted apart.

The cost of a message is marginal: the difference between a whole topic and one of a fifth of the messages, so that the
start is told apart. Medians of the rounds; what is held against the loop is held against that of its own round. Codecs
other than those that the table has with several rounds run in the first round only.

--output gets speed.json after each step, and in the end speed.md and the drawings, each light and dark. A part that is
measured again takes the place of what speed.json has of it. --readme puts tables and drawings into the README.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.speed import latency, machine, readme, where_time_goes
from benchmarks.speed.measurements import Results
from benchmarks.speed.servers import SECRETS, Broker, broker
from benchmarks.speed.ways import FLINK, LATENCY, PARTS, PROFILE, SIZES, Step, steps, topics
from transforms.testing.flink_workers import Flink, flink_with_workers

#: Guesses, for the time that is left.
_SECONDS_TO_SEND, _SECONDS_TO_SEND_A_BYTE = 5e-5, 8e-9
_LATENCY_SECONDS = 60.0
_LEAST_LATENCY_SECONDS = 25.0
#: Of the messages: the profiler makes a run several times as long.
_PROFILED = 0.4
#: What the latency's rate is half of.
FASTEST = "Avro, no codec, COS, streaming"


class Progress:
    """Says what is measured, and how long the rest takes: by guesses, corrected by how well they were met so far."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self._left = list(seconds)
        self._all = len(self._left)
        self._guessed = self._took = 0.0

    def step(self, what: str, work: Callable[[], str]) -> None:
        """Do a step; the text that it gives is printed behind its name."""
        print(f"[{self._all - len(self._left) + 1}/{self._all}] {what}", flush=True)
        guess, began = self._left.pop(0), time.monotonic()
        told = work()
        self._took += time.monotonic() - began
        self._guessed += guess
        left = sum(self._left) * self._took / self._guessed / 60
        print(f"  {told}  ({time.monotonic() - began:.0f} s; about {left:.0f} min left)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the messages, for a quick run")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; repeatable; all by default")
    parser.add_argument("--output", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--readme", action="store_true", help="put what speed.json has into the README as well")
    parser.add_argument("--no_measuring", action="store_true", help="only draw and write what speed.json has")
    options = parser.parse_args()
    results = Results.load(options.output / "speed.json")
    parts = [] if options.no_measuring else [part for part in PARTS if part in (options.only or PARTS)]
    if parts:
        measure(parts, results, options.scale, options.rounds)
    text = readme.write(results, options.output)
    if options.readme:
        readme.put_into_readme(results, options.output)
    print(text)


def measure(parts: Sequence[str], results: Results, scale: float, rounds: int) -> None:
    """Measure parts anew; what is known of a part is kept after each step."""
    facts = {**machine.facts(), "rounds": rounds, "scale": scale}
    with ExitStack() as stack:
        started: list[Flink] = []

        def flink() -> Flink:
            if not started:
                # Else Flink's REST tells checkpoints that are replaced by now.
                made = flink_with_workers(environment=SECRETS, configuration={"web.refresh-interval": "500"})
                started.append(stack.enter_context(made))
            return started[0]

        on = stack.enter_context(broker())
        planned = {part: _steps(part, results, on, flink, scale, rounds) for part in parts}
        progress = Progress([seconds for steps_of in planned.values() for _, seconds, _ in steps_of])
        for part, steps_of in planned.items():
            results.begin(part, facts)
            for what, _, work in steps_of:
                progress.step(what, work)
            if part in SIZES and SIZES[part] != SIZES["200 B"]:
                on.forget(SIZES[part][0])


def _steps(
    part: str, results: Results, on: Broker, flink: Callable[[], Flink], scale: float, rounds: int
) -> list[tuple[str, float, Callable[[], str]]]:
    """What is done for a part: its name, seconds as guessed, and how."""
    if part == LATENCY:
        seconds = max(_LATENCY_SECONDS * scale, _LEAST_LATENCY_SECONDS)
        return [("latency", 2 * (seconds + 40), lambda: _latency(results, on, flink(), seconds))]
    if part == PROFILE:
        return [
            (f"profile: {name}", 20 + 40 * scale, partial(_profile, results, on, name, scale))
            for name in where_time_goes.PROFILED
        ]
    wanted = topics(part, scale)
    seconds = sum(count * (_SECONDS_TO_SEND + payload * _SECONDS_TO_SEND_A_BYTE) for payload, count in wanted)
    return [(f"{part}: topics", seconds, partial(_produce, on, wanted))] + [
        (f"{step.part}, round {step.round} of {rounds}: {step.what}", step.seconds, _adding(step, results))
        for step in steps(part, on, flink, scale, rounds)
    ]


def _produce(on: Broker, wanted: Sequence[tuple[int, int]]) -> str:
    for payload, count in wanted:
        on.topic(payload, count)
    return f"{len(wanted)} topics"


def _adding(step: Step, results: Results) -> Callable[[], str]:
    def work() -> str:
        measured = step.measure()
        results.add([measured])
        return f"{measured.cpu:,.1f} CPU s per million, {measured.steady_rate:,.0f} messages/s"

    return work


def _latency(results: Results, on: Broker, flink: Flink, seconds: float) -> str:
    fastest = [each.steady_rate for each in results.of(FLINK) if each.way == FASTEST]
    if not fastest:
        raise SystemExit("latency is measured at half the rate of a stream: measure --only=Flink first.")
    found = latency.measure(on, flink, statistics.median(fastest) / 2, seconds)
    results.note(LATENCY, found)
    return ", ".join(f"{name}: {each['p50']:.1f} s" for name, each in found["seconds"].items())


def _profile(results: Results, on: Broker, name: str, scale: float) -> str:
    payload, messages = SIZES["200 B"]
    found = where_time_goes.profiled(on, name, (payload, max(int(messages * scale * _PROFILED), 1_000)))
    results.note(PROFILE, {**results.other.get(PROFILE, {}), name: found})
    return ", ".join(f"{what} {micros:.1f}" for what, micros in found["microseconds"].items())


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    main()
