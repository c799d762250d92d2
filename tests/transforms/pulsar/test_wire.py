from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.pulsar.protobuf_fields import assert_read_back
from transforms.errors import AccessError, ConfigurationError, SourceError
from transforms.pulsar.protobuf import Fields, ProtocolError, encode
from transforms.pulsar.reach import Tls
from transforms.pulsar.wire import Kind, NoAnswerError, connect, topics_of_namespace
from transforms.testing.pulsar_lite import PulsarLite
from transforms.testing.pulsar_standalone import PulsarStandalone
from transforms.testing.server_process import free_ports

Topic = Callable[..., str]


def _namespace(topic: str) -> str:
    return "/".join(topic.removeprefix("persistent://").split("/")[:2])


# What a real broker answers


def test_lists_topics_and_each_partition_by_its_own_name(broker: PulsarStandalone, topic: Topic) -> None:
    plain, partitioned = topic("plain"), topic("parts", partitions=2)
    broker.admin.create_topic(plain)
    found = topics_of_namespace(broker.service_url, _namespace(plain))
    assert found == {plain, f"{partitioned}-partition-0", f"{partitioned}-partition-1"}


def test_lists_names_in_any_script(broker: PulsarStandalone, topic: Topic) -> None:
    name = topic("订单-ü")
    broker.admin.create_topic(name)
    assert topics_of_namespace(broker.service_url, _namespace(name)) == {name}


def test_listing_creates_nothing_and_a_missing_namespace_has_no_topics(broker: PulsarStandalone, topic: Topic) -> None:
    namespace = _namespace(topic())
    assert topics_of_namespace(broker.service_url, namespace) == set()
    assert topics_of_namespace(broker.service_url, "test/not-there") == set()
    assert broker.admin.topics(namespace) == set()


def test_the_next_host_is_tried_where_one_does_not_answer(broker: PulsarStandalone, topic: Topic) -> None:
    (closed,) = free_ports(1)
    name = topic()
    broker.admin.create_topic(name)
    url = f"pulsar://127.0.0.1:{closed},{broker.service_url.removeprefix('pulsar://')}"
    assert topics_of_namespace(url, _namespace(name)) == {name}


def test_a_role_that_may_only_consume_may_list(secured_broker: PulsarStandalone) -> None:
    secured_broker.admin.create_namespace("test/wire")
    secured_broker.admin.create_topic("persistent://test/wire/one")
    secured_broker.admin.grant("test/wire", "reader", ["consume"])
    found = topics_of_namespace(secured_broker.service_url, "test/wire", token=secured_broker.token("reader"))
    assert found == {"persistent://test/wire/one"}


def test_a_role_without_rights_in_the_namespace_is_told_so(secured_broker: PulsarStandalone) -> None:
    with pytest.raises(AccessError) as caught:
        topics_of_namespace(secured_broker.service_url, "public/default", token=secured_broker.token("stranger"))
    assert str(caught.value) == (
        "The role is not allowed to list the topics of namespace public/default: the broker says 'Client is not "
        "authorized to GetTopicsOfNamespace'. Check tenant and namespace of --topic, and grant the role the permission "
        "to consume in this namespace."
    )


@pytest.mark.parametrize("kind", ["expired", "forged", "no token at all"])
def test_a_token_that_is_refused_is_not_repeated_in_the_error(secured_broker: PulsarStandalone, kind: str) -> None:
    token = {
        "expired": secured_broker.token("reader", expires_in=-60),
        "forged": secured_broker.token("reader").rsplit(".", 1)[0] + "." + "A" * 43,
        "no token at all": "mistyped-secret",
    }[kind]
    with pytest.raises(AccessError) as caught:
        connect(secured_broker.service_url, token=token)
    where = secured_broker.service_url.removeprefix("pulsar://")
    expired = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")).get("exp") if kind == "expired" else 0
    fault = {
        "expired": f"It expired at {datetime.datetime.fromtimestamp(expired, datetime.timezone.utc):%FT%TZ}.",
        "forged": "It is not whole, or belongs to another cluster or to a role that is gone.",
        "no token at all": "It has not the form of a role's key: three parts with dots between them.",
    }[kind]
    assert str(caught.value) == (
        f"The broker at {where} refuses the token ('Failed to authenticate'). {fault} Copy the role's key from the "
        "console again."
    )


