"""The admin REST interface: optional, for what the binary protocol cannot tell or do."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import requests

from transforms.errors import AccessError, SourceError
from transforms.pulsar.connection import PulsarConnection, read_token
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

_TIMEOUT = 10
_NOT_FOUND = 404
_CONFLICT = 409


class PulsarAdmin:
    """Calls on ``url``, by default the connection's ``admin_url``. Thread-safe."""

    def __init__(self, connection: PulsarConnection, url: str | None = None) -> None:
        self._connection = connection
        self._url = (url or connection.admin_url or "").rstrip("/")

    def topics(self, namespace: str) -> set[str]:
        """Full names of the topics of ``tenant/namespace``, partitioned ones and single partitions too."""
        path = f"admin/v2/persistent/{_quoted(namespace)}"
        return set(self._get(path) or []) | set(self._get(f"{path}/partitioned") or [])

    def subscriptions(self, partition: TopicPartition) -> set[str]:
        """Names of the subscriptions of a partition; none where it was never loaded."""
        return set(self._get(f"{_path(partition)}/subscriptions") or [])

    def create_subscription(self, partition: TopicPartition, name: str, start: Position) -> None:
        """Create a durable subscription whose first message is the entry of ``start``. Existing ones are left alone."""
        # Measured on 4.0.8: the broker takes the id for the first one that is not acknowledged.
        first = {"ledgerId": start.ledger, "entryId": start.entry, "partitionIndex": partition.index}
        self._call("PUT", f"{_path(partition)}/subscription/{quote(name, safe='')}", json=first, fine=(_CONFLICT,))

    def internal_stats(self, partition: TopicPartition) -> dict[str, Any]:
        """Ledgers and cursors of a partition, as the broker tells them; empty where it does not know the topic."""
        return self._get(f"{_path(partition)}/internalStats") or {}

    def schema_properties(self, topic: str, version: int) -> dict[str, str]:
        """The properties of a version of a topic's schema; empty where there is no such version."""
        found = self._get(f"admin/v2/schemas/{_quoted(topic.partition('://')[2])}/schema/{version}") or {}
        return dict(found.get("properties") or {})

    def broker_of(self, partition: TopicPartition, listener_name: str | None = None) -> str:
        """The address of the broker that owns a partition, in the binary protocol."""
        listener = f"?listenerName={quote(listener_name, safe='')}" if listener_name else ""
        found = self._get(f"lookup/v2/topic/{_quoted(partition.name.replace('://', '/', 1))}{listener}") or {}
        address = found.get("brokerUrlTls" if self._url.startswith("https") else "brokerUrl")
        if not address:
            raise SourceError(f"{self._url}: tells no broker for {partition.name}. Check --service_url.")
        return str(address)

    def _get(self, path: str) -> Any:
        answer = self._call("GET", path, fine=(_NOT_FOUND,))
        return None if answer.status_code == _NOT_FOUND else answer.json()

    def _call(self, method: str, path: str, *, fine: tuple[int, ...], **keywords: Any) -> requests.Response:
        connection = self._connection
        headers = {"Authorization": f"Bearer {read_token(connection.token)}"} if connection.token else {}
        cert = (connection.tls_cert, connection.tls_key) if connection.tls_cert and connection.tls_key else None
        url = f"{self._url}/{path}"
        try:
            answer = requests.request(
                method,
                url,
                headers=headers,
                timeout=_TIMEOUT,
                verify=connection.tls_trust_certs or True,
                cert=cert,
                **keywords,
            )
        except requests.RequestException as error:
            raise SourceError(
                f"{url}: no answer ({type(error).__name__}). Check --admin_url; without it fewer checks are made."
            ) from None
        if answer.status_code in (401, 403):
            raise AccessError(f"{url}: refused with {answer.status_code}. Check --token and what its role may do.")
        if not answer.ok and answer.status_code not in fine:
            raise SourceError(f"{url}: answered {answer.status_code} {answer.reason}.")
        return answer


def _path(partition: TopicPartition) -> str:
    return "admin/v2/" + _quoted(partition.name.replace("://", "/", 1))


def _quoted(path: str) -> str:
    return "/".join(quote(part, safe="") for part in path.split("/", 3))
