"""What is split by layouts is what protobuf reads, or is not split at all."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from transforms.pulsar.batch_layouts import split
from transforms.pulsar.message_fields import fields_of
from transforms.pulsar.protobuf import varint
from transforms.pulsar.stored_messages import StoredMessage, _unpacked

TEXTS = st.one_of(st.sampled_from(["", "a", "key-1", "key-22"]), st.text(max_size=200)).map(str.encode)
NUMBERS = st.one_of(st.sampled_from([0, 1, 127, 128, 1_700_000_000_000]), st.integers(0, 2**64 - 1))


def _data(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def _number(field, value):
    return varint(field << 3) + varint(value)


PROPERTY = st.tuples(TEXTS, TEXTS).map(lambda pair: _data(1, _data(1, pair[0]) + _data(2, pair[1])))
FIELD = st.one_of(
    PROPERTY,
    TEXTS.map(lambda text: _data(2, text)),
    TEXTS.map(lambda text: _data(7, text)),
    NUMBERS.map(lambda number: _number(5, number)),
    NUMBERS.map(lambda number: _number(8, number)),
    st.booleans().map(lambda flag: _number(6, flag)),
    st.booleans().map(lambda flag: _number(9, flag)),
)
MESSAGE = st.tuples(st.lists(FIELD, max_size=6), st.binary(max_size=300), st.integers(0, 6))
PALETTE = st.lists(MESSAGE, min_size=1, max_size=3)


def _packed(fields, payload, place):
    metadata = b"".join([*fields[:place], _number(3, len(payload)), *fields[place:]])
    return struct.pack(">I", len(metadata)) + metadata + payload


def _read(message):
    return (
        message.event_timestamp(),
        message.partition_key(),
        message.ordering_key(),
        message.properties(),
        message.has_null_value(),
        message.data(),
    )


@given(PALETTE, st.lists(st.integers(0, 2), min_size=1, max_size=40))
def test_what_is_split_is_what_protobuf_reads(palette, order):
    data = b"".join(_packed(*palette[number % len(palette)]) for number in order)
    singles, payloads = _unpacked(data, len(order))
    expected = [
        _read(StoredMessage(None, 0, payload, single, None)) for payload, single in zip(payloads, singles, strict=True)
    ]
    found = split(data, len(order))
    if found is None:
        return
    layouts, rows, payloads = found
    messages = [
        StoredMessage(None, 0, payload, row, layout)
        for layout, row, payload in zip(layouts, rows, payloads, strict=True)
    ]
    assert list(map(_read, messages)) == expected
    fields = fields_of(messages)
    assert fields.event_times == [each[0] for each in expected]
    assert list(map(bytes.decode, fields.keys)) == [each[1] for each in expected]
    assert list(map(bytes.decode, fields.ordering_keys)) == [each[2] for each in expected]
    properties = fields.properties
    if not isinstance(properties, list):
        columns = [list(map(bytes.decode, column)) for column in properties.columns]
        values = zip(*columns, strict=True) if columns else [()] * len(order)
        properties = [dict(zip(properties.names, each, strict=True)) for each in values]
    assert [list(each.items()) for each in properties] == [list(each[3].items()) for each in expected]


def test_a_batch_of_one_application_is_split():
    data = b"".join(
        _packed([_data(2, b"key-%d" % number), _number(5, 1_700_000_000_000 + number)], b"x" * number, 1)
        for number in range(300)
    )
    layouts, _rows, payloads = split(data, 300)
    assert [len(payload) for payload in payloads] == list(range(300))
    assert len(set(layouts)) < 10


@given(st.binary(max_size=200), st.integers(1, 3))
def test_damage_is_not_split_into_messages_that_are_not_there(data, count):
    found = split(data, count)
    if found is None:
        return
    metadata = [layout.metadata(row) for layout, row in zip(found[0], found[1], strict=True)]
    whole = [struct.pack(">I", len(head)) + head + payload for head, payload in zip(metadata, found[2], strict=True)]
    assert b"".join(whole) == data


def test_a_field_that_hides_in_a_number_is_found():
    # As long as the one before, and with the same tags at the same places: but one number ends early.
    plain = _number(8, 0x3FFF) + _number(3, 2)
    hiding = varint(8 << 3) + b"\x01" + b"\x48" + _number(3, 2)
    whole = [struct.pack(">I", len(each)) + each + b"ab" for each in [plain] * 9 + [hiding]]
    assert len(plain) == len(hiding)
    assert split(b"".join(whole[:9]), 9) is not None
    assert split(b"".join(whole), 10) is None
