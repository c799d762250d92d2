"""No secret is in a repr, a pickle, a log at any level, or an error."""

from __future__ import annotations

import logging
import pickle
import traceback

import pytest

from transforms.cos.destination import check_writable, open_store, parse_destination
from transforms.errors import BackupError
from transforms.testing.cos_server import TEST_BUCKET
from transforms.testing.cos_signature import ServerKey

SECRETS = ("AKIDhidden", "hidden-key", "hidden-token")
META = {"records-crc64": "7", "records-bytes": "11", "messages": "5"}


@pytest.fixture
def secret_environment(server, monkeypatch):
    for name, value in zip(("COS_SECRET_ID", "COS_SECRET_KEY", "COS_TOKEN"), SECRETS, strict=True):
        monkeypatch.setenv(name, value)
    server.keys[SECRETS[0]] = ServerKey(SECRETS[1], token=SECRETS[2])


def assert_clean(text):
    assert not [secret for secret in SECRETS if secret in text]
    assert "q-signature" not in text


@pytest.mark.usefixtures("secret_environment")
def test_logs_at_debug_hold_no_secret(server, make_store, caplog):
    for name in ("", "qcloud_cos", "qcloud_cos.cos_auth", "qcloud_cos.cos_client"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        store = make_store()
        server.faults.add("reset-before", operation="PutObject")
        server.faults.add("500", operation="PutObject", nth=2)
        store.put("backup/key", b"x", META)
        assert server.requests["PutObject"] == 3
        list(store.list_keys(""))
        assert "PutObject" in caplog.text
        assert_clean(caplog.text)
    finally:
        logging.getLogger().setLevel(logging.WARNING)


@pytest.mark.usefixtures("secret_environment")
def test_a_conflict_that_is_settled_is_no_noise_in_the_log(server, store, caplog):
    store.put("backup/key", b"x", META)
    caplog.clear()
    assert store.put("backup/key", b"x", META) is False
    assert caplog.text == ""


@pytest.mark.usefixtures("secret_environment")
@pytest.mark.parametrize("kind", ["access-denied", "expired-token", "skewed", "redirect"])
def test_errors_and_their_tracebacks_hold_no_secret(server, destination, kind):
    server.faults.add(kind, times=1000)
    with pytest.raises(BackupError) as caught:
        check_writable(destination)
    assert_clean("".join(traceback.format_exception(caught.value)))


@pytest.mark.usefixtures("secret_environment")
def test_a_destination_pickles_without_secrets_and_a_store_not_at_all(server):
    destination = parse_destination(f"cos://{TEST_BUCKET}/backup/", endpoint=server.endpoint)
    store = open_store(destination)
    store.put("backup/key", b"x", META)
    pickled = pickle.dumps(destination)
    assert not [secret for secret in SECRETS if secret.encode() in pickled]
    assert_clean(f"{destination!r} {store!r} {store._client!r} {store._client._epoch[0]!r}")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(store)
