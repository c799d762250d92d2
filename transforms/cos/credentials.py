"""Where the secret keys for COS come from: a reference travels with the job, the secret is read on the worker.

``env``            the variables COS_SECRET_ID, COS_SECRET_KEY and, for a temporary key, COS_TOKEN
``file:PATH``      those names as JSON or as NAME=VALUE lines; read again when the file changes
``cvm-role:NAME``  the role of the machine, from the metadata service; fetched again before the key expires
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from transforms.errors import AccessError, ConfigurationError

METADATA_URL = "http://metadata.tencentyun.com/latest/meta-data/cam/security-credentials/"
"""Source: Tencent Cloud's documentation of instance roles (CVM, "Managing roles")."""

REFRESH_BEFORE_EXPIRY = 300.0
"""Seconds. A request signed with a key must reach COS before the key expires."""

_METADATA_TIMEOUT = 5.0
_METADATA_PAUSE = 15.0
"""Seconds until the metadata service is asked again for a newer key than one that can still be used."""
_LARGEST_METADATA = 1 << 16
_FORMS = (
    "Use env (COS_SECRET_ID, COS_SECRET_KEY and, for a temporary key, COS_TOKEN), file:PATH (a file with those names "
    "as JSON or as NAME=VALUE lines) or cvm-role:NAME (the role of the machine)."
)


@dataclass(frozen=True)
class Credentials:
    """A secret key. Its repr shows nothing of it, and it refuses to be pickled."""

    secret_id: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires: float | None = None
    """Seconds since 1970; None for a key that does not expire or does not say."""

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("Credentials are not pickled: pass on the reference and read them on the worker.")


class CredentialSource(Protocol):
    """Gives the secret key of the moment. Thread-safe."""

    def get(self) -> Credentials:
        """Give the key to sign with now; equal to the last one while it has not changed.

        Raises ConfigurationError or AccessError where there is none.
        """
        ...

    def refresh(self) -> bool:
        """Forget what is remembered, for COS has refused it; True if a newer key may come later."""
        ...


def parse_credentials(reference: str, *, metadata_url: str = METADATA_URL) -> CredentialSource:
    """Turn the value of ``--cos_credentials`` into a source; reads no secret yet.

    Raises ConfigurationError, naming the forms, where the reference is of none of them.
    """
    kind, _, name = reference.partition(":")
    if reference == "env":
        return EnvironmentCredentials()
    if kind == "file" and name:
        return FileCredentials(Path(name))
    if kind == "cvm-role" and name:
        return RoleCredentials(name, metadata_url)
    # What was given may be a secret pasted by mistake, so it is not repeated.
    raise ConfigurationError(f"--cos_credentials: the reference to the COS credentials is of no known form. {_FORMS}")


class EnvironmentCredentials:
    """Reads the environment of the worker at each call."""

    def get(self) -> Credentials:
        """Give the key in the environment; raises ConfigurationError."""
        return _from_names(os.environ, "The environment")

    def refresh(self) -> bool:
        """Nothing is remembered, and the environment of a process stays as it is."""
        return False


class FileCredentials:
    """Reads a file, and reads it again when its time, size or inode changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._credentials: Credentials | None = None

    def get(self) -> Credentials:
        """Give the key in the file; raises ConfigurationError.

        A file that cannot be read or is half written leaves the key that was read before in use, if there is one.
        """
        with self._lock:
            try:
                status = self._path.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if self._credentials is None or stamp != self._stamp:
                    self._credentials = _from_names(_parse_file(self._path), f"The file {self._path}")
                    self._stamp = stamp
            except OSError as error:
                if self._credentials is None:
                    message = f"The file {self._path} with the COS credentials cannot be read: {error.strerror}."
                    raise ConfigurationError(message) from None
            except ConfigurationError:
                if self._credentials is None:
                    raise
            return self._credentials

    def refresh(self) -> bool:
        """Read the file again at the next call, whatever its time says."""
        with self._lock:
            self._stamp = None
        return True


class RoleCredentials:
    """Asks the metadata service for the temporary key of the machine's role."""

    def __init__(self, role: str, metadata_url: str = METADATA_URL) -> None:
        self._role = role
        self._url = metadata_url.rstrip("/") + "/" + quote(role, safe="")
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._asked = 0.0

    def get(self) -> Credentials:
        """Give the role's key, fetched again when it is about to expire; raises AccessError.

        While the metadata service does not answer, a key that has not expired stays in use.
        """
        with self._lock:
            now = time.time()
            known = self._credentials
            left = known.expires - now if known is not None and known.expires is not None else 0.0
            asked_lately = left > 0 and now - self._asked < _METADATA_PAUSE
            if known is None or (left < REFRESH_BEFORE_EXPIRY and not asked_lately):
                self._asked = now
                try:
                    known = self._credentials = self._fetch()
                except AccessError:
                    if known is None or left <= 0:
                        raise
            return known

    def refresh(self) -> bool:
        """Fetch a key at the next call."""
        with self._lock:
            self._credentials = None
        return True

    def _fetch(self) -> Credentials:
        cure = "Check that this machine has that role, or use env or file:PATH."
        # Never through a proxy: the service is this machine's own, and a proxy would answer for another one.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self._url, timeout=_METADATA_TIMEOUT) as response:
                answer = json.loads(response.read(_LARGEST_METADATA))
            if answer.get("Code", "Success") != "Success":
                raise AccessError(f"The metadata service refused the role {self._role}: {answer['Code']}. {cure}")
            return Credentials(
                _stripped(answer["TmpSecretId"]),
                _stripped(answer["TmpSecretKey"]),
                _stripped(answer["Token"]),
                float(answer["ExpiredTime"]),
            )
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None)  # text, of an answer that is an error
            said = reason.strerror if isinstance(reason, OSError) and reason.strerror else error
            message = f"The metadata service gave no key for the role {self._role}: {said}. {cure}"
            raise AccessError(message) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # The answer may hold a secret, so it is not quoted.
            message = f"The metadata service's answer for the role {self._role} is not of the known form. {cure}"
            raise AccessError(message) from None


def _parse_file(path: Path) -> Mapping[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("{"):
            return {str(name): str(value) for name, value in json.loads(text).items() if value is not None}
    except (ValueError, RecursionError):
        # Without the cause: json's and the decoder's errors quote the text.
        raise ConfigurationError(f"The file {path} with the COS credentials is not valid JSON or text.") from None
    values = {}
    for line in text.splitlines():
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        if separator and not name.startswith("#"):
            values[name.strip()] = value.strip().strip("\"'")
    return values


def _from_names(values: Mapping[str, str], where: str) -> Credentials:
    secret_id = _stripped(values.get("COS_SECRET_ID", ""))
    secret_key = _stripped(values.get("COS_SECRET_KEY", ""))
    if not secret_id or not secret_key:
        missing = " and ".join(
            name for name, value in (("COS_SECRET_ID", secret_id), ("COS_SECRET_KEY", secret_key)) if not value
        )
        raise ConfigurationError(f"{where} has no {missing}. {_FORMS}")
    return Credentials(secret_id, secret_key, _stripped(values.get("COS_TOKEN", "")) or None)


def _stripped(value: str) -> str:
    """Without the blanks around a pasted key, which the SDK refuses."""
    return value.strip()
