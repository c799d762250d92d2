"""A topic that is backed up, deleted, restored and backed up again holds the same messages, field by field."""

from __future__ import annotations

import pytest

from tests.pipelines.backups import backup
from tests.pipelines.reading_back import messages_in, position
from tests.pipelines.restoring import as_sent, origins, restore
from transforms.testing.producers import produce


@pytest.mark.parametrize(("partitions", "form"), [(3, "avro"), (5, "jsonl")])
def test_a_topic_that_was_deleted_comes_back_as_it_was(broker, client, topic, new_bucket, partitions, form):
    name, first, second = topic(partitions=partitions), new_bucket(), new_bucket()
    produce(broker.service_url, name, 3_000, partitions=partitions)
    produce(broker.service_url, name, 300, partitions=partitions, batching=False, seed=1)
    backup(broker, name, first, f"--format={form}", "--max_file_messages=300")
    before = messages_in(first)
    broker.admin.delete_topic(name, partitioned=True)
    run = restore(
        broker, first, name, "--into_source", f"--create_topic={partitions}", f"--admin_url={broker.admin_url}"
    )
    assert run.summary["messages"] == 3_300
    backup(broker, name, second, f"--format={form}")
    after = messages_in(second)
    assert before.keys() == after.keys()
    for partition, records in before.items():
        assert [as_sent(each) for each in after[partition]] == [as_sent(each) for each in records]
        assert origins(after[partition]) == [str(position(each)) for each in records]
