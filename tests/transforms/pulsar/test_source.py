"""The source on a real broker, slice by slice as a runner drives it, and as a transform of anyone's pipeline."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.sdf_utils import RestrictionTrackerView, ThreadsafeRestrictionTracker
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.utils.timestamp import Timestamp

from transforms.errors import SourceError
from transforms.pulsar import PulsarConnection, ReadFromPulsar, feed, scan
from transforms.pulsar.chunks import PATIENCE
from transforms.pulsar.client import MessageReader, NoMessageInTime, PulsarClient, connect
from transforms.pulsar.ends import partition_ends
from transforms.pulsar.feed import PartitionFeed
from transforms.pulsar.feeds import ReadSettings, close_readers
from transforms.pulsar.messages import FOREVER, NO_WINDOW, MessageBatch, Seal, TopicPartition
from transforms.pulsar.pace import Pace
from transforms.pulsar.positions import EARLIEST, LATEST, Position
from transforms.pulsar.reading import PartitionReader
from transforms.pulsar.restriction import ReadRange, ReadTracker
from transforms.pulsar.source import SourceElementCoder, advance
from transforms.pulsar.windows import WindowRule
from transforms.testing.producers import produce
from transforms.testing.pulsar_standalone import PulsarStandalone
from transforms.testing.raw_producer import Message, Sent, send_raw

RULE = WindowRule(size=60_000, disorder=1_000)


@pytest.fixture(params=["entries", "client"], autouse=True)
def way(request, monkeypatch) -> str:
    """How a partition is read. What is not plain is read by the client, sooner or later."""
    if request.param == "client":
        monkeypatch.setattr(feed, "EntryScan", scan.PartitionScan)
    return str(request.param)


#: For what only the client does.
by_the_client = pytest.mark.parametrize("way", ["client"], indirect=True)


@pytest.fixture
def settings(broker) -> Iterator[ReadSettings]:
    made = ReadSettings(PulsarConnection(broker.service_url), windows=RULE, run=uuid.uuid4().hex)
    yield made
    close_readers(made.run)


class Slice:
    """One call of process, with Beam's own tracker view around the restriction."""

    def __init__(self, settings: ReadSettings, partition: TopicPartition, restriction: ReadRange, *, bounded: bool):
        tracker = ThreadsafeRestrictionTracker(ReadTracker(restriction))
        self.watermarks: list[int] = []
        reader = PartitionReader(settings, bounded=bounded)
        self.values = list(reader.read(partition, RestrictionTrackerView(tracker), self.watermarks.append))
        tracker.check_done()
        deferred = tracker.deferred_status()
        self.residual: ReadRange | None = deferred[0] if deferred else None
        self.delay = float(deferred[1].micros) / 1e6 if deferred and deferred[1] else 0.0

    @property
    def ids(self) -> list[Position]:
        return [
            Position(ledger, entry, max(batch, 0))
            for value in self.values
            if isinstance(value, MessageBatch)
            for ledger, entry, batch in value.ids
        ]

    @property
    def seals(self) -> list[Seal]:
        return [value for value in self.values if isinstance(value, Seal) and value.before != NO_WINDOW]


def positions(sent: list[Sent]) -> list[Position]:
    return [each.position for each in sent]


def whole(settings: ReadSettings, partition: TopicPartition) -> ReadRange:
    return ReadRange(EARLIEST, partition_ends(settings.connection, partition).behind_last)


def all_slices(settings: ReadSettings, partition: TopicPartition, restriction: ReadRange, *, anew: bool) -> list[Slice]:
    """Read to the end, through all residuals; ``anew``: as if each slice ran in another process."""
    slices = []
    current: ReadRange | None = restriction
    while current is not None:
        slices.append(Slice(settings, partition, current, bounded=True))
        if anew:
            close_readers(settings.run)
        current = slices[-1].residual
    return slices


def sent_in_batches(broker: PulsarStandalone, topic: str, batches: int, *, of: int) -> list[Position]:
    """Send batches of so many messages each; gives the places of all."""
    messages = [Message(b"%d" % number) for number in range(of)]
    sent = [send_raw(broker.service_url, topic, messages, batch=True) for _ in range(batches)]
    return [each.position for batch in sent for each in batch]


def only_slice(*arguments: Any, **keywords: Any) -> Slice:
    """The one slice that holds all there is; before it may come some in which the reader was only being opened."""
    (one,) = (each for each in all_slices(*arguments, **keywords) if each.values)
    return one


