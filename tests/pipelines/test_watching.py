"""What the launcher makes of what Flink tells."""

from __future__ import annotations

import pytest

from pipelines.watching import explained
from transforms.errors import AccessError, BackupError, FlinkError
from transforms.pulsar.ledgers import Gap
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.read_metrics import gap_name, gaps_named

ORDERS = TopicPartition("persistent://test/shop_1/orders.v2", 3)
OTHER = TopicPartition("persistent://test/shop_1/orders")

# As Flink 1.19 and Beam 2.62 write them, without most of their frames.
OF_OURS = """org.apache.flink.runtime.taskmanager.AsynchronousException: Caught exception while processing timer.
\tat org.apache.flink.streaming.runtime.tasks.StreamTask.handleAsyncException(StreamTask.java:1617)
Caused by: java.lang.RuntimeException: Error received from SDK harness for instruction 7: Traceback (…):
  File "worker/sdk_worker.py", line 312, in _execute
transforms.errors.AccessError: The key may not do that on cos://b-1/x/. Grant it name/cos:PutObject. [while running 'R']
\t... 1 more
"""
KILLED = """org.apache.flink.runtime.taskmanager.AsynchronousException: Caught exception while processing timer.
\tat org.apache.flink.streaming.runtime.tasks.StreamTask.handleAsyncException(StreamTask.java:1617)
Caused by: java.lang.RuntimeException: Failed to start remote bundle
\t... 14 more
Caused by: org.apache.beam.vendor.grpc.v1p60p1.io.grpc.StatusRuntimeException: CANCELLED: call already cancelled. Use …
\tat org.apache.beam.vendor.grpc.v1p60p1.io.grpc.Status.asRuntimeException(Status.java:529)
\t... 20 more
"""
LOST = """org.apache.flink.runtime.io.network.netty.exception.RemoteTransportException: Connection unexpectedly \
closed by remote task manager 'localhost/127.0.0.1:40001'. This might indicate that the remote task manager was lost.
\tat org.apache.flink.runtime.io.network.netty.X.channelInactive(X.java:134)
"""
NO_SLOTS = """org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
Caused by: java.util.concurrent.CompletionException: org.apache.flink.runtime.jobmanager.scheduler.\
NoResourceAvailableException: Could not acquire the minimum required resources.
\t... 36 more
"""


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (OF_OURS, AccessError, "The key may not do that on cos://b-1/x/. Grant it name/cos:PutObject."),
        (KILLED, FlinkError, "the Flink job failed: a worker process has ended. Look at the task manager's log"),
        (LOST, FlinkError, "the Flink job failed: a task manager was lost. Look at its log"),
        (NO_SLOTS, FlinkError, "the Flink job failed: too few slots are free, or their task manager is gone. Add a"),
        (
            "java.lang.A: b\n\tat c\nCaused by: java.lang.D: e.\n\t... 1 more",
            FlinkError,
            "failed: java.lang.D: e. Look",
        ),
        ("", FlinkError, "the Flink job failed: no reason given. Look at its log."),
    ],
)
def test_a_failure_is_a_sentence(text: str, kind: type[BackupError], said: str):
    error = explained(text)
    assert type(error) is kind
    assert said in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("partition", [ORDERS, OTHER])
@pytest.mark.parametrize("certain", [True, False])
def test_a_gap_is_known_again_by_the_name_of_its_counter(partition, certain):
    gap = Gap(partition, Position(12, 30, 4), Position(17, 0), certain=certain)
    shown = gap_name(gap).replace(".", "_")
    assert gaps_named([shown, "gaps"], [OTHER, ORDERS]) == {shown: gap}


def test_a_gap_of_a_partition_that_was_added_has_the_name_that_the_runner_shows():
    gap = Gap(ORDERS, Position(12, 30), Position(17, 0))
    shown = gap_name(gap).replace(".", "_")
    assert str(gaps_named([shown], [OTHER])[shown]) == (
        "test_shop_1_orders_v2-partition-3: messages have been deleted by the broker before they were read, "
        "from 12:30:0 to 17:0:0"
    )
