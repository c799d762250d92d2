from __future__ import annotations

from transforms.restore.origin import MESSAGE_ID, TOPIC, origin_of, with_origin
from transforms.restore.routing import Router, java_hash, murmur3_hash

#: What JavaStringHash and Murmur3Hash32 of Pulsar 4.0.8 give [measured].
HASHES = {
    "": (0, 0),
    "a": (97, 1009084850),
    "hello": (99162322, 613153351),
    "key-1": (101943363, 414258592),
    "订单": (1129459, 574561462),
    "\U0001f600 emoji": (574868297, 300550334),
    "a longer key, of 31 characters..": (1213588958, 1777083888),
}


def test_hashes_of_keys_are_those_of_pulsar():
    for key, (java, murmur3) in HASHES.items():
        assert (java_hash(key), murmur3_hash(key)) == (java, murmur3), key


def test_messages_without_a_key_stay_together_by_the_partition_they_are_from():
    router = Router("key", 3)
    assert [router.target(index, None) for index in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    assert {router.target(index, "hello") for index in range(7)} == {99162322 % 3}
    assert [Router("partition", 3).target(index, "hello") for index in range(3)] == [0, 1, 2]


def test_the_origin_keeps_older_origins_and_is_found_by_its_restore():
    record = {
        "topic": "persistent://t/n/x",
        "partition": 2,
        "ledger_id": 5,
        "entry_id": 6,
        "batch_index": -1,
        "publish_time": 7,
        "producer_name": None,
        "properties": {"colour": "blue", TOPIC: "older", f"{TOPIC}-1": "oldest"},
    }
    made = with_origin(record, "r")
    assert made == {
        "colour": "blue",
        f"{TOPIC}-1": "oldest",
        f"{TOPIC}-2": "older",
        TOPIC: "persistent://t/n/x-partition-2",
        MESSAGE_ID: "5:6:0",
        "tdmq-backup-publish-time": "7",
        "tdmq-backup-restore": "r",
    }
    assert record["properties"][TOPIC] == "older"
    assert origin_of(made, "r") == ("persistent://t/n/x-partition-2", (5, 6, 0))
    assert origin_of(made, "another") is None
