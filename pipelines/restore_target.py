"""The topic that messages are restored into: found, created, and looked at before anything is sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.restore_options import RestoreConfig
from transforms.at_once import at_once
from transforms.errors import BackupError, ConfigurationError, SourceError, TopicNotFoundError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.client import connect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import check_reachable, partition_ends, partitions_of
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.producing import register_schema
from transforms.pulsar.schemas import TYPE_NAMES, SchemaSource, TopicSchema
from transforms.restore.messages import TargetSchema
from transforms.restore.plan import RestorePlan
from transforms.restore.reached import last_restore
from transforms.restore.routing import Router

#: Of a schema that is none: nothing is registered for it.
_NO_SCHEMA = ("BYTES", "NONE")

_log = logging.getLogger("pipelines.restore")


@dataclass(frozen=True, slots=True)
class Target:
    """What is known of it."""

    partitions: tuple[TopicPartition, ...]
    """In order; the topic itself where it has none."""
    exists: bool
    deduplicates: bool | None
    """None where it is not told: by admin REST alone."""


def check_target(config: RestoreConfig) -> Target:
    """Reach the broker and find the target; creates nothing. Raises SourceError and AccessError."""
    connection, topic = config.connection, config.target_topic
    checks = [lambda: check_reachable(connection, topic)]
    if connection.admin_url is not None:
        checks.append(lambda: PulsarAdmin(connection).check(topic))
    at_once(checks)
    try:
        partitions = partitions_of(connection, topic)
        partition_ends(connection, partitions[0])
    except TopicNotFoundError as error:
        if config.create_topic is None:
            raise TopicNotFoundError(
                f"{topic}: there is no such topic to restore into, and none is created unasked. Create it, or give "
                "--create_topic=N with its number of partitions."
            ) from error
        return Target(_named(topic, config.create_topic), False, None)
    if config.create_topic is not None and tuple(partitions) != _named(topic, config.create_topic):
        has = len(partitions) if partitions[0].index >= 0 else 0
        raise ConfigurationError(
            f"--create_topic={config.create_topic}: {topic} is there, with {has} partitions. Leave the option out, or "
            "give another --target_topic."
        )
    return Target(tuple(partitions), True, _deduplicates(connection, partitions))


def _named(topic: str, partitions: int) -> tuple[TopicPartition, ...]:
    return tuple(TopicPartition(topic, index) for index in range(partitions)) or (TopicPartition(topic),)


def _deduplicates(connection: PulsarConnection, partitions: list[TopicPartition]) -> bool | None:
    if connection.admin_url is None:
        return None
    admin = PulsarAdmin(connection)
    try:
        return all(admin.stats(each).get("deduplicationStatus") == "Enabled" for each in partitions)
    except BackupError as error:
        _log.debug("whether the broker deduplicates is not told: %s", error)
        return None


def created(config: RestoreConfig, target: Target) -> Target:
    """Create the target where it is missing. Raises SourceError and AccessError."""
    if target.exists:
        return target
    PulsarAdmin(config.connection).create_topic(config.target_topic, config.create_topic or 0)
    _log.info("created %s with %s partitions", config.target_topic, config.create_topic)
    partitions = list(target.partitions)
    return Target(target.partitions, True, _deduplicates(config.connection, partitions))


def unkept(config: RestoreConfig, target: Target) -> str | None:
    """Why the broker may delete what is restored before anybody has read it; None where it keeps it, or is not asked.

    Without a subscription and without retention, data goes when its ledger is full.
    """
    if config.connection.admin_url is None:
        return None
    admin = PulsarAdmin(config.connection)
    try:
        if all(admin.retention(config.target_topic)) or all(
            admin.subscriptions(each.name) for each in target.partitions
        ):
            return None
    except BackupError as error:
        _log.debug("whether the broker keeps what is restored is not told: %s", error)
        return None
    return (
        f"{config.target_topic} has no subscription, and its namespace has no retention: the broker deletes what is "
        "restored, perhaps before anybody has read it. Create the subscriptions of its readers first, or set retention."
    )


def check_is_another(config: RestoreConfig, plan: RestorePlan) -> None:
    """Refuse the topic that was backed up, unless that is allowed. Raises ConfigurationError."""
    if config.target_topic == plan.topic and not config.into_source:
        raise ConfigurationError(
            f"--target_topic={config.target_topic}: is the topic that was backed up, and would hold messages twice. "
            "Give another one; or --into_source if it is new, or empty, or if that is meant."
        )


def check_is_free(config: RestoreConfig, target: Target, restore: str) -> bool:
    """Refuse a topic that holds other messages, unless that is allowed; returns whether it holds some of ours.

    Raises SourceError.
    """
    found = [(each, *last_restore(config.connection, each)) for each in target.partitions]
    goes_on = any(last == restore for _, _, last in found)
    others = [(each, last) for each, holds, last in found if holds and last != restore]
    if others and not goes_on and not config.append:
        partition, last = others[0]
        of = "messages" if last is None else f"messages of another restore ({last})"
        raise SourceError(
            f"{partition.name}: holds {of} already. If a restore was broken off, start it again with the same options "
            "and over the same objects: a backup that goes on meanwhile needs --end or --window_end. Else restore into "
            "an empty topic; --append sends all that is chosen behind what is there."
        )
    return goes_on


def router_of(config: RestoreConfig, plan: RestorePlan, target: Target) -> Router:
    """How messages find their partitions. Raises ConfigurationError."""
    count = len(target.partitions)
    had = _partitions_of_source(config, plan)
    if config.routing == "partition" and plan.highest >= count:
        raise ConfigurationError(
            f"--routing=partition: {plan.topic} had a partition {plan.highest}, and {config.target_topic} has {count}. "
            "Give it as many, or leave the option out."
        )
    by_partition = config.routing == "partition" or (config.routing == "auto" and plan.highest < count and had == count)
    if config.routing == "auto" and not by_partition:
        _log.warning(
            "%s had %d partitions, as far as that is known, and %s has %d: messages are routed by their keys, those "
            "without one by their old partition. --routing=partition keeps the indexes.",
            plan.topic,
            had,
            config.target_topic,
            count,
        )
    return Router("partition" if by_partition else "key", count, config.key_hash)


def _partitions_of_source(config: RestoreConfig, plan: RestorePlan) -> int:
    """How many the topic has, if the broker still has it; else as many as the backup has messages of."""
    known = max(plan.highest + 1, plan.source_partitions or 1)
    try:
        return max(known, len(partitions_of(config.connection, plan.topic)))
    except BackupError:
        return known


def schemas_of(config: RestoreConfig, plan: RestorePlan) -> dict[int, TopicSchema]:
    """The schemas of the topic that was backed up: of run records, and what the broker has beside them.

    A stream leaves no run record, so a version may be known to the broker alone. Nothing is taken of a topic whose
    versions there are others than those recorded: it was deleted and created again, or this is another cluster.
    """
    found = _at_broker(config, plan.topic)
    if any(_differ(found[version], schema) for version, schema in plan.schemas.items() if version in found):
        return plan.schemas
    more = sorted(found.keys() - plan.schemas.keys())
    if more:
        _log.warning(
            "no run record of the backup holds %s of the schema of %s: taken as the broker has it now",
            f"version {', '.join(map(str, more))}",
            plan.topic,
        )
    return found | plan.schemas


def _at_broker(config: RestoreConfig, topic: str) -> dict[int, TopicSchema]:
    source = SchemaSource(
        connect(config.connection), PulsarAdmin(config.connection) if config.connection.admin_url else None
    )
    found: dict[int, TopicSchema] = {}
    try:
        while (schema := source.get(topic, len(found))) is not None:
            found[len(found)] = schema
    except BackupError as error:
        _log.debug("%s: schemas cannot be asked: %s", topic, error)
    return found


def _differ(one: TopicSchema, other: TopicSchema) -> bool:
    # Not the properties, which only admin REST tells.
    return (one.type, one.definition) != (other.type, other.definition)


def registered(
    config: RestoreConfig, schemas: Mapping[int, TopicSchema], target: Target, *, register: bool
) -> dict[int, TargetSchema]:
    """Give the target the schemas, the oldest first. Raises SourceError and AccessError."""
    done = {}
    for version, schema in sorted(schemas.items()):
        named = None
        if register and schema.type not in _NO_SCHEMA and schema.type in TYPE_NAMES.values():
            named = register_schema(config.connection, target.partitions[0], schema)
        done[version] = TargetSchema(schema, named)
    return done
