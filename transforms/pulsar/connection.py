"""How to reach a Pulsar cluster: addresses and references to secrets, never the secrets."""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from transforms.errors import ConfigurationError

#: What a role's key looks like: a JSON web token.
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")
#: Header, claims and signature of a JSON Web Token (RFC 7519).
_TOKEN_PARTS = 3
_FORMS = "Give env:NAME (a variable of the environment) or file:PATH."


@dataclass(frozen=True)
class PulsarConnection:
    """Picklable; the token is read from its reference on the worker, whenever the client asks for it.

    ``service_url`` is the address as the console shows it: ``pulsar://``, ``pulsar+ssl://``, ``http://`` or ``https://``.
    ``token`` is ``env:NAME`` or ``file:PATH``. ``admin_url`` is the admin REST address; without it fewer checks are
    made. Times are in seconds.
    """

    service_url: str
    admin_url: str | None = None
    token: str | None = field(default=None, repr=False)
    tls_trust_certs: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    listener_name: str | None = None
    operation_timeout: int = 30

    def problems(self) -> list[str]:
        """What is wrong with it that can be told without asking anyone, a sentence each."""
        found = []
        for option, url in (("service_url", self.service_url), ("admin_url", self.admin_url)):
            if url is not None and "@" in url:
                # Not quoted, and nothing else is said of it: what stands before the @ may be a password.
                found.append(f"--{option} must hold neither user nor password. Give the role's key in --token.")
        if found:
            return found
        if not self.service_url.startswith(("pulsar://", "pulsar+ssl://", "http://", "https://")):
            found.append(
                f"--service_url={self.service_url}: must begin with pulsar://, pulsar+ssl://, http:// or https://, "
                "such as pulsar://127.0.0.1:6650."
            )
        if self.admin_url is not None and not self.admin_url.startswith(("http://", "https://")):
            found.append(f"--admin_url={self.admin_url}: must begin with http:// or https://.")
        if self.token is not None:
            try:
                read_token(self.token)
            except ConfigurationError as error:
                found.extend(error.problems)
        if (self.tls_cert is None) != (self.tls_key is None):
            found.append("--tls_cert and --tls_key go together: give both or neither.")
        for option, path in (
            ("tls_trust_certs", self.tls_trust_certs),
            ("tls_cert", self.tls_cert),
            ("tls_key", self.tls_key),
        ):
            if path is not None and "-----BEGIN" in path:
                found.append(f"--{option}: give the name of a file, not what stands in it.")
            elif path is not None and ("\0" in path or not os.access(path, os.R_OK)):
                found.append(f"--{option}={path}: no such file, or it cannot be read.")
        return found


def read_token(reference: str) -> str:
    """The token that a reference points to, read anew. Raises ConfigurationError with the reference, not the token."""
    kind, _, name = reference.partition(":")
    if kind == "env" and re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        token = os.environ.get(name, "").strip()
        if not token:
            raise ConfigurationError(f"--token={reference}: the variable {name} is not set, or is empty.")
        return token
    if kind == "file" and name and not _TOKEN.fullmatch(name):
        try:
            token = Path(name).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigurationError(f"--token={reference}: the file cannot be read: {reason}.") from None
        if not token:
            raise ConfigurationError(f"--token={reference}: the file is empty.")
        return token
    # What stands here may be the token itself, so it is not repeated.
    raise ConfigurationError(f"--token: not a reference. {_FORMS}")


def token_subject(reference: str) -> str | None:
    """The role to which the token of a reference belongs; None where it is not here, or does not tell."""
    try:
        subject = _claims(read_token(reference))["sub"]
    except (ConfigurationError, ValueError, KeyError, TypeError, IndexError):
        return None
    return subject if isinstance(subject, str) else None


def _claims(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def token_fault(token: str) -> str:
    """What can be told of a token that was refused, in a sentence that repeats nothing of it but its last day."""
    parts = token.split(".")
    if len(parts) != _TOKEN_PARTS or not all(parts):
        return "It has not the form of a role's key: three parts with dots between them."
    try:
        expires = datetime.fromtimestamp(_claims(token)["exp"], timezone.utc)
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        expires = None
    if expires is not None and expires <= datetime.now(timezone.utc):
        return f"It expired at {expires:%Y-%m-%dT%H:%M:%SZ}."
    return "It is not whole, or belongs to another cluster or to a role that is gone."