@pytest.mark.parametrize("anew", [False, True], ids=["same process", "another process each time"])
def test_slices_cover_a_partition_in_order_without_gap_or_overlap(broker, topic, settings, anew):
    settings = replace(settings, slice_bytes=500_000)
    partition = TopicPartition(topic())
    sent = produce(broker.service_url, partition.topic, 10_000)
    slices = all_slices(settings, partition, whole(settings, partition), anew=anew)
    assert len(slices) > 3
    assert [each for one in slices for each in one.ids] == positions(sent)
    assert [seal.before for seal in slices[-1].seals][-1] == FOREVER


def test_a_restriction_begins_and_ends_inside_a_producer_batch(broker, topic, settings):
    partition = TopicPartition(topic())
    sent = positions(send_raw(broker.service_url, partition.topic, [Message(b"%d" % i) for i in range(10)], batch=True))
    one = only_slice(settings, partition, ReadRange(sent[3], sent[7]), anew=False)
    assert one.ids == sent[3:7]


def test_batches_stay_inside_one_window_and_seals_follow_the_message_that_brings_them(broker, topic, settings):
    partition = TopicPartition(topic())
    times = [0, 59_999, 60_500, 61_000, 10, 122_000]
    send_raw(broker.service_url, partition.topic, [Message(b"x", publish_time=10**12 + at) for at in times])
    one = only_slice(settings, partition, whole(settings, partition), anew=False)
    start = 10**12 - 10**12 % 60_000
    seen = [
        [each - 10**12 for each in value.publish_times] if isinstance(value, MessageBatch) else value.before - start
        for value in one.values
    ]
    boundary = (10**12 - start) % 60_000
    assert {RULE.window(value.publish_times[0]) for value in one.values if isinstance(value, MessageBatch)}
    for value in one.values:
        if isinstance(value, MessageBatch):
            assert len({RULE.window(each) for each in value.publish_times}) == 1
    assert sum(len(value.publish_times) for value in one.values if isinstance(value, MessageBatch)) == len(times)
    assert seen[-1] == FOREVER - start
    assert boundary < 60_000


def test_an_idle_partition_defers_seals_by_the_wall_clock_and_moves_its_watermark(broker, topic, settings):
    partition = TopicPartition(topic())
    broker.admin.create_topic(partition.topic)
    before = time.time_ns() // 1_000_000
    one = Slice(settings, partition, ReadRange(EARLIEST, LATEST), bounded=False)
    assert one.ids == []
    assert one.delay > 0
    assert one.residual is not None
    assert one.residual.stop == LATEST
    (seal,) = one.seals
    assert RULE.window(before - RULE.disorder) <= seal.before <= before + 60_000
    assert one.watermarks[-1] >= before - RULE.disorder


def test_an_unbounded_partition_is_read_on_from_its_residual(broker, topic, settings):
    partition = TopicPartition(topic())
    sent = produce(broker.service_url, partition.topic, 50)
    restriction, got = ReadRange(EARLIEST, LATEST), []
    while len(got) < 50:
        one = Slice(settings, partition, restriction, bounded=False)
        got += one.ids
        restriction = one.residual
    later = produce(broker.service_url, partition.topic, 50, seed=1)
    while len(got) < 100:
        one = Slice(settings, partition, restriction, bounded=False)
        got += one.ids
        restriction = one.residual
    assert got == positions(sent) + positions(later)
    assert restriction.windows.high > 0


def test_the_manual_watermark_only_moves_forward():
    estimator = ManualWatermarkEstimator(None)
    advance(estimator, 5_000)
    advance(estimator, 4_000)
    assert estimator.current_watermark() == Timestamp(5)


def chunk(index: int, payload: bytes = b"part", count: int = 2, name: str = "u1") -> Message:
    return Message(payload, chunk=(name, index, count, count * len(payload)))


def test_a_chunked_message_is_read_whole_when_reading_resumes_between_its_chunks(broker, topic, settings, monkeypatch):
    """Its first chunk lies before messages that have been read already, in another process."""
    settings = replace(settings, slice_bytes=1)
    monkeypatch.setattr(scan, "PORTION_MESSAGES", 1)
    partition = TopicPartition(topic())
    sent = positions(
        send_raw(broker.service_url, partition.topic, [Message(b"a"), chunk(0), Message(b"b"), Message(b"c"), chunk(1)])
    )
    slices = all_slices(settings, partition, ReadRange(EARLIEST, sent[4].next_entry()), anew=True)
    assert [each for one in slices for each in one.ids] == [sent[0], sent[2], sent[3], sent[4]]
    assert [one.residual.look_from for one in slices[1:3]] == [sent[1], sent[1]]


