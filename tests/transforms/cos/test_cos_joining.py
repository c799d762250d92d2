from __future__ import annotations

import pytest
from fastcrc import crc64

from tests.transforms.cos.joining import KEY, META, join, uploads
from tests.transforms.cos.passing_faults import AFTER_THE_EFFECT, WITHOUT_EFFECT
from transforms.cos import cos_store
from transforms.errors import AccessError, DestinationError, ObjectConflictError
from transforms.testing import cos_operations
from transforms.testing.cos_server import TEST_BUCKET


def test_joining_has_a_longer_timeout_of_its_own(server, make_store, parts):
    server.faults.add("hang", operation="CompleteMultipartUpload")
    hurried = make_store(timeout=30, complete_timeout=0.3)
    assert join(hurried, parts) is True
    assert server.requests["CompleteMultipartUpload"] == 2


@pytest.mark.parametrize("kind", [*WITHOUT_EFFECT, *AFTER_THE_EFFECT, "corrupt", "wrong-crc", "no-crc"])
def test_a_part_survives_a_fault_and_may_be_written_again(server, store, kind):
    server.faults.add(kind, operation="PutObject")
    store.put_part("backup/_spool/1", b"part" * 1000)
    store.put_part("backup/_spool/1", b"part" * 1000)
    assert server.stored_bytes(TEST_BUCKET, "backup/_spool/1") == b"part" * 1000


def test_three_parts_and_a_tail_make_one_object(server, store, parts):
    assert join(store, parts) is True
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"".join(parts[1]) + b"the tail"
    assert b"".join(store.read(KEY)) == b"".join(parts[1]) + b"the tail"
    assert server.stored_keys(TEST_BUCKET, "backup/_spool/") == parts[0]
    assert uploads(server) == []


def test_parts_alone_make_one_object(server, store, parts):
    assert join(store, parts, tail=b"") is True
    assert server.requests["UploadPart"] == 0
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"".join(parts[1])


@pytest.mark.parametrize("operation", ["InitiateMultipartUpload", "UploadPartCopy", "UploadPart"])
@pytest.mark.parametrize("kind", [*WITHOUT_EFFECT, *AFTER_THE_EFFECT])
def test_join_survives_a_fault_at_every_request(server, store, parts, operation, kind):
    server.faults.add(kind, operation=operation)
    assert join(store, parts) is True
    assert server.faults.played == 1
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"".join(parts[1]) + b"the tail"


@pytest.mark.parametrize("kind", [*WITHOUT_EFFECT, "complete-error", "wrong-crc", "no-crc"])
def test_complete_survives_a_fault_that_passes(server, store, parts, kind):
    server.faults.add(kind, operation="CompleteMultipartUpload")
    assert join(store, parts) is True
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"".join(parts[1]) + b"the tail"
    assert uploads(server) == []


@pytest.mark.parametrize("kind", [*AFTER_THE_EFFECT, "complete-garbled"])
def test_a_lost_answer_to_complete_is_settled_by_asking(server, store, parts, kind):
    server.faults.add(kind, operation="CompleteMultipartUpload")
    assert join(store, parts) is True
    assert server.requests["InitiateMultipartUpload"] == 1
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"".join(parts[1]) + b"the tail"


def test_an_upload_that_was_aborted_before_complete_is_done_again(server, store, parts):
    server.faults.add("no-such-upload", operation="CompleteMultipartUpload")
    assert join(store, parts) is True
    assert server.requests["InitiateMultipartUpload"] == 2
    assert uploads(server) == []


@pytest.mark.parametrize("operation", ["UploadPart", "UploadPartCopy"])
def test_an_upload_that_is_gone_before_its_last_part_is_done_again(server, store, parts, operation):
    server.faults.add("no-such-upload", operation=operation)
    assert join(store, parts) is True
    assert server.requests["InitiateMultipartUpload"] == 2
    assert uploads(server) == []


