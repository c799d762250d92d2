"""Windows that have not begun: their files are not waited for, and seals of theirs prove nothing."""

from __future__ import annotations

import functools
import time

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tests.transforms.files.client_messages import ClientMessage
from transforms.cos.destination import parse_destination
from transforms.cos.sink import WriteSettings, WriteToCos
from transforms.files.formats import make_format
from transforms.files.naming import Layout, parse_name
from transforms.files.windows_complete import decode_told
from transforms.pulsar.messages import MessageBatch, Seal, TopicPartition
from transforms.pulsar.positions import Position

PARTITION = TopicPartition("persistent://t/ns/ahead", 0)
SIZE = 300_000
NOW = time.time_ns() // 1_000_000 // SIZE * SIZE
AHEAD = NOW + 100 * 365 * 24 * 3_600_000


def batch(entry: int, window: int) -> MessageBatch:
    return MessageBatch.of(PARTITION, [ClientMessage(b"x")], [(1, entry, -1)], [window], window)


def written(folder, elements):
    """The windows of the files, up to where acknowledged, and how far the partition is told to be; nothing ends it."""
    file_format, factory = make_format("avro")
    layout = Layout(granularity=SIZE // 1000)
    settings = WriteSettings(parse_destination(f"file://{folder}/"), layout, file_format, factory, run="ahead")
    _kept.clear()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        result = (
            pipeline
            | beam.Create([None])
            | beam.FlatMap(lambda _: elements)
            | beam.Map(lambda each: beam.window.TimestampedValue(each, getattr(each, "time", 0) / 1000))
            | WriteToCos(settings)
        )
        _ = result.told | "Told" >> beam.Map(functools.partial(_keep, "told"))
        _ = result.positions | "Positions" >> beam.Map(functools.partial(_keep, "positions"))
    names = [parse_name(path.name) for path in folder.rglob("*.avro")]
    return sorted(name.window for name in names), _kept


_kept: dict[str, list] = {}


def _keep(kind, element):
    _kept.setdefault(kind, []).append(element)


def test_a_message_from_2099_is_stored_with_the_next_window_and_keeps_nobody_from_acknowledging(tmp_path):
    elements = [
        batch(0, AHEAD),
        batch(1, NOW - SIZE),
        batch(2, AHEAD + SIZE),
        # There were too many windows: the oldest is closed, which lies in the future.
        Seal(PARTITION, AHEAD + SIZE, Position(1, 3)),
        Seal(PARTITION, NOW, Position(1, 3)),
    ]
    windows, kept = written(tmp_path, elements)
    assert windows == [NOW - SIZE, AHEAD, AHEAD + SIZE]
    assert kept["positions"] == [(PARTITION.name, Position(1, 3))]
    (told,) = kept["told"]
    assert decode_told(told[1]).sealed == NOW, "and not as far as the clock that is ahead"
