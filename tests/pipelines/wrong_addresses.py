"""A broker that cannot be reached, or does not answer as one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from tests.pipelines.wrong_inputs import Case, World
from transforms.pulsar import reach

_TLS = "--service_url=pulsar+ssl://{tls}"
_TRUST = "--tls_trust_certs={ca}"


@contextlib.contextmanager
def _black_hole(made: World) -> Iterator[None]:
    """Nothing comes back: the kernel would wait for minutes, whatever the address."""

    def connect(host: str, port: int, timeout: float) -> None:
        raise TimeoutError

    with mock.patch("transforms.pulsar.wire.open_socket", connect):
        yield


@contextlib.contextmanager
def _no_name_server(made: World) -> Iterator[None]:
    def asked(*_: object, **__: object) -> None:
        raise reach.NameServerTimeoutError

    with mock.patch("transforms.pulsar.reach.look_up", asked):
        yield


CASES = [
    Case(
        "a certificate that the broker's authority has not signed",
        4,
        [_TLS, _TRUST, "--tls_cert={unknown_cert}", "--tls_key={unknown_key}"],
        [
            "{tls} does not accept our certificate (…). --tls_cert must be one that an authority of the broker has signed, and still valid."
        ],
    ),
    Case(
        "a host that cannot be resolved",
        4,
        ["--service_url=pulsar://pulsar.invalid"],
        [
            "The host name of pulsar.invalid:6650 cannot be resolved. Check --service_url; an address inside a private network is known only there."
        ],
    ),
    Case(
        "name servers that do not answer",
        4,
        ["--service_url=pulsar://pulsar.example"],
        [
            "No name server told the address of pulsar.example:6650 within 5 s. Check --service_url, and the name servers of this machine."
        ],
        _no_name_server,
    ),
    Case(
        "a port where nothing listens",
        4,
        ["--service_url=pulsar://{closed}"],
        [
            "Nothing listens at {closed}: the connection was refused. Check host and port of --service_url, and that the broker runs."
        ],
        process=True,
    ),
    Case(
        "a black hole",
        4,
        [],
        [
            "{broker} did not answer within 5 s. Check host and port of --service_url, and that firewalls and security groups let this machine through."
        ],
        _black_hole,
    ),
    Case(
        "a port that says nothing",
        4,
        ["--service_url=pulsar://{silent}"],
        [
            "{silent} takes the connection, but did not answer within 5 s. Check the port of --service_url, which may be of another service, and that the broker is well."
        ],
    ),
    Case(
        "several hosts, none a broker",
        4,
        ["--service_url=pulsar://{closed},{cos}"],
        [
            "Nothing listens at {closed}: the connection was refused. Check host and port of --service_url, and that the broker runs. {cos} does not answer as a Pulsar broker. Check the port of --service_url (6650, or 6651 with TLS, is usual; 8080 is admin REST), and use pulsar+ssl:// if the port wants TLS."
        ],
    ),
    Case(
        "the port of admin REST",
        4,
        ["--service_url=pulsar://{admin}"],
        [
            "{admin} does not answer as a Pulsar broker. Check the port of --service_url (6650, or 6651 with TLS, is usual; 8080 is admin REST), and use pulsar+ssl:// if the port wants TLS."
        ],
    ),
    Case(
        "the port of COS",
        4,
        ["--service_url=pulsar://{cos}"],
        [
            "{cos} does not answer as a Pulsar broker. Check the port of --service_url (6650, or 6651 with TLS, is usual; 8080 is admin REST), and use pulsar+ssl:// if the port wants TLS."
        ],
    ),
    Case(
        "http:// where nothing listens",
        4,
        ["--service_url=http://{closed}"],
        [
            "Nothing listens at {closed}: the connection was refused. Check host and port of --service_url, and that the broker runs."
        ],
    ),
    Case(
        "http:// at the broker's own port",
        4,
        ["--service_url=http://{broker}"],
        [
            "{broker} does not answer as Pulsar's admin REST does. Check the port of --service_url (8080, or 8443 with TLS, is usual; 6650 and 6651 are of the binary protocol)."
        ],
    ),
    Case(
        "http:// at another service",
        4,
        ["--service_url=http://{cos}"],
        [
            "{cos} does not answer as Pulsar's admin REST does. Check the port of --service_url (8080, or 8443 with TLS, is usual; 6650 and 6651 are of the binary protocol)."
        ],
    ),
    Case(
        "http:// that says nothing",
        4,
        ["--service_url=http://{silent}"],
        [
            "{silent} takes the connection, but did not answer within 5 s. Check the port of --service_url, which may be of another service, and that the broker is well."
        ],
    ),
    Case(
        "TLS where there is none",
        4,
        ["--service_url=pulsar+ssl://{broker}", _TRUST],
        [
            "{broker} does not answer in TLS. Check the port of --service_url, or write pulsar:// if the port is without TLS."
        ],
    ),
    Case(
        "no TLS where there is",
        4,
        ["--service_url=pulsar://{tls}"],
        [
            "{tls} does not answer as a Pulsar broker. Check the port of --service_url (6650, or 6651 with TLS, is usual; 8080 is admin REST), and use pulsar+ssl:// if the port wants TLS."
        ],
    ),
    Case(
        "https:// where there is no TLS",
        4,
        ["--service_url=https://{admin}", _TRUST],
        [
            "{admin} does not answer in TLS. Check the port of --service_url, or write http:// if the port is without TLS."
        ],
    ),
    Case(
        "http:// where there is TLS",
        4,
        ["--service_url=http://{tls_admin}"],
        ["{tls_admin} wants TLS. Write https:// in --service_url, or give the port without TLS."],
    ),
    Case(
        "a certificate that is not trusted",
        4,
        [_TLS, "--token=file:{folder}/token"],
        [
            "The certificate of {tls} is not trusted: unable to get local issuer certificate. Name the file of its authority in --tls_trust_certs."
        ],
    ),
    Case(
        "a certificate of another host",
        4,
        ["--service_url=pulsar+ssl://localhost:{tls_port}", _TRUST],
        [
            "The certificate of localhost:{tls_port} is for another host: Hostname mismatch, certificate is not valid for 'localhost'. Write the host in --service_url as the certificate has it, or have one made for this name."
        ],
    ),
    Case(
        "trusted certificates that are none",
        2,
        [_TLS, "--tls_trust_certs={folder}/not.pem"],
        [
            "--tls_trust_certs={folder}/not.pem: cannot be used (no certificate or crl found). It must be a readable file of certificates in PEM."
        ],
    ),
    Case(
        "a key of another certificate",
        2,
        [_TLS, _TRUST, "--tls_cert={cert}", "--tls_key={other_key}"],
        [
            "--tls_cert={cert}, --tls_key={other_key}: cannot be used (key values mismatch). Both must be readable PEM files, the key without a password and that of the certificate."
        ],
    ),
]
