"""What waits in a runner's state."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.inputs import damaged, json_values, long_ids, positions, topics
from tests.fuzz.target import target
from transforms.files.records import Records, SealMark, decode_element, encode_element
from transforms.files.roll import OpenFile, PartitionFiles
from transforms.files.state import decode_state, encode_state
from transforms.files.windows_complete import (
    Came,
    Exists,
    FileFacts,
    GapTold,
    Told,
    TopicWindows,
    decode_told,
    encode_told,
)
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.restriction import PartitionRange, PartitionRangeCoder, ReadRange, ReadRangeCoder
from transforms.pulsar.windows import WindowState


@st.composite
def records(draw: st.DrawFn) -> Records:
    rows = draw(
        st.lists(st.tuples(long_ids, long_ids, st.integers(-1, 9), long_ids, st.binary(max_size=5)), min_size=1)
    )
    ids, times, data = [row[:3] for row in rows], [row[3] for row in rows], [row[4] for row in rows]
    lane, header = draw(st.text(max_size=5)), draw(st.binary(max_size=9))
    return Records.of(draw(long_ids), lane, header, ids, times, data)


elements = st.one_of(records(), st.builds(SealMark, long_ids, st.builds(Position, long_ids, long_ids, long_ids)))


@target(elements)
def elements_written_and_read(element: Any) -> None:
    assert decode_element(encode_element(element)) == element


@target(damaged(elements.map(encode_element)))
def elements_damaged(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert encode_element(decode_element(content)) == content


counts = st.integers(0, 2**63 - 1)
open_files = st.builds(
    OpenFile, counts, st.text(max_size=5), st.binary(max_size=9), positions, positions, counts, counts, counts, counts,
    counts, st.binary(max_size=9), counts, counts, counts, st.lists(st.text(max_size=5), max_size=3).map(tuple),
)  # fmt: skip
states = st.builds(
    PartitionFiles,
    st.lists(open_files, max_size=3).map(lambda files: {(file.window, file.lane): file for file in files}),
    counts, counts, counts, counts, st.one_of(st.none(), positions), st.one_of(st.none(), positions),
)  # fmt: skip


@target(states)
def states_written_and_read(state: PartitionFiles) -> None:
    assert decode_state(encode_state(state)) == state


@target(st.one_of(damaged(states.map(encode_state)), json_values.map(lambda value: json.dumps(value).encode())))
def states_damaged(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode_state(content)


partitions = st.builds(TopicPartition, topics, st.integers(-1, 2**31 - 1))
window_states = st.builds(WindowState, counts, counts, st.lists(counts, max_size=4).map(tuple))


@target(
    st.builds(PartitionRange, partitions, positions, positions),
    st.builds(ReadRange, positions, positions, st.one_of(st.none(), positions), window_states),
)
def restrictions_written_and_read(one: PartitionRange, other: ReadRange) -> None:
    assert PartitionRangeCoder().decode(PartitionRangeCoder().encode(one)) == one
    assert ReadRangeCoder().decode(ReadRangeCoder().encode(other)) == other


facts = st.builds(FileFacts, st.text(max_size=5), counts, st.integers(0, 2**64 - 1), counts, counts)
indexes = st.integers(-1, 2**31 - 1)
told = st.one_of(
    st.builds(
        Exists, st.lists(st.tuples(indexes, positions), max_size=3).map(tuple), st.frozensets(indexes, max_size=2)
    ),
    st.builds(
        Came, indexes, counts, st.one_of(st.none(), positions), counts, st.sets(counts, max_size=4),
        st.lists(facts, max_size=2),
    ),
    st.builds(GapTold, indexes, positions, positions, st.booleans()),
)  # fmt: skip


@target(st.lists(told, max_size=6))
def windows_written_and_read(all_told: list[Told]) -> None:
    windows = TopicWindows()
    for each in all_told:
        assert decode_told(encode_told(each)) == each
        windows.take(each)
        assert TopicWindows.from_bytes(windows.to_bytes()).to_bytes() == windows.to_bytes()


@target(st.one_of(damaged(told.map(encode_told)), json_values.map(lambda value: json.dumps(value).encode())))
def windows_damaged(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode_told(content)
    with contextlib.suppress(ValueError):
        TopicWindows.from_bytes(content)
