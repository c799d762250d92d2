"""Topics with schemas come back with them, and with payloads as they were, also from values."""

from __future__ import annotations

import json
import struct
import uuid

import pytest

from tests.pipelines.backups import Folder, backup
from tests.pipelines.reading_back import messages_in
from tests.pipelines.restoring import as_sent, restore
from transforms.testing.producers import produce_avro_versions, produce_json, produce_key_value
from transforms.testing.raw_producer import Message, send_raw

MODES = {
    "bytes": ["--payload=bytes", "--format=avro"],
    "avro": ["--payload=value", "--format=avro"],
    "jsonl": ["--payload=value", "--format=jsonl"],
}


@pytest.fixture(scope="module")
def module_topic(broker):
    """Names of topics that stay for the module."""
    namespace = f"test/schemas-{uuid.uuid4().hex[:6]}"
    broker.admin.create_namespace(namespace)
    return lambda name: f"persistent://{namespace}/{name}"


@pytest.fixture(scope="module")
def stored(broker, module_topic, tmp_path_factory):
    """Backups of topics of every sort, by mode, and the messages themselves; the topics are gone."""
    url, admin = broker.service_url, broker.admin
    names = {kind: module_topic(kind) for kind in ("avro", "json", "inline", "separated", "int64", "instant", "plain")}
    for name in names.values():
        admin.create_topic(name)
    produce_avro_versions(url, admin, names["avro"])
    produce_json(url, admin, names["json"])
    produce_key_value(url, admin, names["inline"], separated=False)
    produce_key_value(url, admin, names["separated"], separated=True)
    for kind, payloads in {
        "int64": [struct.pack(">q", value) for value in (0, -1, 2**63 - 1)],
        "instant": [struct.pack(">qi", seconds, 999_999_999) for seconds in (-1, 0, 1_700_000_000)],
    }.items():
        version = admin.upload_schema(names[kind], kind.upper(), "")
        messages = [Message(each, schema_version=version) for each in [*payloads, None]]
        # Every third does not fit, and is in quarantine: between the others it comes back in its place.
        messages.insert(1, Message(b"?", key="misfit", schema_version=version))
        send_raw(url, names[kind], messages)
    send_raw(url, names["plain"], [Message(b"no schema"), Message(b"\xff\x00"), Message(None, key="gone")])
    folders = {}
    for mode, options in MODES.items():
        folders[mode] = Folder(tmp_path_factory.mktemp(mode))
        backup(broker, list(names.values()), folders[mode], f"--admin_url={broker.admin_url}", *options)
    truth = {name: [as_sent(each) for each in records] for name, records in messages_in(folders["bytes"]).items()}
    versions = {kind: described(admin, name) for kind, name in names.items() if kind != "plain"}
    for name in names.values():
        admin.delete_topic(name)
    return names, folders, truth, versions


def described(admin, name: str) -> list[tuple]:
    """All versions of a topic's schema."""
    answer = admin.request("GET", f"schemas/{name.removeprefix('persistent://')}/schemas")
    return [(each["version"], each["type"], each["data"], each["properties"]) for each in answer["getSchemaResponses"]]


@pytest.mark.parametrize("mode", MODES)
def test_schemas_and_payloads_come_back(broker, module_topic, stored, mode, tmp_path):
    names, folders, truth, versions = stored
    targets = {kind: module_topic(f"{kind}-from-{mode}") for kind in names}
    told = {}
    for kind, name in names.items():
        options = [f"--topic={name}", "--create_topic=0", f"--admin_url={broker.admin_url}"]
        told[kind] = restore(broker, folders[mode], targets[kind], *options).summary
        if kind != "plain":
            assert described(broker.admin, targets[kind]) == versions[kind]
    again = Folder(tmp_path)
    backup(broker, list(targets.values()), again)
    found = {name: [as_sent(each) for each in records] for name, records in messages_in(again).items()}
    for kind, name in names.items():
        expected, restored = truth[name], found[targets[kind]]
        if told[kind]["re_encoded"]:
            assert (mode, kind) in {("avro", "json"), ("avro", "inline"), ("avro", "separated")} or mode == "jsonl"
            expected, restored = as_values(expected, kind), as_values(restored, kind)
        assert restored == expected, (mode, kind)
    assert told["json"]["re_encoded"] == (0 if mode == "bytes" else 2)
    assert told["int64"]["re_encoded"] == told["instant"]["re_encoded"] == told["plain"]["re_encoded"] == 0
    assert told["avro"]["re_encoded"] == (9 if mode == "jsonl" else 0)


def as_values(records: list[dict], kind: str) -> list[dict]:
    """With payloads of JSON as what they mean."""
    if kind == "avro":
        return records
    made = []
    for record in records:
        payload = record["payload"]
        at = payload.index(b"{")
        # Inline, the length of the value stands before it.
        made.append({**record, "payload": (payload[: at - 4] if at else b"", json.loads(payload[at:]))})
    return made
