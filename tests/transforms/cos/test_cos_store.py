from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from fastcrc import crc64

from tests.transforms.cos.joining import KEY, META, MIB, join
from tests.transforms.cos.passing_faults import AFTER_THE_EFFECT, WITHOUT_EFFECT
from transforms.cos import cos_store
from transforms.cos.client import CosClient
from transforms.cos.retry import RetryPolicy
from transforms.errors import AccessError, DestinationError, ObjectConflictError
from transforms.testing.cos_server import TEST_BUCKET


def test_put_sends_one_request_once_the_bucket_is_known(server, store):
    assert store.put("backup/first", b"a", META) is True
    server.requests.clear()
    assert store.put(KEY, b"hello", META) is True
    assert server.requests == {"PUT": 1, "PutObject": 1}
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"hello"


def test_an_object_carries_its_metadata_content_type_and_options(server, make_store):
    options = {"x-cos-storage-class": "STANDARD_IA", "x-cos-server-side-encryption": "AES256", "x-cos-acl": "private"}
    store = make_store(headers={**options, "x-cos-tagging": "a=b", "x-cos-meta-team": "x"})
    store.put(KEY, b"hello", META)
    store.put_part("backup/_spool/1", b"x" * MIB)
    store.join("joined.jsonl.gz", ["backup/_spool/1"], b"", crc64.xz(b"x" * MIB), META)
    for key, kind in ((KEY, "application/avro"), ("joined.jsonl.gz", "application/gzip")):
        headers = server.disk.get(TEST_BUCKET, key).headers
        assert headers.items() >= {**options, "x-cos-tagging": "a=b", "x-cos-meta-team": "x"}.items()
        assert headers.items() >= {f"x-cos-meta-{name}": value for name, value in META.items()}.items()
        assert headers["content-type"] == kind
    spooled = server.disk.get(TEST_BUCKET, "backup/_spool/1").headers
    assert [name for name in spooled if name.startswith("x-cos")] == ["x-cos-server-side-encryption"]


def test_an_equal_object_is_not_written_again(server, store):
    assert store.put(KEY, b"hello", META) is True
    assert store.put(KEY, b"compressed otherwise", META) is False
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"hello"


@pytest.mark.parametrize("name", ["records-crc64", "records-bytes", "messages"])
def test_an_unequal_object_is_a_conflict_that_names_both_sides(server, store, name):
    store.put(KEY, b"hello", META)
    with pytest.raises(ObjectConflictError) as caught:
        store.put(KEY, b"hello", {**META, name: "12345"})
    assert KEY in str(caught.value)
    assert f"{name} 12345" in str(caught.value)
    assert f"{name} {META[name]}" in str(caught.value)
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"hello"


def test_an_object_of_others_without_metadata_is_a_conflict(server, store):
    store.put_part(KEY, b"hello")
    with pytest.raises(ObjectConflictError, match="records-crc64 none"):
        store.put(KEY, b"hello", META)


def test_without_metadata_equal_is_told_by_the_content(store):
    assert store.put("backup/_manifest", b"{}", {}) is True
    assert store.put("backup/_manifest", b"{}", {}) is False
    with pytest.raises(ObjectConflictError):
        store.put("backup/_manifest", b"[]", {})


@pytest.mark.parametrize("kind", WITHOUT_EFFECT)
def test_put_survives_a_fault_that_passes(server, store, kind):
    server.faults.add(kind, operation="PutObject")
    assert store.put(KEY, b"hello" * 1000, META) is True
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"hello" * 1000
    assert server.requests["PutObject"] == 2


