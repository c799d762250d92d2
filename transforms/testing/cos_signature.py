"""Verifies signatures as COS does, so that a client that signs wrongly fails here as it would there.

The rule is COS's request signature with HMAC-SHA1 (``q-sign-algorithm=sha1``).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote

from transforms.testing.cos_answers import Refusal

_FIELDS = ("q-ak", "q-sign-time", "q-key-time", "q-header-list", "q-url-param-list", "q-signature")


@dataclass(frozen=True)
class ServerKey:
    """A secret key that the server knows. With a token it is a temporary one, which may have expired."""

    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expired: bool = False


def sign(secret_key: str, key_time: str, method: str, path: str, *, parameters: Mapping[str, str], headers: str) -> str:
    """Sign a request; ``parameters`` are those signed, ``headers`` the signed ones as canonical text.

    ``path`` is decoded and starts with ``/``.
    """
    http_string = f"{method.lower()}\n{path}\n{canonical(parameters)}\n{headers}\n"
    digest = hashlib.sha1(http_string.encode(), usedforsecurity=False).hexdigest()
    sign_key = hmac.new(secret_key.encode(), key_time.encode(), hashlib.sha1).hexdigest()
    return hmac.new(sign_key.encode(), f"sha1\n{key_time}\n{digest}\n".encode(), hashlib.sha1).hexdigest()


def canonical(pairs: Mapping[str, str | bytes]) -> str:
    """Lower-case the names, percent-encode names and values, sort them."""
    encoded = sorted((quote(name, safe="").lower(), quote(value, safe="")) for name, value in pairs.items())
    return "&".join(f"{name}={value}" for name, value in encoded)


def verify(
    method: str,
    path: str,
    *,
    parameters: Mapping[str, str],
    headers: Mapping[str, str],
    keys: Mapping[str, ServerKey],
    now: float,
) -> None:
    """Check the ``authorization`` header of a request; raises Refusal.

    ``headers`` have lower-case names and values as http.server gives them (latin-1).
    """
    authorization = headers.get("authorization", "")
    claims = dict(pair.partition("=")[::2] for pair in authorization.split("&"))
    if claims.get("q-sign-algorithm") != "sha1" or any(name not in claims for name in _FIELDS):
        raise Refusal(HTTPStatus.FORBIDDEN, "AccessDenied", "Access Denied: the request is not signed.")
    key = keys.get(claims["q-ak"])
    if key is None:
        raise Refusal(HTTPStatus.FORBIDDEN, "InvalidAccessKeyId", "The access key Id you provided is not known.")
    _check_token(key, headers.get("x-cos-security-token"))
    _check_time(claims["q-sign-time"], now)
    _check_time(claims["q-key-time"], now)
    by_name = {name.lower(): value for name, value in parameters.items()}
    try:
        signed_parameters = {name: by_name[name] for name in claims["q-url-param-list"].split(";") if name}
        signed_headers = {name: headers[name].encode("latin-1") for name in claims["q-header-list"].split(";") if name}
    except KeyError as missing:
        message = f"{missing.args[0]} is listed as signed but was not sent."
        raise Refusal(HTTPStatus.FORBIDDEN, "SignatureDoesNotMatch", message) from None
    names_and_values = canonical(signed_headers)
    key_time = claims["q-key-time"]
    expected = sign(key.secret_key, key_time, method, path, parameters=signed_parameters, headers=names_and_values)
    if not hmac.compare_digest(expected, claims["q-signature"]):
        message = "The Signature you specified is invalid."
        raise Refusal(HTTPStatus.FORBIDDEN, "SignatureDoesNotMatch", message)


def _check_token(key: ServerKey, token: str | None) -> None:
    if key.expired:
        raise Refusal(HTTPStatus.BAD_REQUEST, "ExpiredToken", "The provided token has expired.")
    if key.token != token:
        raise Refusal(HTTPStatus.FORBIDDEN, "InvalidAccessKeyId", "The security token does not belong to the key.")


def _check_time(window: str, now: float) -> None:
    try:
        start, end = map(int, window.split(";"))
    except ValueError:
        raise Refusal(HTTPStatus.FORBIDDEN, "AccessDenied", "The time of the signature is malformed.") from None
    if not start <= now <= end:
        message = "The difference between the request time and the current time is too large."
        raise Refusal(HTTPStatus.FORBIDDEN, "RequestTimeTooSkewed", message)
