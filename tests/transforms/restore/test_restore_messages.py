"""What is sent of what is stored, and under which schema."""

from __future__ import annotations

from transforms.pulsar.schemas import TopicSchema
from transforms.restore.messages import TargetSchema, newest_registered


def test_messages_are_sent_under_the_newest_schema_that_the_target_took():
    number = TargetSchema(TopicSchema("INT64"), b"0")
    unknown = TargetSchema(TopicSchema("type 22"), None)
    assert newest_registered({0: number, 3: unknown, 2: TargetSchema(TopicSchema("BYTES"), None)}) == number.schema
    assert newest_registered({0: number, 1: TargetSchema(TopicSchema("STRING"), b"1")}) == TopicSchema("STRING")
    assert newest_registered({1: unknown}) is None
    assert newest_registered({}) is None