@pytest.mark.parametrize("kind", WITHOUT_EFFECT)
def test_what_was_sent_in_vain_goes_without_a_look_for_cycles(server, store, kind):
    payload = b"hello" * 1000
    gc.collect()
    gc.disable()
    try:
        server.faults.add(kind, operation="PutObject")
        store.put(KEY, payload, META)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [each for each in gc.garbage if any(it is payload for it in gc.get_referents(each))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []


@pytest.mark.parametrize("kind", AFTER_THE_EFFECT)
def test_a_lost_answer_is_settled_by_asking(server, store, kind):
    server.faults.add(kind, operation="PutObject")
    assert store.put(KEY, b"hello", META) is True
    assert server.requests["PutObject"] == 2
    assert server.requests["HeadObject"] == 1
    assert server.stored_keys(TEST_BUCKET) == [KEY]
    assert store.put(KEY, b"hello", META) is False


@pytest.mark.parametrize("kind", ["429", "request-timeout", "expired-token"])
def test_behind_a_refusal_an_equal_object_is_not_taken_for_our_own(server, store, parts, kind):
    store.put(KEY, b"hello", META)
    server.faults.add(kind, operation="PutObject", key=KEY)
    assert store.put(KEY, b"hello", META) is False
    server.faults.add(kind, operation="InitiateMultipartUpload")
    assert join(store, parts) is False
    assert server.faults.played == 2


def test_a_hanging_server_costs_one_timeout(server, make_store):
    server.faults.add("hang", operation="PutObject")
    assert make_store(timeout=0.3).put(KEY, b"hello", META) is True


@pytest.mark.parametrize("kind", ["wrong-crc", "no-crc"])
def test_a_wrong_answer_about_a_whole_object_is_checked_against_the_object(server, store, kind):
    server.faults.add(kind, operation="PutObject")
    assert store.put(KEY, b"hello", META) is True
    assert server.requests["HeadObject"] == 1


def test_an_object_damaged_on_its_way_is_deleted_and_sent_again(server, store):
    server.faults.add("corrupt", operation="PutObject")
    assert store.put(KEY, b"hello", META) is True
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"hello"
    assert server.requests["DeleteObject"] == 1


def test_a_damaged_object_that_cannot_be_deleted_is_an_error(server, store):
    server.faults.add("corrupt", operation="PutObject")
    server.faults.add("access-denied", operation="DeleteObject")
    with pytest.raises(DestinationError, match="could not be deleted again"):
        store.put(KEY, b"hello", META)


def test_an_answer_that_names_a_wrong_crc_once_is_no_damage(server, store):
    assert store.put(KEY, b"hello", META) is True
    server.faults.add("wrong-crc", operation="HeadObject")
    assert store.put(KEY, b"hello", META) is False


def test_a_damaged_object_whose_answer_was_lost_is_never_taken_for_stored(server, store):
    server.faults.add("corrupt", operation="PutObject")
    server.faults.add("wrong-crc", operation="HeadObject", nth=2)
    store_headers = {"x-cos-meta-content-crc64": str(crc64.xz(b"hello"))}
    store_headers |= {f"x-cos-meta-{name}": value for name, value in META.items()}
    store._client.put(KEY, b"hello", store_headers)
    with pytest.raises(DestinationError, match="was damaged when it was uploaded"):
        store.put(KEY, b"hello", META)


def test_a_proxy_that_always_changes_bytes_is_suspected(server, store, monkeypatch):
    monkeypatch.setattr(cos_store, "_FIRST_PAUSE", 0.001)
    server.faults.add("corrupt", operation="PutObject", times=1000)
    with pytest.raises(DestinationError, match=r"stored other bytes than were sent, or nothing\. Is there a proxy"):
        store.put(KEY, b"hello", META)
    assert server.stored_keys(TEST_BUCKET) == []


def test_a_page_of_another_server_is_not_taken_for_an_empty_listing_or_an_upload(server, store, parts):
    store.put(KEY, b"hello", META)
    server.faults.add("page", operation="GetBucket")
    server.faults.add("page", operation="InitiateMultipartUpload")
    server.faults.add("page", operation="ListMultipartUploads")
    assert list(store.list_keys("backup/t/")) == [KEY]
    assert join(store, parts, key="backup/t/other") is True
    assert list(store.list_uploads("")) == []
    assert server.faults.played == 3


def test_an_answer_that_trickles_in_is_cut_off(server, make_store):
    server.faults.add("drip", operation="PutObject")
    assert make_store(timeout=30, request_limit=0.5).put(KEY, b"hello", META) is True
    assert server.requests["PutObject"] == 2


def test_a_bucket_that_was_once_versioned_is_asked_before_every_write(server, store, parts):
    server.set_versioned(TEST_BUCKET)
    assert store.put(KEY, b"hello", META) is True
    assert store.put(KEY, b"hello", META) is False
    assert join(store, parts, key="backup/big") is True
    assert join(store, parts, key="backup/big") is False
    with pytest.raises(ObjectConflictError):
        store.put(KEY, b"hello", {**META, "messages": "6"})
    with pytest.raises(ObjectConflictError):
        join(store, parts, metadata={**META, "messages": "6"}, key="backup/big")
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"hello"


def test_without_the_permission_to_ask_for_versioning_every_write_asks_for_the_object(server, store):
    server.set_versioned(TEST_BUCKET)
    server.faults.add("access-denied", operation="GetBucketVersioning")
    store.put(KEY, b"hello", META)
    with pytest.raises(ObjectConflictError):
        store.put(KEY, b"other", {**META, "messages": "6"})
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"hello"


def test_writers_ask_for_versioning_at_once_so_that_none_waits_for_another(store, monkeypatch):
    together, was_versioned = Barrier(4), CosClient.was_versioned

    def asked(self):
        together.wait(10)
        return was_versioned(self)

    monkeypatch.setattr(CosClient, "was_versioned", asked)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda number: store.put(f"{KEY}{number}", b"hello", META), range(4)))


def test_listing_goes_past_a_page_in_the_order_of_bytes(server, store):
    names = [f"backup/{number:05d}" for number in range(2001)] + ["backup/\uffff", "backup/\U00010000", "backup/é +%&"]
    for name in names:
        server.disk.put(TEST_BUCKET, name, server.disk.receive(_empty(), 0), {}, False)
    server.disk.put(TEST_BUCKET, "backuq", server.disk.receive(_empty(), 0), {}, False)
    server.faults.add("503", operation="GetBucket", nth=2)
    assert list(store.list_keys("backup/")) == sorted(names, key=str.encode)
    assert server.requests["GetBucket"] == 4
    assert list(store.list_keys("backup/0200")) == ["backup/02000"]
    assert list(store.list_keys("nothing/")) == []


