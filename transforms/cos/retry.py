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

from transforms.errors import AccessError, BackupError, DestinationError

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

CRC_MISMATCH = "CrcMismatch"
"""Our own code: COS stored other bytes than were sent."""

_STALE_KEY = {"ExpiredToken", "InvalidAccessKeyId", "RequestTimeTooSkewed"}
_PASSING_REQUEST_ERRORS = {"RequestTimeout", "RequestTimeOut", "IncompleteBody", "BadDigest"}
_PASSING_STATUSES = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_LASTING_SERVER_ERRORS = {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED}
_CREATING = {"PutObject", "InitiateMultipartUpload", "CompleteMultipartUpload"}
_LONGEST_MESSAGE = 300


class Verdict(enum.Enum):
    """What to do about a failure."""

    RETRY = "it passes: try again"
    REFRESH = "the key may be old: read it again and try once more"
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
    if status is None or status == HTTPStatus.OK:
        return Verdict.RETRY
    if failure.code in _STALE_KEY or "has expired" in failure.message:
        return Verdict.REFRESH
    if status == HTTPStatus.CONFLICT and failure.operation in _CREATING:
        return Verdict.RECONCILE
    if failure.code == "NoSuchUpload" and failure.operation == "CompleteMultipartUpload":
        return Verdict.RECONCILE
    passing = (
        status in _PASSING_STATUSES
        or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _LASTING_SERVER_ERRORS)
        or (status == HTTPStatus.BAD_REQUEST and failure.code in _PASSING_REQUEST_ERRORS)
    )
    return Verdict.RETRY if passing else Verdict.FATAL


def explain(failure: Failure, place: Place) -> BackupError:
    """Put a failure that stays into a sentence with its cause and its cure."""
    target = f"cos://{place.bucket}/{failure.key}"
    facts = f"({failure.operation} on {target}: {failure})"
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
    if failure.status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED):
        permission = f"name/cos:{failure.operation}"
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
        "NoSuchUpload": f"The multipart upload to {target} was aborted by someone else. Check that no lifecycle rule "
        "aborts young uploads.",
    }
    if failure.code in by_code:
        return by_code[failure.code]
    if failure.status is None:
        return f"{place} cannot be reached. Check --cos_region, --cos_endpoint and the network."
    if HTTPStatus.MULTIPLE_CHOICES <= failure.status < HTTPStatus.BAD_REQUEST:
        return f"COS says that {place} is to be asked for elsewhere. Check --cos_region."
    if failure.code == CRC_MISMATCH:
        return f"COS stored other bytes than were sent to {target}. Is there a proxy in between that changes them?"
    return f"COS refused a request to {place}."


def _kind(reference: str) -> str:
    """Give the reference, which is no secret unless it is of no known form."""
    return reference if reference == "env" or reference.startswith(("file:", "cvm-role:")) else "…"


@dataclass(frozen=True)
class RetryPolicy:
    """How long to try again. Waits are random between 0 and a bound that doubles, all in seconds.

    The deadline is for beginning an attempt: the last one may end later, by as much as a request's own timeout.
    """

    deadline: float = 120.0
    first_wait: float = 0.25
    longest_wait: float = 15.0

    def call(self, request: Callable[[], _Result], *, place: Place, refresh: Callable[[], None]) -> _Result:
        """Make a request until it succeeds; ``refresh`` is called at most once, when COS refuses the key.

        Raises RequestFailed for what the caller must reconcile, else AccessError or DestinationError.
        """
        refreshed = False

        def attempt() -> _Result:
            nonlocal refreshed
            try:
                return request()
            except RequestFailed as failed:
                if refreshed or classify(failed.failure) is not Verdict.REFRESH:
                    raise
                refreshed = True
                refresh()
                return request()

        started = time.monotonic()
        retrying = Retrying(
            retry=retry_if_exception(_passes),
            wait=wait_random_exponential(multiplier=self.first_wait, max=self.longest_wait),
            stop=stop_before_delay(self.deadline),
            before_sleep=_log_wait,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except RequestFailed as failed:
            verdict = classify(failed.failure)
            if verdict is Verdict.RECONCILE:
                raise
            error = explain(failed.failure, place)
            if verdict is Verdict.RETRY:
                tried = f"Gave up after {time.monotonic() - started:.0f} s and {retrying.statistics['attempt_number']} "
                error = type(error)(f"{tried}attempts. {error}")
            raise error from None


def _passes(error: BaseException) -> bool:
    return isinstance(error, RequestFailed) and classify(error.failure) is Verdict.RETRY


def _log_wait(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RequestFailed) and state.next_action:
        failure = error.failure
        _logger.info(
            "%s on %s failed: %s; again in %.1f s", failure.operation, failure.key, failure, state.next_action.sleep
        )
