from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.cos.retry import (
    NO_KEY,
    Failure,
    Place,
    RequestFailed,
    RetryPolicy,
    Verdict,
    classify,
    explain,
    may_have_happened,
)
from transforms.errors import AccessError, ArchivedError, BackupError, DestinationError

PLACE = Place("backup-1250000000", "ap-guangzhou", None, "file:/etc/cos.json")
QUICK = RetryPolicy(deadline=0.05, first_wait=0.001, longest_wait=0.002)


def failure(status, code="Unknown", operation="PutObject", message=""):
    return Failure(operation, "backup/key", status, code, message, "request-1")


@pytest.mark.parametrize(
    ("given_failure", "verdict"),
    [
        (failure(None, "ConnectionError"), Verdict.RETRY),
        (failure(500, "InternalError"), Verdict.RETRY),
        (failure(503, "SlowDown"), Verdict.RETRY),
        (failure(502), Verdict.RETRY),
        (failure(504), Verdict.RETRY),
        (failure(429), Verdict.RETRY),
        (failure(408), Verdict.RETRY),
        (failure(400, "RequestTimeout"), Verdict.RETRY),
        (failure(400, "BadDigest"), Verdict.RETRY),
        (failure(200, "InternalError", "CompleteMultipartUpload"), Verdict.RETRY),
        (failure(400, "ExpiredToken"), Verdict.REFRESH),
        (failure(403, "InvalidAccessKeyId"), Verdict.REFRESH),
        (failure(403, "RequestTimeTooSkewed"), Verdict.REFRESH),
        (failure(403, "AccessDenied", message="Request has expired"), Verdict.REFRESH),
        (failure(409, "FileAlreadyExists"), Verdict.RECONCILE),
        (failure(409), Verdict.RECONCILE),
        (failure(409, operation="InitiateMultipartUpload"), Verdict.RECONCILE),
        (failure(409, operation="CompleteMultipartUpload"), Verdict.RECONCILE),
        (failure(404, "NoSuchUpload", "CompleteMultipartUpload"), Verdict.RECONCILE),
        (failure(404, "NoSuchUpload", "UploadPart"), Verdict.RECONCILE),
        (failure(404, "NoSuchUpload", "UploadPartCopy"), Verdict.RECONCILE),
        (failure(None, NO_KEY), Verdict.REFRESH),
        (failure(403, operation="HeadObject"), Verdict.REFRESH),
        (failure(400, operation="HeadObject"), Verdict.REFRESH),
        (failure(409, "PathConflict", "DeleteObject"), Verdict.FATAL),
        (failure(403, "AccessDenied"), Verdict.FATAL),
        (failure(403), Verdict.FATAL),
        (failure(404, "NoSuchBucket"), Verdict.FATAL),
        (failure(403, "SignatureDoesNotMatch"), Verdict.FATAL),
        (failure(400, "EntityTooLarge"), Verdict.FATAL),
        (failure(501, "NotImplemented"), Verdict.FATAL),
        (failure(301, "Redirected"), Verdict.FATAL),
        (failure(400), Verdict.FATAL),
    ],
)
def test_what_a_failure_means(given_failure, verdict):
    assert classify(given_failure) is verdict


@pytest.mark.parametrize(
    ("given_failure", "possible"),
    [
        (failure(None, "ReadTimeout"), True),
        (failure(200, "Unreadable", "CompleteMultipartUpload"), True),
        (failure(500, "InternalError"), True),
        (failure(502), True),
        (failure(None, NO_KEY), False),
        (failure(429), False),
        (failure(400, "RequestTimeout"), False),
        (failure(400, "ExpiredToken"), False),
        (failure(409), False),
    ],
)
def test_which_failures_leave_open_whether_it_was_done(given_failure, possible):
    assert may_have_happened(given_failure) is possible


@pytest.mark.parametrize(
    ("given_failure", "error", "sentence"),
    [
        (failure(404, "NoSuchBucket"), DestinationError, r"no bucket backup-1250000000 \(region ap-guangzhou\).*own"),
        (failure(403, "SignatureDoesNotMatch"), AccessError, "secret key does not belong.*file:/etc/cos.json"),
        (failure(403, "InvalidAccessKeyId"), AccessError, "does not know the secret id.*file:/etc/cos.json"),
        (failure(400, "ExpiredToken"), AccessError, "has expired"),
        (failure(403, "RequestTimeTooSkewed"), AccessError, "clock differs"),
        (failure(403, "AccessDenied"), AccessError, "Grant it name/cos:PutObject"),
        (failure(403), AccessError, "Grant it name/cos:PutObject"),
        (failure(403, "InvalidObjectState"), ArchivedError, "is archived: restore it"),
        (failure(400, operation="HeadObject"), AccessError, "without a reason.*has expired, or may.*cos:HeadObject"),
        (failure(403, operation="HeadObject"), AccessError, "without a reason.*has expired, or may.*cos:HeadObject"),
        (failure(400, "EntityTooLarge"), DestinationError, "no object of that size"),
        (failure(400, "KeyTooLong"), DestinationError, "850 bytes"),
        (failure(None, "ConnectTimeout"), DestinationError, "cannot be reached"),
        (failure(301, "Redirected"), DestinationError, "asked for elsewhere"),
        (failure(418, "Teapot", message="short and stout"), DestinationError, r"refused.*418 Teapot \(short and stout"),
    ],
)
def test_what_stays_is_said_with_its_cause_and_cure(given_failure, error, sentence):
    explained = explain(given_failure, PLACE)
    assert type(explained) is error
    assert "cos://backup-1250000000/backup/key" in str(explained) or "backup-1250000000 (region" in str(explained)
    with pytest.raises(error, match=sentence):
        raise explained