def test_a_seal_does_not_pass_the_first_chunk_of_a_message_that_is_not_complete(broker, topic, settings):
    """What lies before a seal's position may be acknowledged, and the broker then deletes it."""
    partition = TopicPartition(topic())
    sent = positions(send_raw(broker.service_url, partition.topic, [Message(b"a"), chunk(0), Message(b"b")]))
    one = only_slice(settings, partition, ReadRange(EARLIEST, sent[2].next_entry()), anew=False)
    assert one.ids == [sent[0], sent[2]]
    assert one.seals[-1].position == sent[1]


def test_a_chunked_message_that_begins_before_the_start_belongs_to_what_is_read(broker, topic, settings):
    partition = TopicPartition(topic())
    sent = positions(
        send_raw(broker.service_url, partition.topic, [Message(b"a"), chunk(0), Message(b"b"), chunk(1), Message(b"c")])
    )
    slices = all_slices(settings, partition, ReadRange(sent[2], sent[4].next_entry()), anew=False)
    assert [each for one in slices for each in one.ids] == [sent[2], sent[3], sent[4]]
    assert sent[4].entry < scan.LOOK_BACK_ENTRIES


def test_a_chunked_message_that_is_the_only_one_behind_the_start_is_read(broker, topic, settings):
    partition = TopicPartition(topic())
    sent = positions(send_raw(broker.service_url, partition.topic, [Message(b"a"), chunk(0), chunk(1)]))
    slices = all_slices(settings, partition, ReadRange(sent[2], sent[2].next_entry()), anew=False)
    assert [each for one in slices for each in one.ids] == [sent[2]]


def test_a_seal_does_not_pass_the_stop_though_reading_ahead_has(broker, topic, settings):
    """A message behind the stop that is not complete says nothing about what lies before it."""
    partition = TopicPartition(topic())
    sent = positions(
        send_raw(broker.service_url, partition.topic, [Message(b"a"), Message(b"b"), chunk(0), Message(b"c")])
    )
    one = only_slice(settings, partition, ReadRange(EARLIEST, sent[1]), anew=False)
    assert one.ids == [sent[0]]
    assert one.seals[-1].position == sent[1]


def test_a_chunk_whose_others_never_come_does_not_hold_a_run_up(broker, topic, settings):
    partition = TopicPartition(topic())
    sent = positions(send_raw(broker.service_url, partition.topic, [Message(b"a"), chunk(0), Message(b"b"), chunk(0)]))
    orphan = positions(send_raw(broker.service_url, partition.topic, [chunk(1, name="u2")]))
    slices = all_slices(settings, partition, ReadRange(EARLIEST, orphan[0].next_entry()), anew=False)
    assert [each for one in slices for each in one.ids] == [sent[0], sent[2]]
    # The chunk was sent a second time, and the message begins there now.
    assert slices[-1].seals[-1].position == sent[3]


def test_a_message_that_the_client_drops_because_a_chunk_was_sent_twice_is_read_again(broker, topic, settings):
    partition = TopicPartition(topic())
    messages = [Message(b"a"), chunk(0), chunk(0), Message(b"b"), chunk(1), Message(b"c")]
    sent = positions(send_raw(broker.service_url, partition.topic, messages))
    slices = all_slices(settings, partition, ReadRange(EARLIEST, sent[5].next_entry()), anew=False)
    assert [each for one in slices for each in one.ids] == [sent[0], sent[3], sent[4], sent[5]]


@by_the_client
def test_the_queue_of_the_client_follows_the_size_of_messages(broker, topic, monkeypatch):
    """It counts messages, and a thousand of the largest are 5 GB."""
    sizes = []
    opened = PulsarClient.open_reader

    def watched(self, partition, start, **keywords):
        sizes.append(keywords["queue_size"])
        return opened(self, partition, start, **keywords)

    monkeypatch.setattr(PulsarClient, "open_reader", watched)
    partition = TopicPartition(topic())
    sent = produce(broker.service_url, partition.topic, 3_000, size=100)
    sent += produce(broker.service_url, partition.topic, 8, size=1_000_000, seed=1, batching=False)
    sent += produce(broker.service_url, partition.topic, 3_000, size=100, seed=2)
    client = connect(PulsarConnection(broker.service_url))
    reading = PartitionFeed(client, partition, EARLIEST, max_bytes=4_000_000)
    got: list[Position] = []
    while len(got) < len(sent):
        taken = reading.take(60)
        assert taken is not None
        got += [taken.position(index) for index in range(len(taken.messages))]
    reading.close()
    assert got == positions(sent)
    # Small, large and small again, with a step between where a chunk holds both.
    first, *between, last = sizes
    assert first == 1
    assert max(between[: between.index(1)]) > 500
    assert last > 500


