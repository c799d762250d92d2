"""What an error of COS means, and how long to try again.

Deciding is pure: a ``Failure`` is a value, ``classify`` and ``explain`` are functions of it. Only ``RetryPolicy``
waits. Source of the rules: COS's list of error codes, read by status first, because proxies answer without a code.
"""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

from transforms.cos.together import pause
from transforms.errors import AccessError, ArchivedError, BackupError, DestinationError

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

CRC_MISMATCH = "CrcMismatch"
"""Our own code: COS stored other bytes than were sent."""

NO_KEY = "NoKey"
"""Our own code: there is no key to sign with at the moment."""

DEADLINE = 600.0
"""Seconds for which a request is tried again, unless ``--retry_deadline`` says otherwise."""

_STALE_KEY = {"ExpiredToken", "InvalidAccessKeyId", "RequestTimeTooSkewed"}
_KEY_MAY_COME = {"ExpiredToken", "InvalidAccessKeyId", NO_KEY}
_PASSING_REQUEST_ERRORS = {"RequestTimeout", "RequestTimeOut", "IncompleteBody", "BadDigest"}
_PASSING_STATUSES = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_LASTING_SERVER_ERRORS = {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED}
_CREATING = {"PutObject", "PutObjectCopy", "InitiateMultipartUpload", "CompleteMultipartUpload"}
#: Of operations that are not permissions of the same name.
_PERMISSIONS = {"PutObjectCopy": "name/cos:PutObject, and name/cos:GetObject on what is copied,"}
_OF_AN_UPLOAD = {"UploadPart", "UploadPartCopy", "CompleteMultipartUpload"}
_LONGEST_MESSAGE = 300
_LOOKS_AT_A_KEY = 2
_KEY_DEADLINE = 120.0


class Verdict(enum.Enum):
    """What to do about a failure."""

    RETRY = "it passes: try again"
    REFRESH = "the key may be old: read it again"
    RECONCILE = "the object or the upload may be ours: ask with HEAD"
    FATAL = "it stays"


@dataclass(frozen=True)
class Failure:
    """One request that failed. ``status`` is None where no answer came; 200 where the answer held an error."""

    operation: str
    """COS's name, such as ``PutObject``, which is also the name of the permission."""
    key: str
    status: int | None
    code: str
    message: str = ""
    request_id: str = ""

    def __str__(self) -> str:
        what = "no answer" if self.status is None else f"{self.status} {self.code}"
        details = [self.message[:_LONGEST_MESSAGE]] if self.message else []
        if self.request_id:
            details.append(f"request id {self.request_id}")
        return f"{what} ({', '.join(details)})" if details else what


