from __future__ import annotations

from datetime import datetime

from tests.pipelines.backups import backup
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import messages_in, partition_of, positions, read_files


def test_the_summary_agrees_with_the_objects(broker, client, topic, bucket):
    name = topic(partitions=3)
    partitions = [f"{name}-partition-{index}" for index in range(3)]
    for index, each in enumerate(partitions[:2]):
        send(client, each, numbered(50 + index), batch=10)
    run = backup(broker, name, bucket, "--max_file_messages=20", "--subscription=summary", "--codec=null")
    stored, files = messages_in(bucket, most=20), read_files(bucket)
    for each in partitions:
        summary, records = run.partition(each), stored.get(each, [])
        mine = [file for file in files if partition_of(file.records[0]) == each]
        assert summary["messages"] == len(records)
        assert summary["files"] == len(mine)
        assert summary["file_bytes"] == sum(len(bucket.read(file.key)) for file in mine)
        assert summary["record_bytes"] == sum(int(bucket.metadata(file.key)["records-bytes"]) for file in mine)
        ends = [str(positions(records)[at]) for at in (0, -1)] if records else [None, None]
        assert [summary["first"], summary["last"]] == ends
        assert (summary["already_stored"], summary["quarantined"], summary["gaps"]) == (0, 0, [])
        assert summary["acknowledged_before"] == (summary["stop"] if records else None)
    whole = run.summary
    for total in ("messages", "files", "file_bytes", "record_bytes"):
        assert whole[total] == sum(part[total] for part in whole["partitions"])
    assert whole["destination"] == "cos://test-1250000000/backup/"
    assert datetime.fromisoformat(whole["started"]) <= datetime.fromisoformat(whole["finished"])


def test_the_second_summary_counts_what_was_stored_before(broker, client, topic, bucket):
    name = topic()
    places = send(client, name, numbered(50), batch=10)
    backup(broker, name, bucket, f"--end={places[29]}")
    run = backup(broker, name, bucket)
    assert (run.summary["messages"], run.summary["already_stored"], run.summary["files"]) == (50, 30, 1)


def test_the_table_on_stdout_has_the_totals_and_stderr_the_log(broker, client, topic, bucket, capsys):
    name = topic()
    send(client, name, numbered(1234), batch=100)
    run = backup(broker, name, bucket)
    printed = capsys.readouterr().out
    assert "1,234" in printed
    assert "1,234 messages in" in printed
    (key,) = bucket.listed()
    assert f"wrote {key}: 1234 messages" in run.errors