def test_a_reference_of_no_known_form_is_not_repeated():
    """A secret may have been pasted in its place."""
    place = Place("backup-1250000000", "ap-guangzhou", None, "AKIDpasted")
    assert "AKIDpasted" not in str(explain(failure(403, "AccessDenied"), place))


@given(
    st.none() | st.integers(100, 599),
    st.sampled_from(["Unknown", "AccessDenied", "NoSuchKey", "NoSuchUpload", "ExpiredToken"]) | st.text(max_size=20),
    st.sampled_from(["PutObject", "GetObject", "UploadPartCopy", "CompleteMultipartUpload"]),
    st.text(max_size=400),
)
def test_every_failure_has_a_verdict_and_a_sentence(status, code, operation, message):
    any_failure = failure(status, code, operation, message)
    assert isinstance(classify(any_failure), Verdict)
    explained = explain(any_failure, PLACE)
    assert isinstance(explained, BackupError)
    assert len(str(explained)) < 1000


def script(*outcomes):
    """A request that fails as told, and then succeeds."""
    left = list(outcomes)

    def request():
        request.calls += 1
        if left:
            raise RequestFailed(left.pop(0))
        return "done"

    request.calls = 0
    return request


def never():
    raise AssertionError("the key was not refused")


def test_what_passes_is_tried_again():
    request = script(failure(503), failure(None), failure(429))
    assert RetryPolicy(5.0, 0.001, 0.002).call(request, place=PLACE, refresh=never) == "done"
    assert request.calls == 4


def test_a_refused_key_is_read_again_once():
    refreshed = []
    request = script(failure(503), failure(400, "ExpiredToken"), failure(503))
    policy = RetryPolicy(5.0, 0.001, 0.002)
    assert policy.call(request, place=PLACE, refresh=lambda: refreshed.append(1)) == "done"
    assert refreshed == [1]
    request = script(failure(400, "ExpiredToken"), failure(400, "ExpiredToken"))
    with pytest.raises(AccessError, match="has expired"):
        policy.call(request, place=PLACE, refresh=lambda: refreshed.append(1))
    assert refreshed == [1, 1, 1]


def test_a_key_that_is_swapped_twice_during_one_request_is_read_again_each_time():
    request = script(failure(400, "ExpiredToken"), failure(503), failure(403, "InvalidAccessKeyId"))
    assert RetryPolicy(5.0, 0.001, 0.002).call(request, place=PLACE, refresh=lambda: False) == "done"


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", NO_KEY])
def test_a_newer_key_is_waited_for_where_one_may_come(code):
    policy = RetryPolicy(5.0, 0.001, 0.002, key_deadline=5.0)
    request = script(*[failure(None if code == NO_KEY else 400, code, message="The role is gone.")] * 20)
    assert policy.call(request, place=PLACE, refresh=lambda: True) == "done"
    assert request.calls == 21


def test_the_wait_for_a_newer_key_ends():
    policy = RetryPolicy(5.0, 0.001, 0.002, key_deadline=0.02)
    request = script(*[failure(400, "ExpiredToken")] * 1000)
    with pytest.raises(AccessError, match=r"Gave up after 0 s and \d+ attempts\. The temporary key has expired"):
        policy.call(request, place=PLACE, refresh=lambda: True)
    assert 2 < request.calls < 1000


def test_no_newer_key_helps_against_a_wrong_clock():
    request = script(*[failure(403, "RequestTimeTooSkewed")] * 2)
    with pytest.raises(AccessError, match=r"^This machine's clock"):
        RetryPolicy(5.0, 0.001, 0.002).call(request, place=PLACE, refresh=lambda: True)


def test_what_must_be_reconciled_is_left_to_the_caller():
    with pytest.raises(RequestFailed, match="409"):
        QUICK.call(script(failure(409)), place=PLACE, refresh=never)


def test_what_stays_is_tried_once():
    request = script(failure(403, "AccessDenied"))
    with pytest.raises(AccessError):
        QUICK.call(request, place=PLACE, refresh=never)
    assert request.calls == 1


def test_the_deadline_ends_it_and_the_last_cause_is_named():
    request = script(*[failure(500)] * 1000, failure(503, "SlowDown"))
    with pytest.raises(DestinationError, match=r"Gave up after 0 s and \d+ attempts\. COS refused .* 500"):
        QUICK.call(request, place=PLACE, refresh=never)
    assert 2 < request.calls < 1000


def test_an_error_of_another_kind_passes_through_at_once():
    def request():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        QUICK.call(request, place=PLACE, refresh=never)
