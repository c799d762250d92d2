from __future__ import annotations

from pipelines.display import stopped_acknowledging, stopped_reading
from transforms.progress import Progress
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.restriction import PartitionRange


def ranges(count: int) -> list[PartitionRange]:
    names = [TopicPartition.parse(f"persistent://shop/eu/orders-partition-{index}") for index in range(count)]
    return [PartitionRange(name, Position(7, 0), Position(9, 20)) for name in names]


def test_a_run_that_reads_names_what_is_written_and_where_each_partition_stands() -> None:
    parts, progress = ranges(3), Progress()
    progress.written(1000)
    progress.read(parts[0].partition, 10, 100, Position(8, 4, 2), 0)
    progress.finished(parts[1].partition)
    assert stopped_reading(progress, parts) == (
        "while reading, with 1 object written: shop/eu/orders-partition-0 read up to 8:4:2, of 9:20:0; "
        "shop/eu/orders-partition-2 read up to 7:0:0, of 9:20:0; 1 of 3 partitions read to the end; "
        "nothing was acknowledged. Run it again to complete it."
    )


def test_of_many_partitions_some_are_named_and_the_others_counted() -> None:
    said = stopped_reading(Progress(), ranges(30))
    assert said.count("read up to") == 8
    assert "; 22 more partitions not read to their end; nothing" in said


def test_a_run_that_acknowledges_says_how_far_it_has_come() -> None:
    assert stopped_acknowledging(1200, 3, ["one"]) == (
        "when all was stored, with 1,200 objects written; the subscription was moved in 1 of 3 partitions. "
        "Run it again for its result; nothing is written twice."
    )
    assert "subscription" not in stopped_acknowledging(0, 0, [])
