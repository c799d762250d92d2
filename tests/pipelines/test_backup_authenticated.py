from __future__ import annotations

import uuid

import pytest

from tests.pipelines.backups import arguments, backup, refused, run_job, run_process
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.testing.producers import produce


@pytest.fixture
def guarded(secured_broker) -> str:
    """A topic of a namespace in which the role reader may consume."""
    namespace = f"test/guarded-{uuid.uuid4().hex[:8]}"
    secured_broker.admin.create_namespace(namespace)
    secured_broker.admin.grant(namespace, "reader", ["consume"])
    return f"persistent://{namespace}/orders"


@pytest.mark.parametrize("by", ["env", "file"])
def test_a_role_that_may_only_consume_can_back_up_with_its_key_by_reference(
    secured_broker, guarded, bucket, monkeypatch, tmp_path, by
):
    sent = produce(secured_broker.service_url, guarded, 500, token=secured_broker.token("admin"))
    token = secured_broker.token("reader")
    monkeypatch.setenv("ROLE_KEY", token)
    (tmp_path / "key").write_text(token + "\n")
    reference = "env:ROLE_KEY" if by == "env" else f"file:{tmp_path}/key"
    run = backup(secured_broker, guarded, bucket, f"--token={reference}", "--subscription=ours")
    assert_holds(messages_in(bucket), {guarded: [each.position for each in sent]})
    assert run.summary["partitions"][0]["acknowledged_before"] is not None
    assert token not in run.errors + str(run.summary)


def test_a_missing_key_is_said_at_once(secured_broker, guarded, bucket):
    run = refused(secured_broker, guarded, bucket)
    assert run.code == 3
    assert "wants a token" in run.errors


def test_a_wrong_key_is_said_at_once_and_not_repeated(secured_broker, guarded, bucket, monkeypatch):
    monkeypatch.setenv("ROLE_KEY", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyZWFkZXIifQ.wrong-signature")
    run = refused(secured_broker, guarded, bucket, "--token=env:ROLE_KEY")
    assert run.code == 3
    assert "refuses the token" in run.errors
    assert "wrong-signature" not in run.errors


def test_a_role_without_permission_is_told_what_it_lacks(secured_broker, guarded, bucket, monkeypatch):
    produce(secured_broker.service_url, guarded, 1, token=secured_broker.token("admin"))
    monkeypatch.setenv("ROLE_KEY", secured_broker.token("stranger"))
    run = refused(secured_broker, guarded, bucket, "--token=env:ROLE_KEY")
    assert run.code == 3
    assert "Grant the role consume permission on the namespace" in run.errors


def test_a_port_where_nothing_listens_is_said_at_once(broker, topic, bucket):
    argv = arguments(broker, topic(), bucket, [])
    argv[0] = "--service_url=pulsar://127.0.0.1:1"
    run = run_process(argv)
    assert run.code == 4
    assert "Nothing listens at 127.0.0.1:1" in run.errors


@pytest.mark.parametrize("by", ["a token in a file", "a certificate", "https"])
def test_over_tls_with_trusted_certificates(secured_broker, guarded, bucket, tmp_path, by):
    sent = produce(secured_broker.service_url, guarded, 50, token=secured_broker.token("admin"))
    reader = secured_broker.authority.sign("reader")
    (tmp_path / "key").write_text(secured_broker.token("reader"))
    url = secured_broker.tls_admin_url if by == "https" else secured_broker.tls_service_url
    login = [f"--tls_cert={reader.certificate}", f"--tls_key={reader.key}"]
    options = [
        f"--tls_trust_certs={secured_broker.authority.certificate}",
        f"--admin_url={secured_broker.tls_admin_url}",
        "--subscription=ours",
        *(login if by == "a certificate" else [f"--token=file:{tmp_path}/key"]),
    ]
    argv = [f"--service_url={url}", *arguments(secured_broker, guarded, bucket, options)[1:]]
    run = run_job(argv)
    assert run.code == 0, run.errors
    assert_holds(messages_in(bucket), {guarded: [each.position for each in sent]})
    assert run.summary["partitions"][0]["acknowledged_before"] is not None