def test_a_missing_token_is_asked_for(secured_broker: PulsarStandalone) -> None:
    with pytest.raises(
        AccessError, match=r"wants a token \('Failed to authenticate'\). Give the role's key in --token."
    ):
        connect(secured_broker.service_url)


def test_a_broker_that_does_not_know_the_request_is_told_apart() -> None:
    with PulsarLite() as lite, pytest.raises(NoAnswerError) as caught:
        topics_of_namespace(lite.service_url, "public/default", timeout=0.5)
    assert str(caught.value) == (
        f"The broker at {lite.service_url} accepted the connection but did not list the topics of namespace "
        "public/default. It may not know this request, or the namespace is not written tenant/namespace."
    )


# What is not a broker


def test_a_refused_port_is_named() -> None:
    (port,) = free_ports(1)
    with pytest.raises(SourceError) as caught:
        connect(f"pulsar://127.0.0.1:{port}")
    assert str(caught.value) == (
        f"Nothing listens at 127.0.0.1:{port}: the connection was refused. Check host and port of --service_url, and "
        "that the broker runs."
    )


def test_every_host_is_named_where_none_answers() -> None:
    first, second = free_ports(2)
    with pytest.raises(SourceError, match=rf"127.0.0.1:{first}: .*127.0.0.1:{second}: "):
        connect(f"pulsar://127.0.0.1:{first},127.0.0.1:{second}")


def test_a_host_name_that_cannot_be_resolved_is_named() -> None:
    with pytest.raises(
        SourceError, match=r"The host name of pulsar.invalid:6650 cannot be resolved. Check --service_url"
    ):
        connect("pulsar://pulsar.invalid")


def test_admin_rest_is_not_taken_for_a_broker(broker: PulsarStandalone) -> None:
    where = broker.admin_url.removeprefix("http://")
    with pytest.raises(SourceError, match=rf"{where} does not answer as a Pulsar broker. .* 8080 is admin REST"):
        connect(f"pulsar://{where}")


def test_a_server_that_says_nothing_is_given_up() -> None:
    with _server(lambda peer: peer.recv(1 << 16) and peer.recv(1)) as port, pytest.raises(SourceError) as caught:
        connect(f"pulsar://127.0.0.1:{port}", timeout=0.3)
    assert str(caught.value) == (
        f"127.0.0.1:{port} takes the connection, but did not answer within 0.3 s. Check the port of --service_url, "
        "which may be of another service, and that the broker is well."
    )


@pytest.mark.parametrize("answer", [b"\0\0\0\x06\0\0\0\x02\x08\xff", b"\xff\xff\xff\xff", b""])
def test_answers_that_are_no_frames_are_refused(answer: bytes) -> None:
    with (
        _server(lambda peer: peer.recv(1 << 16) and peer.sendall(answer)) as port,
        pytest.raises(SourceError, match="does not answer as a Pulsar broker"),
    ):
        connect(f"pulsar://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:8080", "must begin with pulsar:// or pulsar+ssl://"),
        ("127.0.0.1:6650", "must begin with pulsar:// or pulsar+ssl://"),
        ("pulsar://", "has no usable host in ''"),
        ("pulsar://one:6650,two:port", "has no usable host in 'two:port'"),
        ("pulsar://one/two", "has no usable host in 'one/two'"),
    ],
)
def test_addresses_that_are_none_are_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        connect(url)


def test_a_password_in_the_address_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect("pulsar://me:hunter2@127.0.0.1")
    assert "hunter2" not in str(caught.value)
    assert "--token" in str(caught.value)


def test_pings_are_answered_while_an_answer_is_awaited() -> None:
    seen: list[int] = []

    def broker_that_pings(peer: socket.socket) -> None:
        peer.recv(1 << 16)
        peer.sendall(_frame(Kind.PING))
        seen.append(Fields(peer.recv(1 << 16)[8:]).number(1))
        peer.sendall(_frame(Kind.CONNECTED))

    with _server(broker_that_pings) as port:
        connect(f"pulsar://127.0.0.1:{port}").close()
    assert seen == [Kind.PONG]


