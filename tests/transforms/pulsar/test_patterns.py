from __future__ import annotations

import pytest

from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.patterns import TopicPattern


@pytest.mark.parametrize("protocol", ["pulsar", "http"])
def test_the_topics_that_match_are_found_by_either_protocol(broker, topic, protocol):
    namespace = topic().removeprefix("persistent://").rpartition("/")[0]
    for name in ("orders", "orders-old", "payments"):
        broker.admin.create_topic(f"persistent://{namespace}/{name}")
    broker.admin.create_partitioned_topic(f"persistent://{namespace}/orders-new", 2)
    url = broker.service_url if protocol == "pulsar" else broker.admin_url
    pattern = TopicPattern.parse(f"{namespace}/orders.*")
    found = pattern.matches(PulsarConnection(service_url=url))
    assert sorted(found) == [f"persistent://{namespace}/{name}" for name in ("orders", "orders-new", "orders-old")]