class RequestFailed(Exception):
    """A request failed; carries the Failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


@dataclass(frozen=True)
class Place:
    """Where requests go, in the words of the options. Holds no secret."""

    bucket: str
    region: str | None
    endpoint: str | None
    credentials: str

    def __str__(self) -> str:
        where = f"region {self.region}" if self.region else f"endpoint {self.endpoint}"
        return f"bucket {self.bucket} ({where})"


def classify(failure: Failure) -> Verdict:
    """Decide what to do about a failure."""
    status = failure.status
    if failure.code == NO_KEY:
        return Verdict.REFRESH
    if status is None or status == HTTPStatus.OK:
        return Verdict.RETRY
    if failure.code in _STALE_KEY or "has expired" in failure.message or _refused_without_reason(failure):
        return Verdict.REFRESH
    if status == HTTPStatus.CONFLICT and failure.operation in _CREATING:
        return Verdict.RECONCILE
    if failure.code == "NoSuchUpload" and failure.operation in _OF_AN_UPLOAD:
        return Verdict.RECONCILE
    passing = (
        status in _PASSING_STATUSES
        or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _LASTING_SERVER_ERRORS)
        or (status == HTTPStatus.BAD_REQUEST and failure.code in _PASSING_REQUEST_ERRORS)
    )
    return Verdict.RETRY if passing else Verdict.FATAL


def may_have_happened(failure: Failure) -> bool:
    """Tell whether it may have been done all the same: the answer was lost, or is that of a server that fails."""
    status = failure.status
    if status is None:
        return failure.code != NO_KEY
    return status == HTTPStatus.OK or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _refused_without_reason(failure: Failure) -> bool:
    """The answer to HEAD has no body, so an old key looks like a missing permission, or like a malformed request."""
    unclear = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    return failure.operation == "HeadObject" and failure.status in unclear


def explain(failure: Failure, place: Place) -> BackupError:
    """Put a failure that stays into a sentence with its cause and its cure."""
    target = f"cos://{place.bucket}/{failure.key}"
    if failure.code == NO_KEY:
        return AccessError(failure.message)
    facts = f"({failure.operation} on {target}: {failure})"
    if failure.code == "InvalidObjectState":
        return ArchivedError(
            f"{target} is archived: restore it in COS's console to read it, and leave _manifest-* out of the lifecycle "
            f"rule. {facts}"
        )
    access = _access_problem(failure, place, target)
    if access is not None:
        return AccessError(f"{access} {facts}")
    return DestinationError(f"{_destination_problem(failure, place, target)} {facts}")


def _access_problem(failure: Failure, place: Place, target: str) -> str | None:
    reference = f"--cos_credentials={_kind(place.credentials)}"
    if failure.code == "RequestTimeTooSkewed":
        return "This machine's clock differs too much from COS's, so nothing can be signed: set it, for example by NTP."
    by_code = {
        "SignatureDoesNotMatch": "COS does not accept the signature: the secret key does not belong to the secret id.",
        "InvalidAccessKeyId": "COS does not know the secret id, or its token does not belong to it.",
        "ExpiredToken": "The temporary key has expired and no newer one was found.",
    }
    if failure.code in by_code:
        return f"{by_code[failure.code]} Check what {reference} refers to."
    if _refused_without_reason(failure):
        return (
            f"COS refused to tell of {target}, without a reason: the key that {reference} refers to has expired, or "
            f"may not do that. Provide a newer one, or grant it name/cos:{failure.operation} there."
        )
    if failure.status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED):
        permission = _PERMISSIONS.get(failure.operation, f"name/cos:{failure.operation}")
        return (
            f"The key that {reference} refers to may not do that on {target} in {place}. Grant it {permission} there."
        )
    return None


def _destination_problem(failure: Failure, place: Place, target: str) -> str:
    by_code = {
        "NoSuchBucket": f"There is no {place}. Check the name, which is NAME-APPID, and --cos_region: a bucket is "
        "found only in its own region.",
        "EntityTooLarge": f"COS takes no object of that size in one request: {target}. Write smaller files.",
        "KeyTooLong": f"The key has more than the 850 bytes that COS allows: {target}. Shorten the prefix.",
        "NoSuchKey": f"There is no object {target}."
        if failure.operation == "GetObject"
        else f"{target} is joined from spooled parts, and one of them is gone. Check that no lifecycle rule deletes "
        "young objects under _spool/.",
    }
    if failure.code in by_code:
        return by_code[failure.code]
    if failure.status is None:
        return f"{place} cannot be reached. Check --cos_region, --cos_endpoint and the network."
    if HTTPStatus.MULTIPLE_CHOICES <= failure.status < HTTPStatus.BAD_REQUEST:
        return f"COS says that {place} is to be asked for elsewhere. Check --cos_region."
    if failure.code == "Unknown" and failure.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"What answers for {place} is not COS. Check --cos_endpoint, and for a proxy in between."
    if failure.code == CRC_MISMATCH:
        return f"COS stored other bytes than were sent to {target}. Is there a proxy in between that changes them?"
    return f"COS refused a request to {place}."


def _kind(reference: str) -> str:
    """Give the reference, which is no secret unless it is of no known form."""
    return reference if reference == "env" or reference.startswith(("file:", "cvm-role:")) else "…"


@dataclass(frozen=True)
class RetryPolicy:
    """How long to try again. Waits are random between 0 and a bound that doubles, all in seconds.

    The deadline is for beginning an attempt: the last one may end later, by as much as a request's own limit.
    """

    deadline: float = DEADLINE
    first_wait: float = 0.25
    longest_wait: float = 15.0
    key_deadline: float = _KEY_DEADLINE
    """For how long a newer key is waited for where COS refuses the one there is, if one may come."""

    def call(
        self,
        request: Callable[[], _Result],
        *,
        place: Place,
        refresh: Callable[[], bool],
        tried_again: Callable[[], object] = lambda: None,
    ) -> _Result:
        """Make a request until it succeeds; ``tried_again`` is called whenever it did not.

        ``refresh`` is called when COS refuses the key; it tells whether a newer one may still come if that one is
        refused as well. Raises RequestFailed for what the caller must reconcile, else AccessError or DestinationError;
        AbandonedError instead of trying again where other work has failed with which this fails together.
        """
        refused_since: float | None = None

        def again(error: BaseException) -> bool:
            nonlocal refused_since
            if not isinstance(error, RequestFailed):
                return False
            verdict = classify(error.failure)
            if verdict is not Verdict.REFRESH:
                refused_since = None
                return verdict is Verdict.RETRY
            newer_may_come = refresh() and (
                error.failure.code in _KEY_MAY_COME or _refused_without_reason(error.failure)
            )
            if refused_since is None:
                refused_since = time.monotonic()
                return True
            return newer_may_come and time.monotonic() - refused_since < self.key_deadline

        def before_sleep(state: RetryCallState) -> None:
            tried_again()
            _log_wait(state)

        started = time.monotonic()
        retrying = Retrying(
            retry=retry_if_exception(again),
            wait=wait_random_exponential(multiplier=self.first_wait, max=self.longest_wait),
            stop=stop_before_delay(self.deadline),
            sleep=pause,
            before_sleep=before_sleep,
            reraise=True,
        )
        try:
            return retrying(request)
        except RequestFailed as failed:
            verdict = classify(failed.failure)
            if verdict is Verdict.RECONCILE:
                raise
            error = explain(failed.failure, place)
            attempts = retrying.statistics["attempt_number"]
            if verdict is Verdict.RETRY or (verdict is Verdict.REFRESH and attempts > _LOOKS_AT_A_KEY):
                tried = f"Gave up after {time.monotonic() - started:.0f} s and {attempts} attempts."
                error = type(error)(f"{tried} {error}")
            raise error from None


def _log_wait(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RequestFailed) and state.next_action:
        failure = error.failure
        _logger.info(
            "%s on %s failed: %s; again in %.1f s", failure.operation, failure.key, failure, state.next_action.sleep
        )
