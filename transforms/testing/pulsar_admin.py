"""What tests ask of Pulsar's admin REST: tenants, namespaces, topics, schemas, compaction, trimming.

Only the standard library. Topics are full names, ``persistent://tenant/namespace/topic``; namespaces are
``tenant/namespace``. Paths are those of Pulsar's admin API v2.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

# A proxy from the environment would be asked to reach 127.0.0.1 of its own machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AdminError(RuntimeError):
    """The admin REST refused; ``status`` is the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class PulsarAdmin:
    """Admin REST of one cluster, optionally with a role's token."""

    def __init__(self, admin_url: str, token: str | None = None, *, timeout: float = 30) -> None:
        self._url = admin_url.rstrip("/")
        self._token = token
        self._timeout = timeout

    def request(self, method: str, path: str, body: object = None) -> Any:
        """One request below ``/admin/v2/``; returns the JSON answer, or None where there is none.

        Raises AdminError for an HTTP error, OSError when nobody answers.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - the URL is of our own server
            f"{self._url}/admin/v2/{path}", data=data, headers=headers, method=method
        )
        try:
            with _OPENER.open(request, timeout=self._timeout) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace")
            raise AdminError(error.code, f"{method} {path}: HTTP {error.code}: {reason}") from error
        return json.loads(text) if text else None

    def healthy(self) -> bool:
        """Whether the broker itself can produce and consume."""
        try:
            with _OPENER.open(self._health_request(), timeout=self._timeout) as answer:
                return bool(answer.read() == b"ok")
        except OSError:
            return False

    def _health_request(self) -> urllib.request.Request:
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        return urllib.request.Request(f"{self._url}/admin/v2/brokers/health", headers=headers)  # noqa: S310

    def create_tenant(self, tenant: str) -> None:
        """Create a tenant that may use every cluster; it is no error if it exists."""
        clusters = self.request("GET", "clusters")
        self._create(f"tenants/{quote(tenant)}", {"adminRoles": [], "allowedClusters": clusters})

    def create_namespace(
        self,
        namespace: str,
        *,
        retention_minutes: int = -1,
        retention_megabytes: int = -1,
        ttl_seconds: int | None = None,
    ) -> None:
        """Create a namespace. Retention -1 keeps everything; 0 lets go what no subscription keeps."""
        self._create(f"namespaces/{namespace}", {})
        self.set_retention(namespace, minutes=retention_minutes, megabytes=retention_megabytes)
        if ttl_seconds is not None:
            self.request("POST", f"namespaces/{namespace}/messageTTL", ttl_seconds)

    def set_retention(self, namespace: str, *, minutes: int, megabytes: int) -> None:
        """Set how long acknowledged messages stay. Takes effect on loaded topics after a moment."""
        policy = {"retentionTimeInMinutes": minutes, "retentionSizeInMB": megabytes}
        self.request("POST", f"namespaces/{namespace}/retention", policy)

    def grant(self, namespace: str, role: str, actions: Sequence[str]) -> None:
        """Allow ``role`` to ``consume`` and/or ``produce`` in the namespace."""
        self.request("POST", f"namespaces/{namespace}/permissions/{quote(role)}", list(actions))

    def forbid_new_subscriptions(self, namespace: str) -> None:
        """From now on a subscription exists only if it is created here, as TDMQ can be set."""
        self.request(
            "POST", f"namespaces/{namespace}/autoSubscriptionCreation", {"allowAutoSubscriptionCreation": False}
        )

    def forbid_new_topics(self, namespace: str) -> None:
        """From now on clients cannot create topics by naming them."""
        self.request("POST", f"namespaces/{namespace}/autoTopicCreation", {"allowAutoTopicCreation": False})

    def topics(self, namespace: str) -> set[str]:
        """List the persistent topics of the namespace, each partition by its own name."""
        return set(self.request("GET", f"persistent/{namespace}"))

    def create_topic(self, topic: str) -> None:
        """Create a topic without partitions."""
        self._create(topic_path(topic), None)

    def create_partitioned_topic(self, topic: str, partitions: int) -> None:
        """Create a topic with partitions, and all of them."""
        self._create(f"{topic_path(topic)}/partitions", partitions)

    def add_partitions(self, topic: str, partitions: int) -> None:
        """Raise the number of partitions to ``partitions``."""
        self.request("POST", f"{topic_path(topic)}/partitions", partitions)

    def delete_topic(self, topic: str, *, partitioned: bool = False) -> None:
        """Delete a topic with its messages and its schema, whoever is connected."""
        self.request("DELETE", f"{topic_path(topic)}{'/partitions' if partitioned else ''}?force=true")

    def create_subscription(self, topic: str, subscription: str, *, at: str = "earliest") -> None:
        """Create a durable subscription at ``earliest`` or ``latest``."""
        ledger = -1 if at == "earliest" else 2**63 - 1
        body = {"ledgerId": ledger, "entryId": ledger, "partitionIndex": -1}
        self.request("PUT", f"{topic_path(topic)}/subscription/{quote(subscription, safe='')}", body)

    def delete_subscription(self, topic: str, subscription: str) -> None:
        """Delete a durable subscription that no consumer holds."""
        self.request("DELETE", f"{topic_path(topic)}/subscription/{quote(subscription, safe='')}")

    def expire(self, topic: str, seconds: int) -> None:
        """Expire what is older than so many seconds, for subscriptions and readers, as the message TTL does."""
        self.request("POST", f"{topic_path(topic)}/all_subscription/expireMessages/{seconds}")

    def stats(self, topic: str) -> dict[str, Any]:
        """Stats with the precise backlog of each subscription."""
        result: dict[str, Any] = self.request("GET", f"{topic_path(topic)}/stats?getPreciseBacklog=true")
        return result

    def internal_stats(self, topic: str) -> dict[str, Any]:
        """Ledgers and cursors."""
        result: dict[str, Any] = self.request("GET", f"{topic_path(topic)}/internalStats")
        return result

    def ledgers(self, topic: str) -> list[int]:
        """Ids of the ledgers that still exist, oldest first, the open one last."""
        return [each["ledgerId"] for each in self.internal_stats(topic)["ledgers"]]

    def unload(self, topic: str, *, at_once: bool = False) -> None:
        """Close the topic at the broker; the next use loads it again and opens a new ledger.

        Unless ``at_once``, waits before for cursors that are between two ledgers: a broker that closes the topic then
        forgets what was acknowledged meanwhile [measured on Pulsar 4.0.8: one in 40 acknowledgements right before].
        """
        while not at_once and self._moves_a_cursor(topic):
            time.sleep(0.01)
        self.request("PUT", f"{topic_path(topic)}/unload")

    def _moves_a_cursor(self, topic: str) -> bool:
        cursors = self.internal_stats(topic)["cursors"]
        return any(cursor["state"] == "SwitchingLedger" for cursor in cursors.values())

    def terminate(self, topic: str) -> None:
        """End the topic: nothing more can be produced to it."""
        self.request("POST", f"{topic_path(topic)}/terminate")

    def delete_old_ledgers(self, topic: str, *, timeout: float = 30) -> None:
        """Begin a new ledger, and wait until the broker has deleted all older ones.

        Only what neither retention nor a subscription keeps is deleted: with either, this raises TimeoutError.
        """
        before = set(self.ledgers(topic))
        self.unload(topic)
        deadline = time.monotonic() + timeout
        refusal: AdminError | None = None
        while True:
            try:
                if not before & set(self.ledgers(topic)):
                    return
                self.request("POST", f"{topic_path(topic)}/trim")
            except AdminError as error:
                # A topic that is being closed and loaded again may refuse for a moment.
                refusal = error
            if time.monotonic() > deadline:
                stats = self.internal_stats(topic)
                acknowledged = {name: cursor["markDeletePosition"] for name, cursor in stats["cursors"].items()}
                raise TimeoutError(
                    f"Ledgers of {topic} are kept by retention or by a subscription: {sorted(before)}. There are "
                    f"{stats['ledgers']}; acknowledged is up to {acknowledged}; the last entry is "
                    f"{stats['lastConfirmedEntry']}."
                ) from refusal
            time.sleep(0.05)

    def compact(self, topic: str, *, timeout: float = 60) -> None:
        """Compact the topic, wait until it is done, and raise AdminError if it failed."""
        path = f"{topic_path(topic)}/compaction"
        self.request("PUT", path)
        deadline = time.monotonic() + timeout
        while (answer := self.request("GET", path))["status"] == "RUNNING":
            if time.monotonic() > deadline:
                raise TimeoutError(f"Compaction of {topic} took more than {timeout:.0f} s.")
            time.sleep(0.05)
        if answer["status"] != "SUCCESS":
            raise AdminError(200, f"Compaction of {topic} ended with {answer}.")

    def upload_schema(self, topic: str, kind: str, schema: object, properties: dict[str, str] | None = None) -> int:
        """Register a schema (``AVRO``, ``JSON``, ``PROTOBUF``, ``STRING`` ...) and return its version.

        ``schema`` is the definition: a JSON value, or text such as ``""`` for a primitive type.
        """
        text = schema if isinstance(schema, str) else json.dumps(schema)
        path = "schemas/" + topic_path(topic).split("/", 1)[1] + "/schema"
        self.request("POST", path, {"type": kind, "schema": text, "properties": properties or {}})
        return int(self.request("GET", path)["version"])

    def _create(self, path: str, body: object) -> None:
        try:
            self.request("PUT", path, body)
        except AdminError as error:
            if error.status != 409:  # noqa: PLR2004 - it exists
                raise


def topic_path(topic: str) -> str:
    """Turn a topic's full name into the path of its resource."""
    domain, _, rest = topic.partition("://")
    tenant, namespace, name = rest.split("/", 2)
    return f"{domain}/{tenant}/{namespace}/{quote(name, safe='')}"