@by_the_client
def test_messages_leave_the_queue_of_the_client_on_demand_or_at_leisure(broker, topic, monkeypatch):
    """Threads that read while another one encodes take the interpreter from each other with every message."""
    read, made = [0], MessageReader.__init__

    def make(reader: MessageReader, *parts: Any) -> None:
        made(reader, *parts)
        inner = reader.read_next

        def read_next(timeout: int) -> Any:
            message = inner(timeout)
            read[0] += 1
            return message

        reader.read_next = read_next

    monkeypatch.setattr(MessageReader, "__init__", make)
    partition, pace = TopicPartition(topic()), Pace()
    sent = produce(broker.service_url, partition.topic, 5_000, size=20)
    reading = PartitionFeed(connect(PulsarConnection(broker.service_url)), partition, EARLIEST, pace=pace)
    first = reading.take(60)
    assert first is not None
    time.sleep(0.5)
    assert read[0] <= len(first.messages) + scan.PORTION_MESSAGES
    with pace.waiting():
        for _ in range(6_000):
            if read[0] >= len(sent):
                break
            time.sleep(0.01)
    assert read[0] >= len(sent)
    got = [first.position(index) for index in range(len(first.messages))]
    while len(got) < len(sent):
        taken = reading.take(60)
        assert taken is not None
        got += [taken.position(index) for index in range(len(taken.messages))]
    reading.close()
    assert got == positions(sent)


@by_the_client
def test_a_client_that_passes_over_the_rest_of_a_batch_costs_nothing(broker, topic, settings, monkeypatch):
    name = topic()
    sent = sent_in_batches(broker, name, 4, of=50)
    skipped, made = {sent[120]: True}, MessageReader.__init__

    def make(reader: MessageReader, *parts: Any) -> None:
        made(reader, *parts)
        inner = reader.read_next

        def read_next(timeout: int) -> Any:
            message = inner(timeout)
            while skipped.get(place_of(message)) or any(
                place_of(message)[:2] == each[:2] and place_of(message) > each for each in skipped if skipped[each]
            ):
                message = inner(timeout)
                if not any(place_of(message)[:2] == each[:2] for each in skipped):
                    skipped.clear()
            return message

        reader.read_next = read_next

    def place_of(message: Any) -> Position:
        found = message.message_id()
        return Position(found.ledger_id(), found.entry_id(), max(found.batch_index(), 0))

    monkeypatch.setattr(MessageReader, "__init__", make)
    slices = all_slices(settings, TopicPartition(name), whole(settings, TopicPartition(name)), anew=False)
    assert skipped == {}
    assert [each for one in slices for each in one.ids] == sent


@by_the_client
@pytest.mark.parametrize("again", [[30], [30, 100], [30, 103], [5, 6, 7]])
def test_a_client_that_gives_a_part_of_a_batch_twice_costs_nothing(broker, topic, settings, monkeypatch, again):
    """As it does when it has connected again; also where that follows what it passes over, or at the end of a batch."""
    name = topic()
    sent = sent_in_batches(broker, name, 10, of=50)
    made = MessageReader.__init__
    readers: list[MessageReader] = []

    def make(reader: MessageReader, *parts: Any) -> None:
        made(reader, *parts)
        readers.append(reader)
        inner = reader.read_next
        given: list[Any] = []
        ahead: list[Any] = []
        places = set(again) if len(readers) == 1 else set()

        def read_next(timeout: int) -> Any:
            if not ahead and len(given) in places:
                places.remove(len(given))
                ahead.extend(given[-3:])
                if len(again) == 2 and not places:
                    inner(timeout)
                    inner(timeout)
                    inner(timeout)
            message = ahead.pop(0) if ahead else inner(timeout)
            given.append(message)
            return message

        reader.read_next = read_next

    monkeypatch.setattr(MessageReader, "__init__", make)
    slices = all_slices(settings, TopicPartition(name), whole(settings, TopicPartition(name)), anew=False)
    assert [each for one in slices for each in one.ids] == sent


