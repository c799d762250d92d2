"""A restore on a real Flink."""

from __future__ import annotations

from tests.pipelines.backups import Folder, backup
from tests.pipelines.reading_back import messages_in, position
from tests.pipelines.restoring import as_sent, origins, restore, restore_refused
from transforms.testing.cos_faults import ALWAYS
from transforms.testing.producers import produce


def test_a_restore_on_flink_sends_what_a_local_one_does_and_goes_on(broker, topic, bucket, flink, tmp_path):
    name, target = topic(partitions=3), topic(partitions=3)
    produce(broker.service_url, name, 900, partitions=3)
    backup(broker, name, bucket, "--max_file_messages=100")
    stored, listed = messages_in(bucket), bucket.listed()
    # A bucket that refuses on the way: what was sent stays, and the sentence is that of a local run.
    bucket.server.faults.add(
        "access-denied", operation="GetObject", key=f"*{listed[-1].rpartition('/')[2]}", times=ALWAYS
    )
    refused = restore_refused(broker, bucket, target, "--number_of_execution_retries=0", *flink.options)
    assert (refused.code, "AccessDenied" in refused.errors) == (3, True), refused.errors
    bucket.server.faults.clear()
    done = restore(broker, bucket, target, "--rate=100000", *flink.options).summary
    assert (done["messages"], done["objects"]) == (900, len(listed))
    assert 0 < done["already_there"] < 900
    # Its results have left nothing behind.
    assert bucket.listed() == listed
    again = Folder(tmp_path / "again")
    again.path.mkdir()
    backup(broker, target, again)
    found = messages_in(again)
    for partition, records in stored.items():
        mine = found[partition.replace(name, target)]
        assert [as_sent(each) for each in mine] == [as_sent(each) for each in records]
        assert origins(mine) == [str(position(each)) for each in records]
