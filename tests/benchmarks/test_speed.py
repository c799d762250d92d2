from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.speed import attribution
from benchmarks.speed.attribution import attribute, category, parse
from benchmarks.speed.latency import told
from benchmarks.speed.measurements import LOOP, Measurement, Results, Spent, marginal
from benchmarks.speed.readme import BEGIN, END, between_marks
from benchmarks.speed.rows import rows
from benchmarks.speed.tables import bottleneck
from benchmarks.speed.ways import two_workers


def spent(messages: int, cpu: float) -> Spent:
    return Spent(messages, cpu, cpu, cpu / 10, 100_000_000, 150_000_000, {"task_manager_cpu": cpu * 2})


def measured(way: str, number: int, cpu: float) -> Measurement:
    return replace(marginal("200 B", number, way, spent(200_000, 2), spent(1_000_000, 10)), cpu=cpu)


def test_the_start_is_told_apart_from_what_messages_cost():
    # 3 s of start, 10 s for each million.
    found = marginal("200 B", 1, "Avro", spent(200_000, 5.0), spent(1_000_000, 13.0))
    assert found.cpu == pytest.approx(10)
    assert found.start_cpu == pytest.approx(3)
    assert found.rate == pytest.approx(1_000_000 / 13)
    assert found.steady_rate == pytest.approx(100_000)
    assert found.servers_cpu == pytest.approx(1)
    assert found.more == {"task_manager_cpu": pytest.approx(20)}
    with pytest.raises(ValueError, match="are not more than"):
        marginal("200 B", 1, "Avro", spent(1_000, 1.0), spent(1_000, 2.0))


def test_ratios_are_taken_round_by_round():
    rounds = []
    for number, (loop, one, two) in enumerate([(10, 12, 12), (20, 20, 30), (10, 15, 15)], 1):
        rounds += [measured(LOOP, number, loop), measured("Avro", number, one)]
        rounds.append(measured(two_workers("Avro"), number, two))
    loop, one, two = rows(rounds)
    assert (loop.cpu, loop.of_the_loop, loop.rounds) == (10, 1.0, 3)
    assert (one.cpu, one.of_the_loop, one.of_one_worker) == (15, 1.2, None)
    assert (two.cpu, two.of_the_loop, two.of_one_worker) == (15, 1.5, 1.0)


def test_a_part_that_is_measured_again_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "speed.json"
    first = Results.load(path)
    first.begin("200 B", {"scale": 1})
    first.add([measured(LOOP, 1, 10), measured(LOOP, 2, 11)])
    first.note("latency", {"rate": 5})
    second = Results.load(path)
    assert (second.measurements, second.facts, second.other) == (first.measurements, first.facts, first.other)
    second.begin("200 B", {"scale": 2})
    second.add([measured(LOOP, 1, 12)])
    assert [each.cpu for each in Results.load(path).of("200 B")] == [12]
    assert json.loads(path.read_text())["other"] == {"latency": {"rate": 5}}


def test_text_goes_between_the_marks_and_nowhere_else():
    document = f"before\n{BEGIN}\nold\n{END}\nbehind\n"
    assert between_marks(document, "new\n") == f"before\n{BEGIN}\nnew\n{END}\nbehind\n"
    for wrong in ("", f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"):
        with pytest.raises(ValueError, match="there must be one"):
            between_marks(wrong, "new")


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ("process_bundle (a.py:1);f (transforms/pulsar/feed.py:1);dispatcher (_pulsar.so)", attribution.CALLS),
        ("process_bundle (a.py:1);f (transforms/pulsar/feed.py:1)", attribution.READING),
        ("process_bundle (a.py:1);g (transforms/files/avro_encoder.py:9)", attribution.ENCODING),
        (
            "process_bundle (a.py:1);g (transforms/files/avro_encoder.py:9);tuple_dealloc (libpython3)",
            attribution.FREEING,
        ),
        (
            "process_bundle (a.py:1);compress (transforms/files/codecs.py:9);0x7f (backend_c.so)",
            attribution.COMPRESSING,
        ),
        ("process_bundle (a.py:1);crc64 (fastcrc.so)", attribution.CHECKSUMS),
        ("process_bundle (a.py:1);to_bytes (transforms/files/records.py:9)", attribution.STATE),
        ("process_bundle (a.py:1);h (apache_beam/runners/common.py:9)", attribution.BEAM),
        ("process_bundle (a.py:1);h (transforms/cos/folder_store.py:9)", attribution.WRITING),
        ("process_bundle (a.py:1);h (elsewhere.py:9)", attribution.NOT_ATTRIBUTED),
        (
            "process_bundle (a.py:1);h (transforms/pulsar/feed.py:9);pthread_cond_wait (libc.so.6);0x7f (libc.so.6)",
            None,
        ),
        ("main (pipelines/backup.py:1);h (apache_beam/runners/common.py:9)", attribution.START),
    ],
)
def test_a_stack_belongs_to_what_its_innermost_known_function_does(frames, expected):
    assert category(parse(f"thread (7): MainThread;{frames} 3")) == expected


def test_what_a_thread_has_used_is_split_as_its_samples_are():
    stacks = [
        parse("thread (1): MainThread;process_bundle (a.py:1);g (transforms/files/avro.py:9) 3"),
        parse("thread (1): MainThread;process_bundle (a.py:1);f (transforms/pulsar/feed.py:1) 1"),
        parse("thread (1): MainThread;process_bundle (a.py:1);sleep (b.py:1);nanosleep (libc.so.6) 100"),
        parse("thread (2): waits;wait (c.py:1);epoll_wait (libc.so.6) 9"),
    ]
    seconds = attribute(stacks, {1: 8.0, 2: 0.5, 3: 4.0}, whole=13.0)
    assert seconds[attribution.ENCODING] == 6.0
    assert seconds[attribution.READING] == 2.0
    assert seconds[attribution.CLIENT_THREADS] == 4.0
    assert seconds[attribution.NOT_ATTRIBUTED] == 1.0
    assert sum(seconds.values()) == 13.0


def test_quantiles_of_latencies():
    found = told([float(number) for number in range(101)])
    assert (found["p50"], found["p99"], found["max"], found["count"]) == (50, 99, 100, 101)
    with pytest.raises(ValueError, match="nothing was stored"):
        told([])


def test_who_was_at_the_limit_is_said():
    more = {
        "shares_of_a_core": {"worker": 0.98, "task manager": 0.6, "broker": 0.02},
        "busiest_threads": {"worker": ("python", 0.95), "task manager": ("pool", 0.3), "broker": ("io", 0.01)},
        "idle_cores": 0.4,
    }
    each = replace(measured("streaming", 1, 10), more=more)
    assert bottleneck(each).startswith(
        "streaming: a thread of the worker was busy all the time. Cores used: worker 0.98"
    )
    assert "broker" not in bottleneck(each)
    busy = replace(each, more={**more, "idle_cores": 0.05})
    assert "all cores of the machine were busy" in bottleneck(busy)
