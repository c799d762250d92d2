"""What is looked at of the target, and of the source's schemas, before anything is restored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import restore_target
from pipelines.restore_options import parse_restore
from pipelines.restore_target import schemas_of, unkept
from tests.pipelines.producing import acknowledge, numbered, send
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.schemas import TopicSchema

TEXT, NUMBER = TopicSchema("STRING"), TopicSchema("INT64")


def config_of(target: str, service_url: str = "pulsar://127.0.0.1:1", *options: str) -> Any:
    return parse_restore(
        [f"--service_url={service_url}", f"--target_topic={target}", "--backup=file:///tmp/nowhere/", *options]
    )


@pytest.mark.parametrize(
    ("recorded", "at_broker", "taken"),
    [
        ({}, [TEXT], {0: TEXT}),
        ({0: TEXT}, [TEXT, NUMBER], {0: TEXT, 1: NUMBER}),
        ({0: TEXT}, [NUMBER, NUMBER], {0: TEXT}),  # another topic of the same name
        ({0: TEXT, 1: NUMBER}, [], {0: TEXT, 1: NUMBER}),
    ],
)
def test_versions_that_no_run_record_has_are_taken_from_the_broker(monkeypatch, caplog, recorded, at_broker, taken):
    versions = dict(enumerate(at_broker))
    monkeypatch.setattr(restore_target, "connect", lambda _: None)
    monkeypatch.setattr(
        restore_target, "SchemaSource", lambda *_: SimpleNamespace(get=lambda _, version: versions.get(version))
    )
    plan: Any = SimpleNamespace(topic="persistent://t/ns/a", schemas=recorded)
    assert schemas_of(config_of("again"), plan) == taken
    assert ("taken as the broker has it now" in caplog.text) == (taken != recorded)


def test_a_target_that_keeps_nothing_is_told(broker, client):
    broker.admin.create_namespace("test/forgetful", retention_minutes=0, retention_megabytes=0)
    name = "persistent://test/forgetful/again"
    send(client, name, numbered(1))
    target = SimpleNamespace(partitions=(TopicPartition(name),))
    config = config_of(name, broker.service_url, f"--admin_url={broker.admin_url}")
    assert "has no subscription, and its namespace has no retention" in str(unkept(config, target))
    assert unkept(config_of(name, broker.service_url), target) is None, "not known without admin REST"
    acknowledge(client, name, "reader", send(client, name, numbered(1))[0])
    assert unkept(config, target) is None
    broker.admin.set_retention("test/forgetful", minutes=60, megabytes=-1)
    other = "persistent://test/forgetful/other"
    send(client, other, numbered(1))
    kept = config_of(other, broker.service_url, f"--admin_url={broker.admin_url}")
    assert unkept(kept, SimpleNamespace(partitions=(TopicPartition(other),))) is None
