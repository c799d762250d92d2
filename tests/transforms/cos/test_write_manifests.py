"""The stage that writes manifests, without a broker: what it is told, and what stands at the destination then."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tests.transforms.cos.made_files import LAYOUT, MINUTES, NOON, TOPIC, put_file
from transforms.cos.destination import parse_destination
from transforms.cos.folder_store import FolderStore
from transforms.cos.manifests import OfTopics, WriteManifests, partitions_told
from transforms.cos.window_manifest import ManifestSettings
from transforms.errors import ObjectConflictError
from transforms.files.manifest import Manifest, from_json
from transforms.files.windows_complete import Came, encode_told
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import FOREVER, TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.restriction import PartitionRange

RANGES = [
    PartitionRange(TopicPartition(TOPIC, index), Position(7, 0), Position(7, stop))
    for index, stop in enumerate((100, 100, 0))
]
GAP = Gap(TopicPartition(TOPIC, 1), Position(3, 0), Position(7, 0))


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


def came(index, sealed, *windows, files=()):
    return TOPIC, encode_told(Came(index, sealed, Position(7, 9), 3, set(windows), [each.facts for each in files]))


def write(folder, told, *, bounded=True):
    settings = ManifestSettings(parse_destination(f"file://{folder}/"), LAYOUT, "avro", f"run-{folder.name}")
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = (pipeline | beam.Create(told) | OfTopics(),) | WriteManifests(settings, bounded=bounded)


def found(store):
    keys = [key for key in store.list_keys("") if "_manifest-" in key]
    return [from_json(Manifest, b"".join(store.read(key)), key) for key in keys]


def test_windows_get_their_manifests_and_a_gap_is_in_the_first_that_is_written(store, tmp_path):
    first = put_file(store, 0)
    write(tmp_path, [*partitions_told(RANGES), came(0, FOREVER, NOON), came(1, FOREVER)])
    second = put_file(store, 10, window=NOON + MINUTES)
    third = put_file(store, 20, index=1, window=NOON + 2 * MINUTES)
    told = [
        *partitions_told(RANGES),
        GAP,
        # All that is in the first is named already.
        came(0, FOREVER, NOON, NOON + MINUTES, files=[second]),
        came(1, FOREVER, NOON + 2 * MINUTES, files=[third]),
    ]
    write(tmp_path, told)
    write(tmp_path, told)
    manifests = found(store)
    assert [(each.number, [file.name for file in each.files]) for each in manifests] == [
        (0, [first.name]),
        (0, [second.name]),
        (0, [third.name]),
    ]
    assert [[(gap.start, gap.stop) for gap in each.gaps] for each in manifests] == [[], [(GAP.start, GAP.stop)], []]
    assert [(each.partition, each.messages) for each in manifests[1].read] == [(0, 3), (1, 3), (2, 0)]


def test_a_stream_that_begins_without_state_names_what_was_left(store, tmp_path):
    made = [put_file(store, 10 * number, window=NOON - number * 12 * MINUTES) for number in range(1, 26)]
    streams = [PartitionRange(each.partition, each.start, Position(8, 0)) for each in RANGES[:2]]
    write(tmp_path, [*partitions_told(streams), came(0, NOON), came(1, NOON + MINUTES)], bounded=False)
    assert [file.name for each in found(store) for file in each.files] == [each.name for each in made[:24]][::-1]


def test_a_destination_that_refuses_fails_the_run(store, tmp_path):
    made = put_file(store, 0)
    (tmp_path / made.key).with_name("_manifest-20260301T120000Z-300s-avro-0000.json").mkdir()
    with pytest.raises(ObjectConflictError, match=r"_manifest-\S+ is taken by other content"):
        write(tmp_path, [*partitions_told(RANGES), came(0, FOREVER, NOON), came(1, FOREVER)])
