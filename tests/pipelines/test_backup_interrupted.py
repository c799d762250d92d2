from __future__ import annotations

import signal

import pytest

from tests.pipelines.backups import arguments, backup, start_job
from tests.pipelines.reading_back import assert_holds, messages_in
from transforms.testing.producers import produce


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_run_that_is_asked_to_end_says_so_and_running_again_completes_it(broker, topic, bucket, number, code, said):
    name = topic()
    sent = produce(broker.service_url, name, 20_000)
    bucket.server.latency = 0.2
    under_way = bucket.when_stored(3)
    with start_job(arguments(broker, name, bucket, ["--max_file_messages=100", "--subscription=ours"])) as process:
        assert under_way.wait(60)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"{said}: what was written so far is whole and stays, nothing was acknowledged" in errors
    assert "Traceback" not in errors
    bucket.server.latency = 0
    marked = broker.admin.internal_stats(name)["cursors"]["ours"]["markDeletePosition"]
    assert marked.endswith(":-1"), "nothing acknowledged"
    backup(broker, name, bucket, "--max_file_messages=100", "--subscription=ours")
    assert_holds(messages_in(bucket), {name: [each.position for each in sent]})
