"""A narrow client for one bucket: the only module that knows the SDK (cos-python-sdk-v5).

Every method makes one attempt and raises RequestFailed; nothing is retried here. What the SDK does that we had to
work around stands at the place where we do.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from qcloud_cos import CosConfig, CosS3Client
from qcloud_cos.cos_exception import CosException, CosServiceError
from requests.adapters import HTTPAdapter

from transforms.cos.credentials import Credentials, CredentialSource
from transforms.cos.retry import NO_KEY, Failure, RequestFailed
from transforms.cos.time_limit import TimeLimits, limited
from transforms.errors import AccessError, ConfigurationError
from transforms.files.pieces import Body

_Result = TypeVar("_Result")

TIMEOUT = 60.0
"""Seconds without a byte from COS."""

COMPLETE_TIMEOUT = 300.0
"""COS joins the parts while the client waits, which takes minutes for large objects. The SDK itself waits 20 minutes;
but a connection that a router has forgotten hangs as long, and Complete may be asked again."""

REQUEST_LIMIT = 900.0
"""Seconds for a request in all: an answer that trickles in byte by byte never meets a timeout."""

#: What the text of an error of the HTTP client holds, the first that fits.
_REASONS = {
    "Failed to resolve": "the host name cannot be resolved",
    "refused": "the connection was refused",
    "timed out": "nothing came in time",
    "CERTIFICATE_VERIFY_FAILED": "the certificate is not trusted",
    "WRONG_VERSION_NUMBER": "the port is without TLS",
    "SSLError": "TLS failed",
    "Connection aborted": "the connection was broken off",
}

_PIECE = 1 << 18
"""Bytes read at once. What is short of a piece when a connection breaks is read again."""

# At DEBUG the SDK logs the signing key and the token; above it, every 404 and 409 that is business as usual, and
# whole error bodies. All of that reaches us as exceptions, so only what is above ERROR is let through.
_SDK_LEVEL = logging.CRITICAL
_SDK_LOGGERS = ("qcloud_cos", "qcloud_cos.cos_auth", "qcloud_cos.cos_client")


@dataclass(frozen=True)
class ListedPage:
    """A page of a listing: (key, size); ``next_marker`` is None on the last one."""

    objects: Sequence[tuple[str, int]]
    next_marker: str | None
    modified: Sequence[str] = ()
    """When each was written, in the form of ISO 8601."""


@dataclass(frozen=True)
class ListedUploads:
    """A page of multipart uploads under way: (key, id); ``next_markers`` is None on the last one."""

    uploads: Sequence[tuple[str, str]]
    next_markers: tuple[str, str] | None


class CosClient:
    """Requests to one bucket. Thread-safe; not picklable, for it holds secrets."""

    def __init__(
        self,
        *,
        bucket: str,
        region: str | None,
        endpoint: str | None,
        credentials: CredentialSource,
        pool_size: int = 32,
        timeout: float = TIMEOUT,
        complete_timeout: float = COMPLETE_TIMEOUT,
        request_limit: float = REQUEST_LIMIT,
    ) -> None:
        for name in _SDK_LOGGERS:
            logging.getLogger(name).setLevel(_SDK_LEVEL)
        self._bucket = bucket
        self._place = _address(bucket, region, endpoint)
        self._source = credentials
        self._timeout = timeout
        self._complete_timeout = complete_timeout
        self._limits = TimeLimits(request_limit)
        self._session = _session(pool_size)
        self._lock = threading.Lock()
        self._epoch: tuple[Credentials, CosS3Client, CosS3Client] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("A CosClient is not pickled: build it on the worker.")

    def refresh(self) -> bool:
        """Read the credentials again before the next request; True if yet newer ones may come later."""
        return self._source.refresh()

    def put(self, key: str, body: Body, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Write an object; gives the headers of the answer."""
        content = _sent(body)
        return self._do(
            "PutObject", key, lambda sdk: sdk.put_object(self._bucket, content, key, Metadata=dict(headers))
        )

    def head(self, key: str) -> Mapping[str, str] | None:
        """Give the headers of an object, None if there is none. A missing bucket looks the same."""
        try:
            return self._do("HeadObject", key, lambda sdk: sdk.head_object(self._bucket, key), wanted="etag")
        except RequestFailed as failed:
            if failed.failure.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def get(self, key: str, start: int = 0, stop: int | None = None) -> tuple[Mapping[str, str], Iterator[bytes]]:
        """Read an object from byte ``start`` to before ``stop``; gives the headers and the content piece by piece.

        The content may end early without an error: compare with ``content-length``.
        """
        last = "" if stop is None else stop - 1
        wanted = {"Range": f"bytes={start}-{last}"} if start or stop is not None else {}
        answer = self._do("GetObject", key, lambda sdk: sdk.get_object(self._bucket, key, **wanted))
        return answer, self._pieces(key, answer["body"])

    def list(self, prefix: str, marker: str) -> ListedPage:
        """List up to 1,000 keys after ``marker``, in the order of their UTF-8 bytes."""
        answer = self._do(
            "GetBucket",
            prefix,
            lambda sdk: sdk.list_objects(self._bucket, prefix, Marker=marker),
            wanted="istruncated",
        )
        objects = [(entry["Key"], int(entry["Size"])) for entry in answer.get("contents", ())]
        truncated = answer.get("istruncated") == "true"
        following = (answer.get("nextmarker") or objects[-1][0]) if truncated else None
        return ListedPage(objects, following, [entry["LastModified"] for entry in answer.get("contents", ())])

    def delete(self, key: str) -> None:
        """Delete an object. One that is not there is no error."""
        self._do("DeleteObject", key, lambda sdk: sdk.delete_object(self._bucket, key))

    def was_versioned(self) -> bool:
        """Tell whether versioning is on, or was and is suspended: COS then ignores forbid-overwrite."""
        answer = self._do("GetBucketVersioning", "", lambda sdk: sdk.get_bucket_versioning(self._bucket))
        return bool(answer.get("status"))

    def initiate(self, key: str, headers: Mapping[str, str]) -> str:
        """Start a multipart upload; gives its id."""
        answer = self._do(
            "InitiateMultipartUpload",
            key,
            lambda sdk: sdk.create_multipart_upload(self._bucket, key, Metadata=dict(headers)),
            wanted="uploadid",
        )
        return str(answer["uploadid"])

    def upload_part(self, key: str, upload: str, number: int, body: Body) -> Mapping[str, str]:
        """Upload a part; the answer has its ``etag``."""
        content = _sent(body)
        return self._do(
            "UploadPart", key, lambda sdk: sdk.upload_part(self._bucket, key, content, number, upload), wanted="etag"
        )

    def copy_part(self, key: str, upload: str, number: int, source: str) -> Mapping[str, str]:
        """Make a whole object of the same bucket a part; the answer has its ``etag``."""
        where = self._copy_source(self._bucket, source)
        return self._do(
            "UploadPartCopy",
            key,
            lambda sdk: sdk.upload_part_copy(self._bucket, key, number, upload, where),
            wanted="etag",
        )

    def copy(self, key: str, bucket: str, source: str, headers: Mapping[str, str]) -> None:
        """Copy a whole object (5 GB at most) with its metadata, from a bucket of the same region."""
        where = self._copy_source(bucket, source)
        self._do(
            "PutObjectCopy",
            key,
            lambda sdk: sdk.copy_object(self._bucket, key, where, Metadata=dict(headers)),
            patient=True,
            wanted="etag",
        )

    def _copy_source(self, bucket: str, key: str) -> Mapping[str, Any]:
        name = "Region" if "Region" in self._place else "Endpoint"
        return {"Bucket": bucket, "Key": key, name: self._place.get(name)}

    def complete(self, key: str, upload: str, etags: Sequence[str], headers: Mapping[str, str]) -> Mapping[str, str]:
        """Join the parts, numbered from 1; gives the headers of the answer."""
        parts = {"Part": [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]}
        return self._do(
            "CompleteMultipartUpload",
            key,
            lambda sdk: sdk.complete_multipart_upload(self._bucket, key, upload, parts, Metadata=dict(headers)),
            patient=True,
        )

    def abort(self, key: str, upload: str) -> None:
        """End an upload without an object."""
        self._do("AbortMultipartUpload", key, lambda sdk: sdk.abort_multipart_upload(self._bucket, key, upload))

    def uploads(self, prefix: str, markers: tuple[str, str]) -> ListedUploads:
        """List multipart uploads under way behind ``markers``, which are a key and an id, empty at first."""
        answer = self._do(
            "ListMultipartUploads",
            prefix,
            lambda sdk: sdk.list_multipart_uploads(
                self._bucket, prefix, KeyMarker=markers[0], UploadIdMarker=markers[1]
            ),
            wanted="istruncated",
        )
        found = [(entry["Key"], entry["UploadId"]) for entry in answer.get("upload", ())]
        if answer["istruncated"] != "true":
            return ListedUploads(found, None)
        following = answer.get("nextkeymarker") or found[-1][0], answer.get("nextuploadidmarker") or found[-1][1]
        return ListedUploads(found, following)

    def _do(
        self,
        operation: str,
        key: str,
        call: Callable[[CosS3Client], Any],
        *,
        patient: bool = False,
        wanted: str | None = None,
    ) -> Mapping[str, Any]:
        """Make one request; gives the answer's fields with lower-case names."""
        try:
            sdk = self._sdk(patient)
        except AccessError as error:
            raise RequestFailed(Failure(operation, key, None, NO_KEY, str(error))) from None
        try:
            with self._limits.apply():
                answer = call(sdk)
        except Exception as error:
            # Not only CosException: a garbled body raises what the XML parser raises.
            failure = _failure(operation, key, error)
            _forget_frames(error)
            raise RequestFailed(failure) from None
        fields = {name.lower(): value for name, value in (answer or {}).items()}
        if wanted is not None and wanted not in fields:
            # A copy may answer 200 and then an error in its body; and a proxy 200 with a page of its own.
            raise RequestFailed(Failure(operation, key, HTTPStatus.OK, str(fields.get("code", "Unknown"))))
        return fields

    def _pieces(self, key: str, body: Any) -> Iterator[bytes]:
        try:
            yield from body.get_stream(_PIECE)
        except requests.RequestException as error:
            raise RequestFailed(_failure("GetObject", key, error)) from None

    def _sdk(self, patient: bool) -> CosS3Client:
        """Give the SDK's client for the key of the moment.

        The SDK never sends the token of a credential *provider*, and its ``set_credential`` fails without a token. So
        each new key gets new clients, which share our session.
        """
        with self._lock:
            credentials = self._source.get()
            if self._epoch is None or self._epoch[0] != credentials:
                # Two, for the SDK's timeout overrides the longer one that it means for Complete.
                usual = self._new_sdk(credentials, self._timeout)
                self._epoch = (credentials, usual, self._new_sdk(credentials, self._complete_timeout))
            return self._epoch[2 if patient else 1]

    def _new_sdk(self, credentials: Credentials, timeout: float) -> CosS3Client:
        config = CosConfig(
            SecretId=credentials.secret_id,
            SecretKey=credentials.secret_key,
            Token=credentials.token,
            Timeout=timeout,
            **self._place,
        )
        # retry=0: the SDK retries without jitter and hides that a lost answer may have had an effect.
        # session: by default all clients of a process share one, whose pool has the size that the first asked for.
        return CosS3Client(config, retry=0, session=self._session)