# TLS


def test_tls_with_our_authority_and_a_client_certificate(
    broker: PulsarStandalone, topic: Topic, tmp_path: Path
) -> None:
    name = topic()
    broker.admin.create_topic(name)
    certificate, key = _certificate(tmp_path, "127.0.0.1")
    with _tls_in_front_of(broker, certificate, key) as port:
        url = f"pulsar+ssl://127.0.0.1:{port}"
        us = Tls(trust_certs=certificate, certificate=certificate, key=key)
        assert topics_of_namespace(url, _namespace(name), tls=us) == {name}


def test_a_certificate_that_is_not_trusted_is_refused(broker: PulsarStandalone, tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path, "127.0.0.1")
    with _tls_in_front_of(broker, certificate, key) as port, pytest.raises(SourceError) as caught:
        connect(f"pulsar+ssl://127.0.0.1:{port}")
    assert f"The certificate of 127.0.0.1:{port} is not trusted: self" in str(caught.value)
    assert "Name the file of its authority in --tls_trust_certs" in str(caught.value)


def test_a_certificate_of_another_host_is_refused_unless_asked_for(broker: PulsarStandalone, tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path, "127.0.0.9")
    with _tls_in_front_of(broker, certificate, key) as port:
        url = f"pulsar+ssl://127.0.0.1:{port}"
        with pytest.raises(SourceError, match="IP address mismatch"):
            connect(url, tls=Tls(trust_certs=certificate, certificate=certificate, key=key))
        connect(url, tls=Tls(certificate, certificate, key, verify_hostname=False)).close()


def test_tls_on_a_port_without_tls_says_so(broker: PulsarStandalone) -> None:
    where = broker.service_url.removeprefix("pulsar://")
    with pytest.raises(
        SourceError, match=rf"{where} does not answer in TLS. .* write pulsar:// if the port is without TLS"
    ):
        connect(f"pulsar+ssl://{where}")


def test_tls_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "ca.pem")
    with pytest.raises(ConfigurationError, match=rf"--tls_trust_certs={missing}: cannot be used \(No such file"):
        connect("pulsar+ssl://127.0.0.1", tls=Tls(trust_certs=missing))


# protobuf


@given(
    st.dictionaries(
        st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1) | st.text(st.characters(codec="utf-8")) | st.binary()
    )
)
def test_what_is_encoded_is_read_back(fields: dict[int, int | str | bytes]) -> None:
    assert_read_back(fields)


def test_fields_that_are_not_known_or_absent_do_no_harm() -> None:
    read = Fields(b"\x0d1234" + b"\x1112345678" + encode({3: 7}))
    assert (read.number(3), read.number(4), read.text(4), read.strings(4)) == (7, 0, "", [])


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        Fields(data)


def _frame(kind: Kind) -> bytes:
    command = encode({1: int(kind), int(kind): b""})
    return struct.pack(">II", 4 + len(command), len(command)) + command


@contextlib.contextmanager
def _server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Serve one connection on a free port; the connection is closed when ``serve`` returns."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            with contextlib.suppress(OSError):
                peer, _address = listening.accept()
                with peer:
                    serve(peer)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
    thread.join(5)


@contextlib.contextmanager
def _tls_in_front_of(broker: PulsarStandalone, certificate: str, key: str) -> Iterator[int]:
    """End TLS in front of the real broker, asking for a client certificate; takes any number of connections."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    _scheme, _, where = broker.service_url.partition("://")
    host, _, port = where.partition(":")

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def serve(peer: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(peer, server_side=True) as secure,
            socket.create_connection((host, int(port))) as upstream,
        ):
            back = threading.Thread(target=copy, args=(upstream, secure), daemon=True)
            back.start()
            copy(secure, upstream)
            back.join(5)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _address = listening.accept()
                    threading.Thread(target=serve, args=(peer,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        # Closing alone does not wake a thread that waits in accept.
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def _certificate(folder: Path, address: str) -> tuple[str, str]:
    """A key and a self-signed certificate for an IP address, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(files[0]), str(files[1])
