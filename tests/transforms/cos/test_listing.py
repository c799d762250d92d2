from __future__ import annotations

from collections.abc import Iterator

from transforms.cos.listing import StoredFiles
from transforms.files.naming import QUARANTINE_LANE, Layout, StoredRun
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

TOPIC = TopicPartition("persistent://c/n/t", 1)
OTHER = TopicPartition("persistent://c/n/t", 2)
LAYOUT = Layout(prefix="p/")
HOUR = 3_600_000


class Bucket:
    """Keys to be listed, and how often that was asked for."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self.listed: list[str] = []

    def list_keys(self, prefix: str) -> Iterator[str]:
        self.listed.append(prefix)
        return iter(sorted(key for key in self.keys if key.startswith(prefix)))


def run(first: int, last: int) -> StoredRun:
    return StoredRun(Position(1, first), Position(1, last), last - first + 1)


def key(first: int, last: int, *, partition=TOPIC, window=0, lane="", extension="avro", layout=LAYOUT) -> str:
    return layout.file(partition, lane, window, run(first, last), extension)


def stored(*keys: str, file_format: str = "avro") -> StoredFiles:
    return StoredFiles(Bucket(list(keys)), LAYOUT, file_format)


def test_only_objects_of_the_same_window_partition_lane_and_format_count():
    found = stored(
        key(5, 9),
        key(0, 4),
        key(10, 11, partition=OTHER),
        key(12, 13, window=300_000),
        key(14, 15, lane="v000001"),
        key(16, 17, extension="jsonl"),
        key(18, 19, layout=Layout(prefix="p/", granularity=60)),
        LAYOUT.folder(TOPIC, 0) + "_manifest-1.json",
    )
    assert list(found.runs(TOPIC, 0, "")) == [run(0, 4), run(5, 9)]
    assert list(found.runs(TOPIC, 0, "v000001")) == [run(14, 15)]


def test_the_compression_of_json_lines_does_not_matter():
    found = stored(key(0, 4, extension="jsonl.gz"), key(5, 6, extension="jsonl.zst"), file_format="jsonl")
    assert list(found.runs(TOPIC, 0, "")) == [run(0, 4), run(5, 6)]


def test_runs_that_overlap_count_as_one():
    assert list(stored(key(0, 6), key(4, 9)).runs(TOPIC, 0, "")) == [StoredRun(Position(1, 0), Position(1, 9), 13)]


def test_what_is_quarantined_within_a_stored_file_is_stored():
    found = stored(key(0, 4, lane="v000001"), key(7, 8, lane=QUARANTINE_LANE))
    assert [(each.first.entry, each.last.entry) for each in found.runs(TOPIC, 0, QUARANTINE_LANE)] == [(0, 4), (7, 8)]


def test_a_folder_is_listed_once():
    bucket = Bucket([key(0, 4)])
    found = StoredFiles(bucket, LAYOUT, "avro")
    for partition in (TOPIC, OTHER):
        for window in (0, 300_000):
            found.runs(partition, window, "")
    found.runs(TOPIC, HOUR, "")
    assert bucket.listed == [LAYOUT.folder(TOPIC, 0), LAYOUT.folder(TOPIC, HOUR)]
