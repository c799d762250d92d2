from __future__ import annotations

from tests.pipelines.backups import backup
from tests.pipelines.reading_back import position, read_avro, read_files
from transforms.testing.producers import produce_avro_versions, produce_json
from transforms.testing.raw_producer import Message, send_raw

VALUES = "--payload=value"


def test_values_of_two_schema_versions_are_in_files_of_their_own(broker, topic, bucket):
    name = topic()
    sent = produce_avro_versions(broker.service_url, broker.admin, name)
    backup(broker, name, bucket, VALUES)
    files = read_files(bucket)
    assert {file.name.version for file in files} == {"v000000", "v000001"}
    found = {position(record): record for file in files for record in file.records}
    assert sorted(found) == [each.position for each in sent]
    values = {b"\x06Ann\x3c": {"name": "Ann", "age": 30}}
    values[b"\x06Bob\x50\x02\x0cBerlin"] = {"name": "Bob", "age": 40, "city": "Berlin"}
    values[b"\x06Eve\x04\x00"] = {"name": "Eve", "age": 2, "city": None}
    for each in sent:
        assert found[each.position]["value"] == values[each.message.payload or b""]


def test_json_values_are_typed_in_avro(broker, topic, bucket):
    name = topic()
    sent = produce_json(broker.service_url, broker.admin, name)
    backup(broker, name, bucket, VALUES)
    (file,) = read_files(bucket)
    assert [position(record) for record in file.records] == [each.position for each in sent]
    assert [record["value"] for record in file.records] == [{"name": "Ann", "age": 30}, {"name": "Zoë", "age": -1}]


def unfitting(broker, name: str) -> list:
    """Messages of which every third does not fit the topic's schema."""
    fields = [{"name": "age", "type": "int"}]
    version = broker.admin.upload_schema(name, "AVRO", {"type": "record", "name": "Age", "fields": fields})
    payloads = [b"\xff" if number % 3 == 0 else bytes([number]) for number in range(60)]
    return send_raw(broker.service_url, name, [Message(payload, schema_version=version) for payload in payloads])


def test_messages_that_do_not_fit_their_schema_are_kept_in_quarantine(broker, topic, bucket):
    name = topic()
    sent = unfitting(broker, name)
    run = backup(broker, name, bucket, VALUES, "--max_file_messages=7")
    found = [record for file in read_files(bucket) for record in file.records]
    kept = [record for file in read_files(bucket, area="_quarantine/") for record in file.records]
    assert [position(record) for record in kept] == [each.position for each in sent[0::3]]
    assert sorted(map(position, found + kept)) == [each.position for each in sent]
    assert [record["payload"] for record in kept] == [b"\xff"] * 20
    assert all(record["reason"] for record in kept)
    assert run.summary["quarantined"] == 20
    assert run.summary["messages"] == 60


def test_a_second_run_writes_nothing_into_quarantine_either(broker, topic, new_bucket):
    name = topic()
    unfitting(broker, name)
    first, second = new_bucket(), new_bucket()
    options = [VALUES, "--max_file_messages=7"]
    backup(broker, name, first, *options)
    written = first.written()
    run = backup(broker, name, first, *options)
    assert first.written() == written
    assert (run.summary["files"], run.summary["already_stored"]) == (0, 60)
    backup(broker, name, second, *options)
    assert second.contents() == first.contents()


def test_messages_that_all_do_not_fit(broker, topic, bucket):
    name = topic()
    fields = [{"name": "age", "type": "int"}]
    version = broker.admin.upload_schema(name, "AVRO", {"type": "record", "name": "Age", "fields": fields})
    sent = send_raw(broker.service_url, name, [Message(b"\xff", schema_version=version)] * 10)
    run = backup(broker, name, bucket, VALUES, "--subscription=values")
    written = bucket.written()
    assert read_files(bucket) == []
    (file,) = read_files(bucket, area="_quarantine/")
    assert [position(record) for record in file.records] == [each.position for each in sent]
    assert run.summary["quarantined"] == 10
    backup(broker, name, bucket, VALUES)
    assert bucket.written() == written


def test_the_files_of_two_versions_carry_their_schema(broker, topic, bucket):
    name = topic()
    produce_avro_versions(broker.service_url, broker.admin, name)
    backup(broker, name, bucket, VALUES)
    for key in bucket.listed():
        fields = read_avro(bucket.read(key))[0]["value"]
        assert ("city" in fields) == ("-v000001-" in key)