def _empty():
    import io

    return io.BytesIO()


@pytest.mark.parametrize("key", ["backup/ü/中文 😀", "backup/a b+c%2F&d=e?f#g", "backup/~!*'()./x", "x" * 850])
def test_every_key_that_cos_allows_can_be_written_joined_and_read(server, store, key):
    assert store.put(key, b"hello", META) is True
    assert store.put(key, b"hello", META) is False
    assert list(store.list_keys(key[:3])) == [key]
    store.delete_parts([key])
    store.put_part("spool", b"p" * MIB)
    assert store.join(key, ["spool"], b"t", crc64.xz(b"p" * MIB + b"t"), META) is True
    assert b"".join(store.read(key)) == b"p" * MIB + b"t"


def test_a_key_that_is_too_long_says_so(store):
    with pytest.raises(DestinationError, match="850 bytes"):
        store.put("x" * 851, b"", META)


@pytest.mark.parametrize("versioned", [False, True])
def test_of_eight_threads_that_put_one_key_one_creates_it(server, store, versioned):
    """With versioning two may pass at the same instant, so there only the outcome is fixed."""
    if versioned:
        server.set_versioned(TEST_BUCKET)
    together = Barrier(8)

    def put(_):
        together.wait()
        return store.put(KEY, b"hello", META)

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(put, range(8)))
    assert created.count(True) >= 1 if versioned else created.count(True) == 1
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"hello"


def test_many_puts_at_once_survive_random_faults(server, store):
    server.faults.at_random(0.2, seed=3)
    bodies = {f"backup/{number:03d}": bytes([number]) * (1000 * number) for number in range(60)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: store.put(item[0], item[1], META), bodies.items()))
    assert server.faults.played > 5
    assert {key: server.stored_bytes(TEST_BUCKET, key) for key in server.stored_keys(TEST_BUCKET)} == bodies


def test_reading_goes_on_where_it_broke_off(server, store, parts):
    server.faults.add("500", operation="GetObject", nth=2)
    server.faults.add("short", operation="GetObject", times=4)
    assert b"".join(store.read(parts[0][0])) == parts[1][0]
    assert server.faults.played == 4


def test_the_sdk_itself_tries_once(server, make_store):
    server.faults.add("503", operation="PutObject", times=1000)
    with pytest.raises(DestinationError, match="1 attempts"):
        make_store(policy=RetryPolicy(deadline=0.0)).put(KEY, b"hello", META)
    assert server.requests["PutObject"] == 1


def test_reading_an_object_that_is_not_there_says_so(store):
    with pytest.raises(DestinationError, match="There is no object"):
        list(store.read("backup/none"))


def test_reading_compares_the_crc64(server, store):
    store.put(KEY, b"hello", META)
    server.faults.add("wrong-crc", operation="GetObject")
    with pytest.raises(DestinationError, match="damaged"):
        list(store.read(KEY))


def test_giving_up_says_how_long_and_why(server, make_store):
    server.faults.add("503", operation="PutObject", times=1000)
    store = make_store(policy=RetryPolicy(deadline=0.2, first_wait=0.01, longest_wait=0.05))
    with pytest.raises(DestinationError, match=r"Gave up after \d+ s and \d+ attempts.*SlowDown.*request id"):
        store.put(KEY, b"hello", META)
    assert server.requests["PutObject"] > 1


def test_a_server_that_is_away_is_named(tmp_path, server, make_store):
    store = make_store(policy=RetryPolicy(deadline=0.2, first_wait=0.01, longest_wait=0.05))
    store.put("first", b"", META)
    server.stop()
    server.disk.__init__(tmp_path / "again", [TEST_BUCKET])
    with pytest.raises(DestinationError, match=r"cannot be reached\. Check --cos_region"):
        store.put(KEY, b"hello", META)


def test_a_missing_permission_is_said_at_once(server, store):
    server.faults.add("access-denied", method="PUT", times=1000)
    server.faults.add("access-denied", operation="GetBucket", times=1000)
    with pytest.raises(AccessError, match="Grant it name/cos:PutObject"):
        store.put(KEY, b"hello", META)
    with pytest.raises(AccessError, match="Grant it name/cos:GetBucket"):
        list(store.list_keys(""))
    assert (server.requests["PutObject"], server.requests["GetBucket"]) == (1, 1)


def test_a_redirect_is_not_taken_for_success(server, store):
    """The SDK itself does."""
    server.faults.add("redirect", operation="PutObject", times=1000)
    with pytest.raises(DestinationError, match="Check --cos_region"):
        store.put(KEY, b"hello", META)
    assert server.requests["PutObject"] == 1