@by_the_client
def test_each_message_is_asked_for_its_place_where_reading_a_batch_takes_long(broker, topic, settings, monkeypatch):
    monkeypatch.setattr(scan, "_NO_TWO_RECONNECTIONS", 0)
    name = topic()
    sent = [each.position for each in produce(broker.service_url, name, 3_000, size=20)]
    slices = all_slices(settings, TopicPartition(name), whole(settings, TopicPartition(name)), anew=False)
    assert [each for one in slices for each in one.ids] == sent


@by_the_client
@pytest.mark.parametrize("anew", [False, True])
def test_a_chunked_message_that_was_seen_ahead_of_the_reader_hides_nothing(broker, topic, settings, monkeypatch, anew):
    """A client that is silent for long has the broker asked for all that it holds, up to its last entry."""
    settings = replace(settings, slice_bytes=1)
    monkeypatch.setattr(scan, "PORTION_MESSAGES", 1)
    monkeypatch.setattr(scan, "STALLED", 1)
    partition = TopicPartition(topic())
    small = [Message(b"%d" % number) for number in range(300)]
    sent = positions(send_raw(broker.service_url, partition.topic, [*small, chunk(0), *small, chunk(1)]))
    made, silent = MessageReader.__init__, [True]

    def make(reader: MessageReader, *parts: Any) -> None:
        made(reader, *parts)
        inner = reader.read_next

        def read_next(timeout: int) -> Any:
            if silent:
                silent.pop()
                raise NoMessageInTime
            return inner(timeout)

        reader.read_next = read_next

    monkeypatch.setattr(MessageReader, "__init__", make)
    slices = all_slices(settings, partition, ReadRange(EARLIEST, sent[-1].next_entry()), anew=anew)
    assert silent == []
    assert [each for one in slices for each in one.ids] == [*sent[:300], *sent[301:]]


def test_messages_are_elements_of_anyones_pipeline(broker, topic):
    name = topic(partitions=2)
    produce(broker.service_url, name, 1_000, partitions=2)

    def facts(message: Any, stamp: Any = beam.DoFn.TimestampParam) -> tuple[int, bool, bool]:
        return message.partition, stamp.micros == message.publish_time * 1000, message.key is not None

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        counted = (
            pipeline | ReadFromPulsar(broker.service_url, name) | beam.Map(facts) | beam.combiners.Count.PerElement()
        )
        assert_that(counted, equal_to([((0, True, True), 500), ((1, True, True), 500)]))


def test_a_batch_that_would_leave_its_process_is_refused_with_the_cure(broker, topic, settings):
    coder = SourceElementCoder()
    with pytest.raises(TypeError, match="right behind the source, before any shuffle, or use ReadFromPulsar"):
        coder.encode(Seal(TopicPartition("t"), 1, EARLIEST))


@by_the_client
def test_a_broker_that_fails_while_a_gap_is_looked_at_costs_nothing(broker, topic, settings, monkeypatch):
    partition = TopicPartition(topic())
    first = [Message(b"%d" % number, publish_time=1_000) for number in range(3)]
    parts = [Message(b"part", publish_time=1_000, chunk=("u1", index, 3, 12)) for index in range(3)]
    sent = send_raw(broker.service_url, partition.topic, [*first, *parts, Message(b"x", publish_time=2_000)])
    looked, failed = scan.stored_entries, []

    def failing(*arguments: Any) -> Any:
        if len(failed) < 3:
            failed.append(arguments)
            raise SourceError("the broker is away")
        return looked(*arguments)

    monkeypatch.setattr(scan, "stored_entries", failing)
    slices = all_slices(settings, partition, whole(settings, partition), anew=False)
    assert len(failed) == 3
    assert [each for part in slices for each in part.ids] == positions([*sent[:3], sent[5], sent[6]])


@by_the_client
def test_a_client_that_says_too_early_that_there_is_no_more_costs_nothing(broker, topic, settings, monkeypatch):
    name = topic()
    sent = [each.position for each in produce(broker.service_url, name, 2_000, size=20)]
    made, has_next = MessageReader.__init__, MessageReader.has_next
    lied = []

    def make(reader: MessageReader, *parts: Any) -> None:
        made(reader, *parts)
        inner, reads = reader.read_next, itertools.count()

        def read_next(timeout: int) -> Any:
            reader.silent = next(reads) >= 700 and not lied  # type: ignore[attr-defined]
            if reader.silent:  # type: ignore[attr-defined]
                raise NoMessageInTime
            return inner(timeout)

        reader.read_next = read_next

    def lie(reader: MessageReader) -> bool:
        if reader.silent:  # type: ignore[attr-defined]
            lied.append(reader)
            return False
        return has_next(reader)

    monkeypatch.setattr(MessageReader, "__init__", make)
    monkeypatch.setattr(MessageReader, "has_next", lie)
    slices = all_slices(settings, TopicPartition(name), whole(settings, TopicPartition(name)), anew=False)
    assert [each for one in slices for each in one.ids] == sent
    assert len(lied) > 0


