"""What may be chosen for a field of a rule: fixed words, and what the cluster has, where it may be asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.rules.arguments import in_names_of_fields
from transforms.cos.destination import REGIONS
from transforms.errors import AccessError, BackupError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.patterns import TopicPattern

_CODECS = {"avro": ("null", "deflate", "snappy", "zstandard"), "jsonl": ("none", "gzip", "zstd")}
_WORDS: dict[str, tuple[str, ...]] = {
    "granularity": ("5m", "10m", "15m"),
    "start_point": ("earliest", "latest"),
    "end_point": ("now",),
    "window_by": ("publish_time", "event_time"),
    "on_trimmed": ("fail", "continue"),
    "format": ("avro", "jsonl"),
    "payload": ("bytes", "json", "value"),
    "manifest": ("on", "off"),
    "enabled": ("yes", "no"),
    "schedule": ("every 15m", "0 * * * *", "continuous"),
    "runner": ("DirectRunner", "FlinkRunner"),
    "acl": ("default", "private", "public-read"),
    "server_side_encryption": ("AES256", "kms"),
}


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from."""

    values: tuple[str, ...] = ()
    whole: bool = False
    """Whether the cluster has nothing else; otherwise these are the usual ones, or those that are there already."""
    why: str | None = None
    """Why the cluster has not told them."""


def choices(field: str, values: Mapping[str, Any]) -> Choices:
    """What there is for a field, where others have these values; asks the cluster. Raises nothing."""
    if field == "region":
        return Choices(tuple(sorted(REGIONS)))
    if field == "codec":
        return Choices(_CODECS.get(str(values.get("format", "avro")), ()))
    if field in _WORDS:
        return Choices(_WORDS[field])
    ask = _OF_CLUSTER.get(field)
    if ask is None or not values.get("address"):
        return Choices()
    try:
        return ask(connection_of(values), values)
    except AccessError:
        return Choices(why="the role may not list them")
    except BackupError as error:
        return Choices(why=in_names_of_fields(str(error).splitlines()[0]))


def connection_of(values: Mapping[str, Any]) -> PulsarConnection:
    """How the cluster is reached by a rule with these values, of which ``address`` is there."""
    return PulsarConnection(
        service_url=str(values["address"]),
        admin_url=values.get("admin_url"),
        token=values.get("role_key"),
        tls_trust_certs=values.get("tls_trust_certs"),
        tls_cert=values.get("tls_cert"),
        tls_key=values.get("tls_key"),
        listener_name=values.get("listener_name"),
    )


def _tenants(connection: PulsarConnection, values: Mapping[str, Any]) -> Choices:
    if connection.admin_url is None:
        return Choices(why="admin_url tells them")
    return Choices(tuple(PulsarAdmin(connection).tenants()), whole=True)


def _namespaces(connection: PulsarConnection, values: Mapping[str, Any]) -> Choices:
    if connection.admin_url is None:
        return Choices(why="admin_url tells them")
    found = PulsarAdmin(connection).namespaces(str(values.get("cluster")))
    return Choices(why=f"there is no tenant {values.get('cluster')}") if found is None else Choices(tuple(found), True)


def _topics(connection: PulsarConnection, values: Mapping[str, Any]) -> Choices:
    namespace = f"{values.get('cluster')}/{values.get('namespace')}"
    found = TopicPattern(namespace, ".*").matches(connection)
    return Choices(tuple(each.rpartition("/")[2] for each in found), whole=True)


def _subscriptions(connection: PulsarConnection, values: Mapping[str, Any]) -> Choices:
    if connection.admin_url is None:
        return Choices(why="admin_url tells them")
    topic = values.get("topic") or ()
    first = topic if isinstance(topic, str) else next(iter(topic), None)
    if first is None:
        return Choices()
    name = f"persistent://{values.get('cluster')}/{values.get('namespace')}/{first}"
    return Choices(tuple(PulsarAdmin(connection).subscriptions(name)))


def is_one_of(text: str, found: Choices) -> bool:
    """Whether a topic, or one of its partitions, is among those that there are."""
    return text in found.values or re.sub(r"-partition-\d+$", "", text) in found.values


_OF_CLUSTER: dict[str, Callable[[PulsarConnection, Mapping[str, Any]], Choices]] = {
    "cluster": _tenants,
    "namespace": _namespaces,
    "topic": _topics,
    "subscription": _subscriptions,
}
