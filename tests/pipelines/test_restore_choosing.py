"""What of a backup is restored, where it goes, and what is said of what cannot be."""

from __future__ import annotations

import pytest

from pipelines.restore_summary import AT_LEAST_ONCE, BY_ORIGIN
from tests.pipelines.backups import Folder, backup
from tests.pipelines.reading_back import messages_in, position
from tests.pipelines.restoring import as_sent, restore, restore_refused
from transforms.restore.origin import NAMES
from transforms.restore.routing import murmur3_hash
from transforms.testing.producers import produce, produce_encrypted, produce_every_kind


@pytest.fixture
def new_folder(tmp_path):
    """Gives empty folders."""
    numbers = iter(range(100))

    def make() -> Folder:
        path = tmp_path / f"folder-{next(numbers)}"
        path.mkdir()
        return Folder(path)

    return make


def restored(broker, new_folder, target: str) -> dict[str, list[dict]]:
    """What a topic holds, by partition."""
    folder = new_folder()
    backup(broker, target, folder)
    return messages_in(folder)


def test_messages_of_every_kind_come_back_and_those_that_cannot_are_told(broker, topic, new_folder):
    name, target, folder = topic(), topic("target", partitions=1), new_folder()
    produce_every_kind(broker.service_url, name)
    backup(broker, name, folder)
    (records,) = messages_in(folder).values()
    whole = [each for each in records if each["unreadable"] is None]
    lost = len(records) - len(whole)
    assert 0 < lost < len(records)
    refused = restore_refused(broker, folder, target)
    assert refused.code == 5
    assert "key could not be read when it was backed up. --dry_run counts" in refused.errors
    planned = restore(broker, folder, target, "--dry_run").summary
    assert (planned["messages"], sum(planned["unrestorable"].values())) == (len(whole), lost)
    assert planned["object_names"] == folder.listed()
    done = restore(broker, folder, target, "--on_unrestorable=skip").summary
    assert done["unrestorable"] == planned["unrestorable"]
    assert set(done["unrestorable"]) == {
        f"{field} could not be read when it was backed up" for field in ("key", "ordering_key", "properties")
    }
    assert done["messages"] == len(whole)
    (found,) = restored(broker, new_folder, target).values()
    assert [as_sent(each) for each in found] == [as_sent(each) for each in whole]


def test_encrypted_messages_come_back_with_all_that_decrypts_them(broker, topic, new_folder, tmp_path):
    name, target, folder = topic(), topic("target", partitions=1), new_folder()
    for batching in (True, False):
        produce_encrypted(broker.service_url, name, 20, folder=tmp_path, batching=batching)
    backup(broker, name, folder)
    (records,) = messages_in(folder).values()
    restore(broker, folder, target)
    (found,) = restored(broker, new_folder, target).values()
    assert [as_sent(each) for each in found] == [as_sent(each) for each in records]
    assert {each["encryption"]["whole_batch"] for each in found} == {True, False}


@pytest.fixture
def shop(broker, topic, new_folder):
    """A topic of three partitions with keys, its backup, and its messages by partition."""
    name, folder = topic("shop", partitions=3), new_folder()
    produce(broker.service_url, name, 900, partitions=3)
    backup(broker, name, folder, "--max_file_messages=50")
    return name, folder, messages_in(folder)


def test_what_is_chosen_comes_back_and_nothing_else(broker, topic, new_folder, shop):
    name, folder, stored = shop
    one = stored[f"{name}-partition-1"]
    places = [position(each) for each in one[70:130]]
    ids = ["--partition=1", f"--start={places[0]}", f"--end={places[-1]}"]
    create = ["--create_topic=3", f"--admin_url={broker.admin_url}"]
    planned = restore(broker, folder, f"{name}-missing", "--dry_run", *create, *ids).summary
    assert (planned["messages"], planned["objects"]) == (60, 2)
    target = topic("chosen", partitions=3)
    done = restore(broker, folder, target, "--key=key-7", "--key=key-8").summary
    assert (done["guarantee"], done["messages"]) == (BY_ORIGIN, 18)
    found = restored(broker, new_folder, target)
    for partition, records in stored.items():
        mine = found.get(partition.replace(name, target), [])
        assert [as_sent(each) for each in mine] == [
            as_sent(each) for each in records if each["key"] in ("key-7", "key-8")
        ]


