"""The admin REST interface: optional, for what the binary protocol cannot tell or do."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from transforms.errors import AccessError, SourceError, TopicNotFoundError
from transforms.pulsar.connection import PulsarConnection, read_token, token_fault
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.reach import SilenceError, Target, Tls, explain_unreachable, look_up, root_of

#: Seconds for connecting, and between two bytes of an answer.
_TIMEOUT = 5.0
_LONGEST_REASON = 200
_FORBIDDEN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class PulsarAdmin:
    """Calls on the connection's ``admin_url``, or with ``for_lookup`` on its ``service_url``. Thread-safe.

    Raises SourceError where nobody answers as admin REST does, AccessError for what is refused; each with a sentence.
    """

    def __init__(self, connection: PulsarConnection, *, for_lookup: bool = False) -> None:
        self._connection = connection
        self._option = "--service_url" if for_lookup else "--admin_url"
        self._session = _Session()
        self._url = (connection.service_url if for_lookup else connection.admin_url or "").rstrip("/")

    def check(self, topic: str) -> None:
        """Ask something that every role may ask, to see whether the address and the login are right."""
        parts = urlsplit(self._url)
        if not requests.utils.get_environ_proxies(self._url):
            try:
                look_up(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), _TIMEOUT)
            except OSError as error:
                raise explain_unreachable(error, self._target(), _TIMEOUT) from None
        self._get(_partitions_path(topic))

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has: 0 for one without. Raises TopicNotFoundError; creates nothing."""
        answer = self._call("GET", _partitions_path(topic), fine=(HTTPStatus.NOT_FOUND,))
        found = self._read(answer)
        if found is None:
            raise no_such_topic(topic, _reason(answer))
        return int(found.get("partitions") or 0)

    def topics(self, namespace: str) -> set[str]:
        """The persistent topics of ``tenant/namespace`` by their full names, each partition by its own."""
        return set(self._get(f"admin/v2/persistent/{_quoted(namespace)}") or ())

    def check_login(self) -> None:
        """See whether the address and the login are right, without a topic: what a role may do is not asked."""
        self._call("GET", "admin/v2/clusters", fine=(HTTPStatus.NOT_FOUND,))

    def tenants(self) -> list[str]:
        """The tenants; who runs the cluster may have kept them for itself, which is AccessError."""
        return sorted(self._get("admin/v2/tenants") or ())

    def namespaces(self, tenant: str) -> list[str] | None:
        """The namespaces of a tenant, without its name; None where there is no such tenant."""
        found = self._get(f"admin/v2/namespaces/{quote(tenant, safe='')}")
        return None if found is None else sorted(each.partition("/")[2] for each in found)

    def subscriptions(self, topic: str) -> list[str]:
        """The durable subscriptions of a topic or of all its partitions; none for a topic that is not there."""
        return sorted(self._get(f"{_path(TopicPartition.parse(topic))}/subscriptions") or ())

    def message_ttl(self, topic: str) -> int:
        """Seconds after which messages of a topic expire, acknowledged or not; 0 for never."""
        return int(self._get(f"{_path(TopicPartition(topic))}/messageTTL?applied=true") or 0)

    def retention(self, topic: str) -> tuple[int, int]:
        """How long a topic keeps what is acknowledged: minutes, and megabytes; -1 is without limit."""
        found = self._get(f"{_path(TopicPartition(topic))}/retention?applied=true") or {}
        return int(found.get("retentionTimeInMinutes") or 0), int(found.get("retentionSizeInMB") or 0)

    def create_subscription(self, partition: TopicPartition, name: str, start: Position) -> bool:
        """Create a durable subscription whose first message is the entry of ``start``.

        False where there is one already, which is left alone.
        """
        # Measured on 4.0.8: the broker takes the id for the first one that is not acknowledged.
        first = {"ledgerId": start.ledger, "entryId": start.entry, "partitionIndex": partition.index}
        path = f"{_path(partition)}/subscription/{quote(name, safe='')}"
        return bool(self._call("PUT", path, json=first, fine=(HTTPStatus.CONFLICT,)).ok)

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic, with 0 partitions one without any; that it is there already is no error."""
        path, fine = _path(TopicPartition(topic)), (HTTPStatus.CONFLICT,)
        if partitions:
            self._call("PUT", f"{path}/partitions", json=partitions, fine=fine)
        else:
            self._call("PUT", path, fine=fine)

    def internal_stats(self, partition: TopicPartition) -> dict[str, Any]:
        """Ledgers and cursors of a partition, as the broker tells them; empty where it does not know the topic."""
        return self._get(f"{_path(partition)}/internalStats") or {}

    def stats(self, partition: TopicPartition) -> dict[str, Any]:
        """Counters of a partition since its broker loaded it; empty where it does not know the topic."""
        return self._get(f"{_path(partition)}/stats") or {}

    def schema_properties(self, topic: str, version: int) -> dict[str, str]:
        """The properties of a version of a topic's schema; empty where there is no such version."""
        found = self._get(f"admin/v2/schemas/{_quoted(topic.partition('://')[2])}/schema/{version}") or {}
        return dict(found.get("properties") or {})

    def broker_of(self, partition: TopicPartition, listener_name: str | None = None) -> str:
        """The address of the broker that owns a partition, in the binary protocol."""
        listener = f"?listenerName={quote(listener_name, safe='')}" if listener_name else ""
        path = f"lookup/v2/topic/{_quoted(partition.name.replace('://', '/', 1))}{listener}"
        answer = self._call("GET", path, fine=(HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR))
        if not answer.ok and listener and "listener" in _reason(answer):
            raise no_such_listener(partition.name, _reason(answer))
        found = self._read(answer) or {}
        address = found.get("brokerUrlTls" if self._url.startswith("https") else "brokerUrl")
        if not address:
            raise SourceError(
                f"{partition.name}: {self._target().where} tells no broker for it. Check {self._option}, and "
                "--listener_name if the cluster has listeners."
            )
        return str(address)

    def _get(self, path: str) -> Any:
        return self._read(self._call("GET", path, fine=(HTTPStatus.NOT_FOUND,)))

    def _read(self, answer: requests.Response) -> Any:
        if "json" not in answer.headers.get("Content-Type", "json"):
            raise self._not_rest()
        if answer.status_code == HTTPStatus.NOT_FOUND or not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise self._not_rest() from None

    def _call(self, method: str, path: str, *, fine: tuple[int, ...], **keywords: Any) -> requests.Response:
        connection = self._connection
        token = read_token(connection.token) if connection.token else None
        cert = (connection.tls_cert, connection.tls_key) if connection.tls_cert and connection.tls_key else None
        if self._url.startswith("https"):
            Tls(connection.tls_trust_certs, connection.tls_cert, connection.tls_key).context()  # or a better sentence
        try:
            answer = self._session.request(
                method,
                f"{self._url}/{path}",
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=_TIMEOUT,
                verify=connection.tls_trust_certs or True,
                cert=cert,
                **keywords,
            )
        except requests.ReadTimeout:
            raise explain_unreachable(SilenceError(), self._target(), _TIMEOUT) from None
        except requests.ConnectTimeout:
            raise explain_unreachable(TimeoutError(), self._target(), _TIMEOUT) from None
        except requests.RequestException as error:
            raise explain_unreachable(root_of(error), self._target(), _TIMEOUT) from None
        if answer.status_code == HTTPStatus.FORBIDDEN and "json" not in answer.headers.get("Content-Type", ""):
            raise self._not_rest()
        if answer.status_code in _FORBIDDEN:
            raise self._refused(answer, token)
        if not answer.ok and answer.status_code not in fine:
            raise SourceError(
                f"{self._target().where} answered {answer.status_code} {_reason(answer)!r} to {method} "
                f"{path.partition('?')[0]}. Check {self._option}, and the log of the broker."
            )
        return answer

    def _refused(self, answer: requests.Response, token: str | None) -> AccessError:
        said, where = f"({answer.status_code}, {_reason(answer)!r})", self._target().where
        if _reason(answer).startswith("Unauthorized to"):
            return AccessError(
                f"The role of --token may not do that at {where}, the {self._option} {said}. Grant the role consume "
                "permission on the namespace; check tenant and namespace of --topic."
            )
        if token is None:
            return AccessError(f"{where}, the {self._option}, wants a token {said}. Give the role's key in --token.")
        return AccessError(
            f"{where}, the {self._option}, refuses the token {said}. {token_fault(token)} Copy the role's key from the "
            "console again."
        )

    def _not_rest(self) -> SourceError:
        return explain_unreachable(ConnectionError(), self._target(), _TIMEOUT)

    def _target(self) -> Target:
        parts = urlsplit(self._url)
        secure = parts.scheme == "https"
        where = f"{parts.hostname}:{parts.port or (443 if secure else 80)}"
        return Target(self._option, where, secure, is_rest=True, has_certificate=bool(self._connection.tls_cert))


