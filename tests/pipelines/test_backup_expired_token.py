from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.backups import arguments, run_job
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.pulsar.read_metrics import ReadMetrics
from transforms.testing.producers import produce
from transforms.testing.pulsar_standalone import PulsarStandalone

_VALID_SECONDS = 20


@pytest.fixture(scope="module")
def strict_broker():
    """A broker that looks each second whether the tokens of its clients have expired."""
    with PulsarStandalone(authentication=True, configuration={"authenticationRefreshCheckSeconds": "1"}) as broker:
        broker.admin.create_tenant("test")
        yield broker


@pytest.mark.parametrize("replaced", [True, False])
def test_a_token_that_expires_while_it_is_read(strict_broker, bucket, tmp_path, monkeypatch, replaced):
    broker: PulsarStandalone = strict_broker
    namespace = f"test/expiring-{uuid.uuid4().hex[:8]}"
    broker.admin.create_namespace(namespace)
    broker.admin.grant(namespace, "reader", ["consume"])
    name = f"persistent://{namespace}/orders"
    # More than is read ahead, so that the broker is needed when the token has expired.
    sent = produce(broker.service_url, name, 400, size=100_000, token=broker.token("admin"))
    key = tmp_path / "key"
    key.write_text(broker.token("reader", _VALID_SECONDS))
    expires, count, waited = time.time() + _VALID_SECONDS, ReadMetrics.read, []

    def waiting(self: ReadMetrics, *rest: Any) -> None:
        if not waited:
            waited.append(True)
            time.sleep(max(expires + 3 - time.time(), 0))
            if replaced:
                _replace(key, broker.token("reader"))
        count(self, *rest)

    monkeypatch.setattr(ReadMetrics, "read", waiting)
    options = [f"--token=file:{key}", "--memory_budget=64MB", "--subscription=ours", "--retry_deadline=10s"]
    run = run_job(arguments(broker, name, bucket, options))
    if not replaced:
        assert run.code == 3
        assert "refuses the token" in run.errors
        assert "It expired at" in run.errors
        _replace(key, broker.token("reader"))
        run = run_job(arguments(broker, name, bucket, options))
    assert run.code == 0, run.errors
    assert_holds(messages_in(bucket), {name: [each.position for each in sent]})


def _replace(path: Path, text: str) -> None:
    """Whole or not at all, as those do who mind."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)