def test_by_key_messages_go_where_producers_would_send_them(broker, topic, new_folder, shop):
    _, folder, stored = shop
    target = topic("two", partitions=2)
    done = restore(broker, folder, target, "--key_hash=murmur3", "--no_origin")
    assert (done.summary["routing"], done.summary["guarantee"]) == ("key", AT_LEAST_ONCE)
    assert "are routed by their keys" in done.errors
    found = restored(broker, new_folder, target)
    for index in range(2):
        records = found[f"{target}-partition-{index}"]
        assert all(murmur3_hash(each["key"]) % 2 == index for each in records)
        assert not any(each["properties"].keys() & set(NAMES) for each in records)
        for partition in stored.values():
            wanted = [as_sent(each) for each in partition if murmur3_hash(each["key"]) % 2 == index]
            keys = {each["properties"]["number"] for each in wanted}
            assert [as_sent(each) for each in records if each["properties"]["number"] in keys] == wanted


def test_a_target_that_is_wrong_is_refused_and_nothing_is_created_unasked(broker, topic, shop):
    name, folder, _ = shop
    admin = [f"--admin_url={broker.admin_url}"]
    namespace = name.removeprefix("persistent://").rpartition("/")[0]
    there = broker.admin.topics(namespace)
    cases = {
        (name,): (2, "is the topic that was backed up, and would hold messages twice."),
        (f"{name}-missing",): (4, "there is no such topic to restore into, and none is created unasked."),
        (name, "--into_source"): (4, "partition-0: holds messages already. If a restore was broken off"),
        (name, "--into_source", "--create_topic=4", *admin): (2, "--create_topic=4: "),
        (f"{name}-missing", "--topic=orders"): (5, "the backup holds no object of persistent://public/default/orders"),
        (f"{name}-missing", "--create_topic=1", "--routing=partition", *admin): (2, "had a partition 2, and "),
    }
    for (target, *options), (code, sentence) in cases.items():
        run = restore_refused(broker, folder, target, *options)
        assert (run.code, sentence in run.errors) == (code, True), run.errors
    assert broker.admin.topics(namespace) == there


def test_a_target_with_other_messages_is_refused_until_they_may_stay(broker, topic, new_folder, shop):
    _, folder, stored = shop
    target = topic("again", partitions=3)
    assert restore(broker, folder, target, "--key=key-7").summary["messages"] == 9
    refused = restore_refused(broker, folder, target)
    assert refused.code == 4
    assert "holds messages of another restore (" in refused.errors
    # The same one goes on, and finds that all is there.
    same = restore(broker, folder, target, "--key=key-7").summary
    assert (same["messages"], same["already_there"]) == (9, 9)
    more = restore(broker, folder, target, "--append").summary
    assert (more["messages"], more["already_there"]) == (900, 0)
    again = new_folder()
    backup(broker, target, again)
    twice = new_folder()
    final = topic("final", partitions=3)
    restore(broker, again, final)
    backup(broker, final, twice)
    found = [each for records in messages_in(twice).values() for each in records]
    assert len(found) == 909
    # Restored a second time, a message has both origins.
    ids = {str(position(each)) for records in stored.values() for each in records}
    assert {each["properties"]["tdmq-backup-message-id-1"] for each in found} == ids
    assert {each["properties"]["tdmq-backup-topic"].rpartition("-partition-")[0] for each in found} == {target}


def test_a_backup_in_two_formats_or_of_two_topics_asks_which(broker, topic, shop):
    name, folder, _ = shop
    other = topic("other", partitions=1)
    produce(broker.service_url, other, 10, partitions=1)
    target = topic("which", partitions=3)
    backup(broker, [name, other], folder, "--format=jsonl")
    refused = restore_refused(broker, folder, target)
    assert f"--topic is missing: the backup holds {other}, {name}. Name the one" in refused.errors
    refused = restore_refused(broker, folder, target, f"--topic={name}")
    assert "is stored as avro and as jsonl: give --format, so that it is restored once." in refused.errors
    assert restore(broker, folder, target, f"--topic={name}", "--format=jsonl").summary["messages"] == 900