def _session(pool_size: int) -> requests.Session:
    session = requests.Session()
    adapter = limited(HTTPAdapter(pool_connections=4, pool_maxsize=pool_size))
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    # The SDK takes a redirect for success. It goes nowhere useful: COS answers so for a bucket of another region.
    session.hooks["response"].append(_refuse_redirect)
    return session


class _RedirectedError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"redirected with {status}")
        self.status = status


def _refuse_redirect(response: requests.Response, *_: object, **__: object) -> None:
    if HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST:
        raise _RedirectedError(response.status_code)


def _sent(body: Body) -> Body:
    """A body as the HTTP client takes it: of pieces it sends one after the other, if it knows how many bytes come.

    It takes none for a length that is not known.
    """
    return body if len(body) else b""


def _forget_frames(error: BaseException | None) -> None:
    """Let go what the frames of an error hold: above all the body of the request that failed.

    The HTTP client leaves a cycle of error and frame behind, and cycles are seldom looked for (see
    ``seldom_look_for_cycles``).
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _failure(operation: str, key: str, error: Exception) -> Failure:
    """Read an error of the SDK. ``get_error_code`` and its like raise KeyError where a field is missing."""
    if isinstance(error, CosServiceError):
        digest = error.get_digest_msg()
        fields = digest if isinstance(digest, dict) else {}
        return Failure(
            operation,
            key,
            int(error.get_status_code()),
            str(fields.get("code", "Unknown")),
            str(fields.get("message", "")),
            str(fields.get("requestid", "")),
        )
    cause = error.__context__
    if isinstance(cause, _RedirectedError):
        return Failure(operation, key, cause.status, "Redirected")
    if isinstance(error, CosException | requests.RequestException):
        return Failure(operation, key, None, type(cause or error).__name__, _why(error))
    return Failure(operation, key, HTTPStatus.OK, "Unreadable", f"{type(error).__name__} in the answer")


def _why(error: Exception) -> str:
    """Why no answer came, in words: the text of the HTTP client is of its classes and pools."""
    text = str(error)
    return next((words for mark, words in _REASONS.items() if mark in text), "the connection failed")


def _address(bucket: str, region: str | None, endpoint: str | None) -> Mapping[str, Any]:
    """Give the SDK's settings for a region or for a value of ``--cos_endpoint``; raises ConfigurationError."""
    if not endpoint:
        return {"Region": region, "Scheme": "https"}
    url = urlsplit(endpoint)
    host = url.hostname or ""
    if url.scheme not in ("http", "https") or not host or url.path not in ("", "/"):
        raise ConfigurationError(f"--cos_endpoint={endpoint} is not of the form http[s]://host[:port].")
    scheme = {"Scheme": url.scheme}
    if url.port is not None or _is_address(host):
        # Signs and sends the bucket's own host name, but connects here. With ``Domain`` the SDK would sign the host
        # without its port.
        name = {"Region": region} if region else {"Endpoint": "cos.local.myqcloud.com"}
        return {**scheme, **name, "IP": host, "Port": url.port}
    if host.startswith(f"{bucket}."):
        return {**scheme, "Domain": host, **({"Region": region} if region else {"Endpoint": host.partition(".")[2]})}
    return {**scheme, "Endpoint": host}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
