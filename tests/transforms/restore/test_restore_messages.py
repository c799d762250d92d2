"""What is sent of what is stored, and under which schema."""

from __future__ import annotations

import orjson
import pytest

from tests.transforms.files.client_messages import ClientMessage, batch_of
from tests.transforms.files.test_decode import written
from transforms.errors import UnrestorableError
from transforms.files.decode import position_of, read_with_values
from transforms.pulsar.schemas import TopicSchema
from transforms.restore.merge import StoredMessage
from transforms.restore.messages import MessageMaker, TargetSchema, newest_registered


def stored_in(line: bytes) -> StoredMessage:
    ((record, values),) = read_with_values([line], "jsonl", "object x")
    return StoredMessage(position_of(record), record, values, "jsonl")


def test_a_payload_nested_as_json_is_never_told_to_be_as_it_was():
    maker = MessageMaker({}, True, None)
    for payload, restored, exact in [
        (b'{"a":\n1.50}', b'{"a": 1.50}', False),
        (b"[2]", b"[2]", False),
        (b'"text"', b'"text"', True),
        (b"null", b"null", True),
        (b"text", b"text", True),
        (b"\xff", b"\xff", True),
    ]:
        line, _ = written(("jsonl", "none"), batch_of(ClientMessage(payload)), payload="json")
        message, is_exact = maker.make(stored_in(line))
        assert (message.payload, is_exact) == (restored, exact)
    line, _ = written(("jsonl", "none"), batch_of(ClientMessage(b'{"a":1e2}')), payload="json")
    by_another_tool = orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    with pytest.raises(UnrestorableError, match="another tool"):
        maker.make(stored_in(by_another_tool))


def test_messages_are_sent_under_the_newest_schema_that_the_target_took():
    number = TargetSchema(TopicSchema("INT64"), b"0")
    unknown = TargetSchema(TopicSchema("type 22"), None)
    assert newest_registered({0: number, 3: unknown, 2: TargetSchema(TopicSchema("BYTES"), None)}) == number.schema
    assert newest_registered({0: number, 1: TargetSchema(TopicSchema("STRING"), b"1")}) == TopicSchema("STRING")
    assert newest_registered({1: unknown}) is None
    assert newest_registered({}) is None
