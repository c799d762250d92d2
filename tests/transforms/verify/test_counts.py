"""What runs say that they have read is held against what is stored."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.cos.stored_files import StoredFile
from transforms.files.manifest import Manifest, PartitionRead, moment
from transforms.files.naming import FileName, StoredRun
from transforms.pulsar.positions import Position
from transforms.verify.counts import Counts, Series, Stretch, series_of
from transforms.verify.findings import Kind
from transforms.verify.reads import Reads

TOPIC = "persistent://t/ns/orders"
SERIES = Series(TOPIC, 0, 300, "avro", False)


def at(entry: int) -> Position:
    return Position(7, entry)


def file(first: int, last: int) -> StoredFile:
    """Of one message an entry."""
    name = FileName(0, 300, 0, StoredRun(at(first), at(last), last - first + 1), "", "avro")
    return StoredFile(f"{first}-{last}", "", "", name, 1)


def stretch(start: int, stop: int, messages: int | None = None, source: str = "run") -> Stretch:
    return Stretch(at(start), at(stop), stop - start if messages is None else messages, source)


def counted(said: list[list[Stretch]], *files: StoredFile) -> Counts:
    counts = Counts((SERIES, of_run) for of_run in said)
    for each in files:
        series = series_of(each, TOPIC)
        if not counts.count(series, each):
            run = each.name.run
            counts.count_messages(series, each, [at(n) for n in range(run.first.entry, run.last.entry + 1)])
    return counts


def found(counts: Counts) -> list[tuple[Kind, str]]:
    return [(each.kind, each.key) for each in counts.findings()]


@given(st.data())
def test_however_runs_and_files_are_cut_what_is_whole_adds_up_and_one_file_less_does_not(data):
    end = data.draw(st.integers(1, 60))
    cuts = sorted({0, end, *data.draw(st.lists(st.integers(0, end), max_size=8))})
    files = [file(first, stop - 1) for first, stop in itertools.pairwise(cuts)]
    spans = data.draw(st.lists(st.tuples(st.integers(0, end), st.integers(0, end)), max_size=5))
    said = [[stretch(min(span), max(span))] for span in [*spans, (0, end)]]
    whole = counted(said, *files)
    assert found(whole) == []
    (judged,) = whole.judged()
    assert (judged.messages, judged.proved, judged.start, judged.stop) == (end, True, at(0), at(end))
    lost = data.draw(st.sampled_from(files))
    less = counted(said, *(each for each in files if each != lost))
    assert {kind for kind, _ in found(less)} == {Kind.FEWER}
    assert not any(each.proved for each in less.judged())
    more = counted(said, *files, lost)
    assert {kind for kind, _ in found(more)} == {Kind.MORE}


def test_what_no_run_has_read_is_not_proved_and_a_hole_is_told():
    counts = counted([[stretch(0, 10)], [stretch(20, 30)]], file(0, 9), file(20, 29), file(40, 44))
    assert found(counts) == [(Kind.UNPROVED, "40-44"), (Kind.BETWEEN, str(SERIES))]
    assert [(each.start, each.stop, each.proved) for each in counts.judged()] == [
        (at(0), at(10), True),
        (at(20), at(30), True),
    ]
    assert found(counted([], file(0, 9), file(10, 19))) == [(Kind.UNPROVED, "10-19")]


def test_a_run_that_goes_on_where_a_batch_ended_leaves_no_hole():
    ended = Stretch(at(0), Position(7, 9, 3), 10, "run")
    assert found(counted([[ended], [stretch(10, 20)]], file(0, 9), file(10, 19))) == []


def test_of_what_a_stream_said_the_longest_that_holds_is_believed():
    said = [stretch(0, 10, source="m0"), stretch(0, 20, source="m1"), stretch(0, 30, source="m2")]
    under_way = counted([said], file(0, 19))
    assert found(under_way) == [(Kind.UNDER_WAY, "m2")]
    assert [(each.stop, each.proved) for each in under_way.judged()] == [(at(20), True)]
    assert found(counted([said], file(0, 29))) == []
    assert found(counted([said], file(0, 5))) == [(Kind.FEWER, "m2")]
    assert found(counted([said], file(0, 19), file(20, 24))) == [(Kind.UNDER_WAY, "m2"), (Kind.UNPROVED, "20-24")]


def test_a_compacted_run_may_have_read_less_than_is_stored():
    compacted = stretch(0, 10, 4)._replace(compacted=True)
    assert found(counted([[compacted]], file(0, 9))) == []
    assert found(counted([[compacted]], file(0, 2))) == [(Kind.FEWER, "run")]


@pytest.mark.parametrize(("start", "stop", "messages", "kind"), [(5, 5, 0, None), (5, 5, 3, Kind.FEWER)])
def test_a_stretch_of_nothing_holds_nothing(start, stop, messages, kind):
    assert [each for each, _ in found(counted([[stretch(start, stop, messages)]]))] == ([kind] if kind else [])


def test_of_the_manifests_of_a_run_the_last_few_are_kept():
    reads = Reads()
    for number in range(20):
        read = PartitionRead(topic=TOPIC, partition=0, start=at(0), stop=at(number), messages=number)
        manifest = Manifest(
            topic=TOPIC, window=moment(0), granularity=300, format="avro", number=0, run="stream",
            written=moment(0), files=(), read=(read,),
        )  # fmt: skip
        assert list(reads.manifest(f"m{number}", manifest)) == []
    ((series, said),) = reads.said()
    assert (series, [each.source for each in said]) == (SERIES, ["m16", "m17", "m18", "m19"])