def test_a_seal_does_not_pass_the_first_chunk_of_a_message_that_ends_behind_the_stop(broker, topic, settings):
    """It was not complete when the end was looked for, and is when it is read."""
    partition = TopicPartition(topic())
    sent = positions(send_raw(broker.service_url, partition.topic, [Message(b"a"), chunk(0), chunk(1)]))
    (one,) = all_slices(settings, partition, ReadRange(EARLIEST, sent[1].next_entry()), anew=False)
    assert one.ids == [sent[0]]
    assert one.seals[-1].position == sent[1]


def test_a_seal_passes_a_chunked_message_that_is_complete(broker, topic, settings):
    partition = TopicPartition(topic())
    sent = positions(send_raw(broker.service_url, partition.topic, [Message(b"a"), chunk(0), Message(b"b"), chunk(1)]))
    (one,) = all_slices(settings, partition, ReadRange(EARLIEST, sent[3].next_entry()), anew=False)
    assert one.ids == [sent[0], sent[2], sent[3]]
    assert one.seals[-1].position == sent[3].next_entry()


@by_the_client
@pytest.mark.parametrize("late", [0, 2 * PATIENCE], ids=["clocks agree", "clocks differ"])
def test_a_chunked_message_is_read_whole_when_the_queue_is_resized_between_its_chunks(
    broker, topic, settings, monkeypatch, late
):
    """Also when its producer's clock is so far behind the others' that it seems to be waited for no longer."""
    monkeypatch.setattr(scan, "PORTION_MESSAGES", 110)
    partition = TopicPartition(topic())
    parts = [Message(b"part", publish_time=1_000, chunk=("u1", index, 2, 8)) for index in range(2)]
    others = [Message(b"other", publish_time=1_000 + late) for _ in range(150)]
    sent = positions(send_raw(broker.service_url, partition.topic, [parts[0], *others, parts[1], others[0]]))
    slices = all_slices(settings, partition, ReadRange(sent[0], sent[-1].next_entry()), anew=False)
    assert sorted(each for one in slices for each in one.ids) == sent[1:]


def test_partitions_that_end_within_a_bundle_count_among_what_it_holds(broker, topic, settings):
    reader = PartitionReader(replace(settings, bundle_bytes=1_000), bounded=True)
    reader.begin_bundle()
    read = []
    for _ in range(2):
        partition = TopicPartition(topic())
        sent = positions(send_raw(broker.service_url, partition.topic, [Message(b"a" * 1_000)]))
        tracker = ThreadsafeRestrictionTracker(ReadTracker(ReadRange(EARLIEST, sent[0].next_entry())))
        values = list(reader.read(partition, RestrictionTrackerView(tracker)))
        read.append([each for value in values if isinstance(value, MessageBatch) for each in value.ids])
    assert [len(ids) for ids in read] == [1, 0]


@by_the_client
def test_an_idle_partition_still_waits_for_a_broker_that_goes_away(broker, topic, monkeypatch):
    """After minutes, which are thousands of waits for a message."""
    monkeypatch.setattr(scan, "PATIENT_MS", 0)
    partition = TopicPartition(topic())
    sent = positions(send_raw(broker.service_url, partition.topic, [Message(b"a")]))
    asked, has_next = [], MessageReader.has_next

    def failing(self: MessageReader) -> bool:
        asked.append(1)
        if len(asked) == 1_100:
            raise SourceError("the broker is away")
        return len(asked) > 1_100 and has_next(self)

    monkeypatch.setattr(MessageReader, "has_next", failing)
    monkeypatch.setattr(scan, "_LONGEST_PAUSE", 0.1)
    reading = PartitionFeed(connect(PulsarConnection(broker.service_url)), partition, EARLIEST)
    seen: list[Position] = []
    while len(seen) < 2:
        if len(asked) > 1_100 and len(seen) == 1 and len(sent) == 1:
            sent += positions(send_raw(broker.service_url, partition.topic, [Message(b"b")]))
        taken = reading.take(10)
        assert taken is not None
        seen += [taken.position(index) for index in range(len(taken.messages))]
    reading.close()
    assert seen == sent
