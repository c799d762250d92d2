"""Ids of a broker and ids that are stored, gone through side by side."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.verify.stored_backup import PARTITIONS, Kind, in_folder, write_run
from transforms.cos.stored_files import StoredFile
from transforms.pulsar.positions import Position
from transforms.verify.against import Comparison, Span, stored_positions
from transforms.verify.findings import Findings
from transforms.verify.findings import Kind as Found
from transforms.verify.windows import files_of


def at(entry: int) -> Position:
    return Position(7, entry)


def compared(held: list[int], stored: list[int], read: list[tuple[int, int]], span: tuple[int, int]):
    findings = Findings(None)
    comparison = Comparison("p", Span(*map(at, span)), [Span(at(a), at(b)) for a, b in read], findings)
    return comparison.run(map(at, held), map(at, stored)).counts, findings


def test_each_side_is_told_where_it_has_more():
    counts, findings = compared(
        [10, 11, 12, 14, 15, 16, 17, 30, 31], [3, 4, 10, 11, 13, 14, 40], [(11, 17), (18, 20)], (10, 32)
    )
    assert counts == {
        None: 3, Found.NOT_STORED: 3, Found.BEHIND: 2, Found.OLDER: 1, Found.NOT_HELD: 1, Found.TRIMMED: 2
    }  # fmt: skip
    assert [each.what for each in findings.kept(Found.NOT_STORED)] == [
        "1 messages from 7:12:0 to 7:12:0",
        "2 messages from 7:15:0 to 7:16:0",
    ]
    assert [each.what for each in findings.kept(Found.BEHIND)] == ["2 messages from 7:30:0 to 7:31:0"]


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_nothing_is_counted_twice_or_left_out(held: set[int], stored: set[int]):
    counts, findings = compared(sorted(held), sorted(stored), [(0, 31)], (0, 31))
    assert counts == Counter(
        {None: len(held & stored), Found.NOT_STORED: len(held - stored), Found.NOT_HELD: len(stored - held)}
    )
    assert findings.against == findings.counts[Found.NOT_STORED] + findings.counts[Found.NOT_HELD]


def test_stored_positions_come_in_order_and_once_whatever_windows_they_are_in(tmp_path):
    backup = in_folder(tmp_path, Kind())
    write_run(backup, "run-1", partitions=PARTITIONS[:1])
    write_run(backup, "run-2", partitions=PARTITIONS[:1], granularity=60)  # all of it a second time
    files = [each for each in files_of(backup.store, "") if isinstance(each, StoredFile)]
    findings = Findings()
    positions = list(stored_positions(backup.store, files[::-1], findings))
    assert len(positions) == 36
    assert positions == sorted(set(positions))
    backup.write(files[3].key, b"")
    assert len(list(stored_positions(backup.store, files, findings))) == 36
    assert findings.counts == {Found.UNREADABLE: 1}
