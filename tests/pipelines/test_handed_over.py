from __future__ import annotations

import pytest

from tests.pipelines.backups import backup
from tests.pipelines.reading_back import messages_in
from transforms.cos import handed_over
from transforms.cos.handed_over import HandedOverCoder
from transforms.files.records import SealMark
from transforms.pulsar.positions import Position
from transforms.testing.producers import produce


def test_an_element_is_given_out_once_for_its_token():
    coder, seal = HandedOverCoder(), SealMark(1, Position(2, 3))
    token = coder.encode(seal)
    coder.estimate_size(seal)
    assert coder.decode(token) is seal
    with pytest.raises(KeyError):
        coder.decode(token)


def test_a_run_leaves_no_records_behind(broker, topic, bucket):
    name = topic(partitions=3)
    before = dict(handed_over._elements)
    sent = produce(broker.service_url, name, 3_000, partitions=3)
    backup(broker, name, bucket, "--max_file_messages=70")
    assert handed_over._elements == before
    stored = messages_in(bucket)
    assert sum(map(len, stored.values())) == len(sent)
