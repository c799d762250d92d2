"""What savepoints know a job by. If one of these fails, a stream cannot be resumed by the build that comes next."""

from __future__ import annotations

import apache_beam as beam

from pipelines import job
from pipelines.options import parse_options
from transforms.pulsar.discover import Beginning, BeginningCoder, Known, KnownCoder
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import LATEST, Position
from transforms.pulsar.restriction import PartitionRange, PartitionRangeCoder, ReadRange, ReadRangeCoder
from transforms.pulsar.windows import WindowState

OPTIONS = [
    "--service_url=pulsar://127.0.0.1:6650",
    "--topic=orders",
    "--subscription=ours",
    "--destination=file:///backup/",
    "--runner=FlinkRunner",
    "--flink_master=http://127.0.0.1:8081",
    "--environment_type=EXTERNAL",
    "--streaming",
]
PARTITION = TopicPartition("persistent://public/default/orders", 3)

STAGES = [
    "AcknowledgePositions/Acknowledge",
    "AcknowledgePositions/AtOnce",
    "AcknowledgePositions/ByPartition",
    "Beginning",
    "DiscoverPartitions/Discover",
    "FilesOfTopics/Tell",
    "FromAnywhere/AddRandomKeys",
    "FromAnywhere/RemoveRandomKeys",
    "GapsOfTopics/Tell",
    "Known",
    "KnownOfTopics/Tell",
    "Manifests/Together",
    "Manifests/Write",
    "PartitionsOfTopics/Tell",
    "ReadFromPulsar/Read/Partition",
    "SpreadPartitions/AddRandomKeys",
    "SpreadPartitions/RemoveRandomKeys",
    "Start",
    "WriteToCos/EncodeRecords/Encode",
    "WriteToCos/FixedWindows",
    "WriteToCos/GlobalWindow",
    "WriteToCos/RollFiles/Roll",
]


def test_the_stages_of_a_stream_have_the_names_that_they_always_had():
    config = parse_options(OPTIONS)
    pipeline = beam.Pipeline()
    read, write = job.settings(config, "run", 1)
    job.add_stream(pipeline, Beginning(((PARTITION, Position(1, 2)),)), config, read, write)
    names: list[str] = []

    class Names(beam.pipeline.PipelineVisitor):
        def visit_transform(self, node):
            names.append(node.full_label)

    pipeline.visit(Names())
    ours = [name for name in names if "/Reshuffle" not in name]
    assert sorted(ours) == STAGES


def test_what_waits_in_the_state_of_the_source_has_a_stable_encoding():
    """The state of the sink: ``tests/transforms/files/test_roll.py``."""
    element = PartitionRange(PARTITION, Position(1, 2, 3), LATEST)
    encoded = b'["persistent://public/default/orders",3,[1,2,3],[9223372036854775807,9223372036854775807,0]]'
    assert PartitionRangeCoder().encode(element) == encoded
    assert PartitionRangeCoder().decode(encoded) == element
    range_ = ReadRange(Position(1, 2, 3), Position(4, 5), Position(1, 1), WindowState(70, 60, (0, 60)))
    encoded = b"[1,[1,2,3],[4,5,0],[1,1,0],70,60,[0,60]]"
    assert ReadRangeCoder().encode(range_) == encoded
    assert ReadRangeCoder().decode(encoded) == range_
    beginning = Beginning(((PARTITION, Position(1, 2)),))
    encoded = b'[["persistent://public/default/orders",3,[1,2,0]]]'
    assert BeginningCoder().encode(beginning) == encoded
    assert BeginningCoder().decode(encoded) == beginning
    for known, encoded in [
        (Known(), b"[1,null]"),
        (Known(frozenset({PARTITION})), b'[1,[["persistent://public/default/orders",3]]]'),
    ]:
        assert KnownCoder().encode(known) == encoded
        assert KnownCoder().decode(encoded) == known