def test_an_upload_that_is_always_gone_is_an_error_that_says_so(server, store, parts, monkeypatch):
    monkeypatch.setattr(cos_store, "_FIRST_PAUSE", 0.001)
    server.faults.add("no-such-upload", operation="UploadPart", times=1000)
    with pytest.raises(
        DestinationError, match=r"could not be created.*ended by others.*no lifecycle rule aborts young"
    ):
        join(store, parts)
    assert uploads(server) == []


def test_ending_an_upload_survives_a_fault(server, store, parts):
    server.faults.add("access-denied", operation="UploadPart")
    server.faults.add("503", operation="AbortMultipartUpload")
    with pytest.raises(AccessError):
        join(store, parts)
    assert uploads(server) == []


def test_multipart_uploads_under_way_are_listed_over_several_pages_and_ended(server, store, monkeypatch):
    monkeypatch.setattr(cos_operations, "_PAGE", 2)
    keys = ["backup/ü %+", "backup/a", "backup/b", "backup/b", "backup/b", "other/c"]
    ids = [(key, server.disk.start_upload(TEST_BUCKET, key, {})) for key in keys]
    server.faults.add("503", operation="ListMultipartUploads", nth=2)
    found = list(store.list_uploads("backup/"))
    assert found == sorted(ids[:5], key=lambda upload: (upload[0].encode(), upload[1]))
    server.faults.add("503", operation="AbortMultipartUpload")
    server.faults.add("reset-after", operation="AbortMultipartUpload", nth=2)
    for key, upload in found:
        store.abort_upload(key, upload)
    assert uploads(server) == ["other/c"]


def test_a_damaged_tail_is_sent_again(server, store, parts):
    server.faults.add("corrupt", operation="UploadPart")
    assert join(store, parts) is True
    assert server.stored_bytes(TEST_BUCKET, KEY).endswith(b"the tail")
    assert (server.requests["UploadPart"], server.requests["InitiateMultipartUpload"]) == (2, 1)


def test_a_join_that_does_not_have_the_crc64_it_should_leaves_no_object(server, store, parts):
    with pytest.raises(DestinationError):
        store.join(KEY, parts[0], b"the tail", 12345, META)
    assert KEY not in server.stored_keys(TEST_BUCKET)
    assert uploads(server) == []


def test_a_join_onto_an_equal_object_copies_nothing(server, store, parts):
    assert join(store, parts) is True
    server.requests.clear()
    assert join(store, parts) is False
    assert server.requests["UploadPartCopy"] == 0


def test_a_join_onto_another_object_is_a_conflict(server, store, parts):
    store.put(KEY, b"other", {**META, "messages": "6"})
    with pytest.raises(ObjectConflictError, match="messages 6"):
        join(store, parts)
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"other"
    assert uploads(server) == []


def test_an_object_that_appears_during_a_join_is_not_overwritten(server, store, parts, monkeypatch):
    complete = store._client.complete

    def late(key, *rest):
        store._client.put(KEY, b"other", {})
        return complete(key, *rest)

    monkeypatch.setattr(store._client, "complete", late)
    with pytest.raises(ObjectConflictError):
        join(store, parts)
    assert server.stored_bytes(TEST_BUCKET, KEY) == b"other"
    assert uploads(server) == []


def test_a_missing_part_is_named_as_such_and_the_upload_is_aborted(server, store, parts):
    store.delete_parts(parts[0][1:2])
    with pytest.raises(DestinationError, match="one of them is gone"):
        join(store, parts)
    assert uploads(server) == []
    assert server.requests["AbortMultipartUpload"] == 1


def test_a_part_that_is_too_small_is_refused_by_cos_and_aborted(server, store):
    store.put_part("backup/_spool/1", b"small")
    with pytest.raises(DestinationError, match="EntityTooSmall"):
        store.join(KEY, ["backup/_spool/1"], b"tail", crc64.xz(b"smalltail"), META)
    assert uploads(server) == []


def test_delete_parts_takes_missing_ones_for_deleted(server, store, parts):
    server.faults.add("500", operation="DeleteObject")
    store.delete_parts([*parts[0], "backup/_spool/none"])
    assert server.stored_keys(TEST_BUCKET) == []
