"""What is whole is proved, and named by nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.verify import VerifyOptions, verify
from tests.pipelines.verify.stored_backup import (
    EVENTS,
    MIDDLE,
    ORDERS,
    Kind,
    in_bucket,
    in_folder,
    write_backup,
    write_run,
)
from transforms.files.manifest import GapFound
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.restore.plan import plan_restore
from transforms.restore.selection import Selection
from transforms.testing.cos_server import CosServer
from transforms.verify.findings import Kind as Found

KINDS = [Kind(), Kind("avro", "snappy", "value"), Kind("jsonl", "gzip", "value"), Kind("jsonl", "zstd", "json")]
#: Where dashes part the names too, the folder of the first may be that of another topic.
DASHED = ["persistent://pulsar-abc/shop/my-orders", "persistent://pulsar-abc/shop/orders"]
DEEP = VerifyOptions(deep=True)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("where", ["bucket", "folder"])
def test_what_is_whole_is_proved_and_named_by_nothing(where: str, kind: Kind, tmp_path: Path) -> None:
    if where == "folder":
        backup = write_backup(in_folder(tmp_path, kind))
        for options in (VerifyOptions(), DEEP):
            assert_proved(verify(backup.store, backup.prefix, options))
        return
    with CosServer(tmp_path) as server:
        backup = write_backup(in_bucket(tmp_path, server, kind))
        for options in (VerifyOptions(), DEEP):
            server.requests.clear()
            found = verify(backup.store, backup.prefix, options)
            assert_proved(found)
            assert {"GET", "HEAD"} >= {name for name in server.requests if name.isupper()}


def assert_proved(found) -> None:
    assert not found.findings.counts
    assert found.proved
    assert (found.records, found.messages) == (2, 3 * 36)
    assert [(each.messages, each.proved) for each in found.stretches] == [(36, True)] * 3


def test_only_the_topics_that_are_asked_for_are_looked_at(tmp_path: Path) -> None:
    backup = write_backup(in_folder(tmp_path, Kind("avro", "null", "value")))
    backup.delete(backup.keys("/events/")[0])
    backup.write("_spool/cluster/shop/events/dt=2025-11-22/hh=08/x.part00000", b"")
    only = verify(backup.store, "", VerifyOptions(topics=(ORDERS,)))
    assert (only.proved, only.messages, dict(only.findings.counts)) == (True, 72, {})
    other = verify(backup.store, "", VerifyOptions(topics=(EVENTS,)))
    assert set(other.findings.counts) == {Found.MISSING, Found.FEWER, Found.SPOOL}
    none = verify(backup.store, "", VerifyOptions(topics=(f"{ORDERS}-2",)))
    assert (none.proved, set(none.findings.counts)) == (False, {Found.NOTHING})
    for named, kind in ((True, Found.NOTHING), (False, Found.ABSENT)):
        options = VerifyOptions(topics=(ORDERS, f"{ORDERS}-2"), named=named)
        partly = verify(backup.store, "", options)
        assert (partly.proved, partly.messages, dict(partly.findings.counts)) == (not named, 72, {kind: 1})
        assert [each.key for each in partly.findings.kept(kind)] == [f"{ORDERS}-2"]


def test_gaps_stand_against_the_proof_unless_they_are_accepted(tmp_path: Path) -> None:
    backup = in_folder(tmp_path, Kind())
    gap = GapFound(topic=ORDERS, partition=1, start=Position(1, 0), stop=Position(7, 0), certain=True)
    write_run(backup, "run-1", gaps=[gap])
    assert not verify(backup.store, "", VerifyOptions()).proved
    found = verify(backup.store, "", VerifyOptions(accept_gaps=True))
    assert (found.proved, dict(found.findings.counts)) == (True, {Found.GAP: 1})
    assert "partition-1: deleted from 1:0:0 to before 7:0:0" in found.findings.kept(Found.GAP)[0].what


def test_objects_across_the_end_of_a_run_are_counted_to_the_message(tmp_path: Path) -> None:
    backup = in_folder(tmp_path, Kind("jsonl", "gzip"))
    write_run(backup, "run-1")
    write_run(backup, "run-2", first=5, last=18, written=False)  # of what is stored already
    found = verify(backup.store, "", VerifyOptions())
    assert found.proved, found.findings.counts
    assert found.across > 0
    with_one_less = backup.read("_runs/run-2.json").replace(b'"messages": 19', b'"messages": 18')
    assert with_one_less != backup.read("_runs/run-2.json")
    backup.write("_runs/run-2.json", with_one_less)
    assert set(verify(backup.store, "", VerifyOptions()).findings.counts) == {Found.MORE}


@pytest.mark.parametrize("template", ["{cluster}/{namespace}/{topic}-%Y%m%d/", "{cluster}-{namespace}-{topic}/"])
def test_names_with_dashes_are_proved_in_folders_with_dashes(template: str, tmp_path: Path) -> None:
    backup = in_folder(tmp_path, Kind())
    partitions = [TopicPartition(topic, 0) for topic in DASHED]
    write_run(backup, "run-1", template=template, partitions=partitions)
    found = verify(backup.store, "", DEEP)
    assert (found.proved, dict(found.findings.counts)) == (True, {})
    assert [each.series.topic for each in found.stretches] == DASHED
    assert [plan_restore(backup.store, "", Selection(), topic=topic).topic for topic in DASHED] == DASHED
    backup.delete("_runs/run-1.json")
    options = VerifyOptions(template=template, deep=True)
    assert set(verify(backup.store, "", options).findings.counts) == {Found.NO_RECORD}


def test_a_zone_or_a_template_that_is_given_goes_with_what_run_records_tell_of_the_other(tmp_path: Path) -> None:
    hours, days, zone = "{cluster}/{namespace}/{topic}/%d-%H/", "{topic}/%H/{namespace}/{cluster}/", "Asia/Shanghai"
    one = in_folder(tmp_path / "zone", Kind())
    write_run(one, "run-1", template=hours, last=MIDDLE)
    write_run(one, "run-2", template=hours, timezone=zone, first=MIDDLE, record=False)
    other = in_folder(tmp_path / "template", Kind())
    write_run(other, "run-1", timezone=zone, template=hours, last=MIDDLE)
    write_run(other, "run-2", timezone=zone, template=days, first=MIDDLE, record=False)
    for backup, options, without in (
        (one, VerifyOptions(timezone=zone), Found.MISPLACED),
        (other, VerifyOptions(template=days), Found.UNKNOWN_TOPIC),
    ):
        assert without in verify(backup.store, "", VerifyOptions()).findings.counts
        found = verify(backup.store, "", options)
        assert (found.proved, set(found.findings.counts)) == (True, {Found.NO_RECORD})