class _Session(requests.Session):  # type: ignore[misc]
    def should_strip_auth(self, old_url: str, new_url: str) -> bool:
        """Whether a redirect loses the token: brokers send to the one that owns the topic, which wants it too."""
        return old_url.startswith("https") and not new_url.startswith("https")


def no_such_listener(name: str, said: str) -> SourceError:
    """What is said where the broker does not know ``--listener_name``; ``said`` are its words."""
    return SourceError(
        f"{name}: the broker does not know the listener that --listener_name names (it says {said!r}). Copy the name "
        "from the console, or leave the option out."
    )


def no_such_topic(name: str, said: str) -> TopicNotFoundError:
    """What is said of a topic that is not there; ``said`` are the broker's words."""
    told = f" (the broker says {said!r})" if said else ""
    if said.startswith(("Namespace", "Tenant")):
        return TopicNotFoundError(
            f"{name}: no such tenant or namespace{told}. Check the first two parts of --topic in the console."
        )
    return TopicNotFoundError(
        f"{name}: no such topic, and a backup creates none{told}. Check its name in the console or with pulsar-admin "
        "topics list."
    )


def _reason(answer: requests.Response) -> str:
    """What the broker says of a refusal, on one line; the HTTP reason where it says nothing."""
    try:
        said = str(answer.json()["reason"])
    except (ValueError, KeyError, TypeError):
        said = answer.reason or "no reason is told"
    # Of what went wrong inside, it tells a Java stack trace behind the message.
    message = re.search(r"^Message: (.*)$", said, re.MULTILINE)
    return (message[1] if message else said.strip().partition("\n")[0])[:_LONGEST_REASON]


def _partitions_path(topic: str) -> str:
    return f"{_path(TopicPartition(topic))}/partitions?checkAllowAutoCreation=false"


def _path(partition: TopicPartition) -> str:
    return "admin/v2/" + _quoted(partition.name.replace("://", "/", 1))


def _quoted(path: str) -> str:
    return "/".join(quote(part, safe="") for part in path.split("/", 3))
