"""A source that lets nobody in, or does not hold what is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pulsar

from tests.pipelines.wrong_inputs import Case, World

_TLS = "--service_url=pulsar+ssl://{tls}"
_SECURED = "--service_url=pulsar://{secured}"
_TRUST = "--tls_trust_certs={ca}"


@contextlib.contextmanager
def _held(made: World) -> Iterator[None]:
    consumer = made.client.subscribe(made.filled("persistent://{ns}/orders"), "held")
    yield
    consumer.close()


@contextlib.contextmanager
def _shared(made: World) -> Iterator[None]:
    consumer = made.client.subscribe(
        made.filled("persistent://{ns}/orders"),
        "shared",
        pulsar.ConsumerType.Shared,
        initial_position=pulsar.InitialPosition.Earliest,
    )
    yield
    consumer.close()


@contextlib.contextmanager
def _with_holes(made: World) -> Iterator[None]:
    with _shared(made):
        pass
    consumer = made.client.subscribe(made.filled("persistent://{ns}/orders"), "shared", pulsar.ConsumerType.Shared)
    consumer.receive(10_000)
    consumer.acknowledge(consumer.receive(10_000))
    consumer.close()
    yield


def _token(name: str) -> dict[str, str]:
    return {"ROLE_KEY": name}


CASES = [
    Case(
        "neither token nor certificate",
        3,
        [_TLS, _TRUST],
        ["The broker at {tls} wants a token ('Failed to authenticate'). Give the role's key in --token."],
    ),
    Case(
        "a certificate of a role without rights",
        3,
        [_TLS, _TRUST, "--tls_cert={other_cert}", "--tls_key={other_key}"],
        [
            "persistent://{ns}/orders: the role of --token may not consume there (the broker says 'Client is not authorized to Get Partition Metadata'). Grant the role consume permission on the namespace; a namespace that does not exist is refused in the same words."
        ],
    ),
    Case(
        "no token",
        3,
        [_SECURED],
        ["The broker at {secured} wants a token ('Failed to authenticate'). Give the role's key in --token."],
    ),
    Case(
        "a token that is none",
        3,
        [_SECURED, "--token=env:ROLE_KEY"],
        [
            "The broker at {secured} refuses the token ('Failed to authenticate'). It has not the form of a role's key: three parts with dots between them. Copy the role's key from the console again."
        ],
        environment=_token("hidden"),
    ),
    Case(
        "a token that is cut",
        3,
        [_SECURED, "--token=env:ROLE_KEY"],
        [
            "The broker at {secured} refuses the token ('Failed to authenticate'). It is not whole, or belongs to another cluster or to a role that is gone. Copy the role's key from the console again."
        ],
        environment=_token("{stranger}x"),
    ),
    Case(
        "a token that has expired",
        3,
        [_SECURED, "--token=env:ROLE_KEY"],
        [
            "The broker at {secured} refuses the token ('Failed to authenticate'). It expired at …. Copy the role's key from the console again."
        ],
        environment=_token("{expired}"),
        process=True,
    ),
    Case(
        "a role without permission",
        3,
        [_SECURED, "--token=env:ROLE_KEY"],
        [
            "persistent://{ns}/orders: the role of --token may not consume there (the broker says 'Client is not authorized to Get Partition Metadata'). Grant the role consume permission on the namespace; a namespace that does not exist is refused in the same words."
        ],
        environment=_token("{stranger}"),
    ),
    Case(
        "a namespace that the role does not know",
        3,
        [_SECURED, "--token=env:ROLE_KEY", "--topic=test/nowhere/orders"],
        [
            "persistent://test/nowhere/orders: the role of --token may not consume there (the broker says 'Client is not authorized to Get Partition Metadata'). Grant the role consume permission on the namespace; a namespace that does not exist is refused in the same words."
        ],
        environment=_token("{reader}"),
    ),
    Case(
        "no token at http://",
        3,
        ["--service_url=http://{secured_admin}"],
        ["{secured_admin}, the --service_url, wants a token (401, 'Unauthorized'). Give the role's key in --token."],
    ),
    Case(
        "an expired token at http://",
        3,
        ["--service_url=http://{secured_admin}", "--token=env:ROLE_KEY"],
        [
            "{secured_admin}, the --service_url, refuses the token (401, 'Unauthorized'). It expired at …. Copy the role's key from the console again."
        ],
        environment=_token("{expired}"),
    ),
    Case(
        "a tenant that does not exist",
        4,
        ["--topic=nobody/{ns}"],
        [
            "persistent://nobody/{ns}: no such tenant or namespace (the broker says 'Namespace not found'). Check the first two parts of --topic in the console."
        ],
    ),
    Case(
        "a namespace that does not exist",
        4,
        ["--topic=test/nowhere/orders"],
        [
            "persistent://test/nowhere/orders: no such tenant or namespace (the broker says 'Namespace not found'). Check the first two parts of --topic in the console."
        ],
    ),
    Case(
        "a topic that does not exist",
        4,
        ["--topic={ns}/ordres"],
        [
            "persistent://{ns}/ordres: no such topic, and a backup creates none. Check its name in the console or with pulsar-admin topics list."
        ],
        process=True,
    ),
    Case(
        "a topic that does not exist, at http://",
        4,
        ["--service_url=http://{admin}", "--topic={ns}/ordres"],
        [
            "persistent://{ns}/ordres: no such topic, and a backup creates none (the broker says 'Topic persistent://{ns}/ordres not found'). Check its name in the console or with pulsar-admin topics list."
        ],
    ),
    Case(
        "two topics that do not exist",
        4,
        ["--topic={ns}/ordres", "--topic={ns}/customres"],
        [
            "persistent://{ns}/ordres: no such topic, and a backup creates none. Check its name in the console or with pulsar-admin topics list.",
            "persistent://{ns}/customres: no such topic, and a backup creates none. Check its name in the console or with pulsar-admin topics list.",
        ],
    ),
    Case(
        "a partition that does not exist",
        4,
        ["--topic={ns}/parts-partition-7"],
        [
            "persistent://{ns}/parts-partition-7: no such topic, and a backup creates none (the broker says 'Topic persistent://{ns}/parts-partition-7 does not exist'). Check its name in the console or with pulsar-admin topics list."
        ],
    ),
    Case(
        "an id in one of several partitions",
        2,
        ["--topic={ns}/parts", "--start=1:2"],
        [
            "--start and --end as a message id name a place in one partition, and there are 3 (persistent://{ns}/parts-partition-0, …). Give one partition as --topic, or a date-time."
        ],
    ),
    Case(
        "a listener that is none",
        4,
        ["--listener_name=outside"],
        [
            "persistent://{ns}/orders: the broker does not know the listener that --listener_name names (it says 'the broker do not have outside listener'). Copy the name from the console, or leave the option out."
        ],
    ),
    Case(
        "a listener that is none, at http://",
        4,
        ["--service_url=http://{admin}", "--listener_name=outside"],
        [
            "persistent://{ns}/orders: the broker does not know the listener that --listener_name names (it says 'the broker do not have outside listener'). Copy the name from the console, or leave the option out."
        ],
    ),
    Case(
        "admin REST where nothing listens",
        4,
        ["--admin_url=http://{closed}"],
        [
            "Nothing listens at {closed}: the connection was refused. Check host and port of --admin_url, and that the broker runs."
        ],
    ),
    Case(
        "admin REST that says nothing",
        4,
        ["--admin_url=http://{silent}"],
        [
            "{silent} takes the connection, but did not answer within 5 s. Check the port of --admin_url, which may be of another service, and that the broker is well."
        ],
    ),
    Case(
        "admin REST of another service",
        4,
        ["--admin_url=http://{cos}"],
        [
            "{cos} does not answer as Pulsar's admin REST does. Check the port of --admin_url (8080, or 8443 with TLS, is usual; 6650 and 6651 are of the binary protocol)."
        ],
    ),
    Case(
        "admin REST at the broker's port",
        4,
        ["--admin_url=http://{broker}"],
        [
            "{broker} does not answer as Pulsar's admin REST does. Check the port of --admin_url (8080, or 8443 with TLS, is usual; 6650 and 6651 are of the binary protocol)."
        ],
    ),
    Case(
        "admin REST that wants a token",
        3,
        ["--admin_url=http://{secured_admin}"],
        ["{secured_admin}, the --admin_url, wants a token (401, 'Unauthorized'). Give the role's key in --token."],
    ),
    Case(
        "a subscription that may not be created",
        4,
        ["--topic={shut}/orders", "--subscription=backup"],
        [
            "persistent://{shut}/orders: there is no --subscription=backup, and the broker does not let it be created by subscribing. Create it in the console or with pulsar-admin topics create-subscription, or give another one."
        ],
    ),
    Case(
        "a subscription that another one holds",
        4,
        ["--subscription=held"],
        [
            "persistent://{ns}/orders: another consumer holds --subscription=held (the broker says 'Exclusive consumer is already connected'). Stop that one, or give a subscription of the backup's own."
        ],
        _held,
    ),
    Case(
        "a subscription that others share",
        4,
        ["--subscription=shared"],
        [
            "persistent://{ns}/orders: another consumer holds --subscription=shared (the broker says \"Subscription is of different type. Active subscription type of 'Shared' is different than the connecting consumer's type 'Exclusive'.\"). Stop that one, or give a subscription of the backup's own."
        ],
        _shared,
    ),
    Case(
        "a subscription with holes",
        4,
        ["--subscription=shared", "--admin_url=http://{admin}"],
        [
            "persistent://{ns}/orders: --subscription=shared has single messages acknowledged out of order, as the consumers of a shared subscription do it ([…]). It serves an application: give a subscription of the backup's own."
        ],
        _with_holes,
    ),
    Case(
        "both ends at once",
        4,
        ["--topic={ns}/ordres", "--destination=cos://other-1250000000/backup/"],
        [
            "persistent://{ns}/ordres: no such topic, and a backup creates none. Check its name in the console or with pulsar-admin topics list.",
            "There is no bucket other-1250000000 (region ap-guangzhou). Check the name, which is NAME-APPID, and --cos_region: a bucket is found only in its own region. (GetBucket on cos://other-1250000000/backup/_spool/: 404 NoSuchBucket (The specified bucket does not exist., request id …))",
        ],
    ),
]
