"""Faults that the COS test server plays on request: scripted ones, and random ones from a seed."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from transforms.testing.cos_answers import Refusal

FaultKind = Literal[
    "500",  # InternalError
    "503",  # SlowDown
    "429",  # TooManyRequests
    "html",  # 502 with a page of HTML, as a proxy in between gives
    "empty",  # 500 without a body
    "request-timeout",  # 400 RequestTimeout
    "expired-token",  # 400 ExpiredToken
    "access-denied",  # 403 AccessDenied
    "skewed",  # 403 RequestTimeTooSkewed
    "redirect",  # 301, as for a bucket of another region
    "no-such-upload",  # 404 NoSuchUpload
    "reset-before",  # the connection is reset before anything is read
    "reset-during",  # … when half of the body is read
    "reset-after",  # … after the request took effect: the answer is lost
    "500-after",  # 500 although the request took effect
    "hang",  # no answer until the server stops; the request takes no effect
    "drip",  # an answer that comes byte by byte, and does not end; the request takes no effect
    "page",  # 200 with a page of HTML, as a gateway in between gives that wants a login; no effect
    "truncated",  # the answer ends in the middle of its head or body, although the request took effect
    "complete-error",  # 200 with an error in its body, from CompleteMultipartUpload
    "complete-garbled",  # 200 with half of a body, although the request took effect
    "short",  # a GET ends in the middle of the object
    "wrong-crc",  # the answer names another CRC64 than that of the object
    "no-crc",  # the answer names no CRC64
    "corrupt",  # the stored object differs from what was sent
]

REFUSALS: dict[FaultKind, Refusal] = {
    "500": Refusal(500, "InternalError", "We encountered an internal error. Please try again."),
    "503": Refusal(503, "SlowDown", "Please reduce your request rate."),
    "429": Refusal(429, "TooManyRequests", "Too many requests."),
    "request-timeout": Refusal(400, "RequestTimeout", "The body was not read within the timeout."),
    "expired-token": Refusal(400, "ExpiredToken", "The provided token has expired."),
    "access-denied": Refusal(403, "AccessDenied", "Access Denied."),
    "skewed": Refusal(403, "RequestTimeTooSkewed", "The request time is too far from the current time."),
    "redirect": Refusal(301, "PermanentRedirect", "The bucket must be addressed using another endpoint."),
    "no-such-upload": Refusal(404, "NoSuchUpload", "The specified multipart upload does not exist."),
}

ALWAYS = 1_000_000_000

_RANDOM_KINDS: tuple[FaultKind, ...] = ("500", "503", "429", "reset-before", "reset-during", "reset-after", "500-after")


@dataclass
class _Rule:
    kind: FaultKind
    method: str | None
    operation: str | None
    key: str
    first: int
    times: int
    met: int = 0

    def meets(self, method: str, operation: str, key: str) -> bool:
        return self.method in (None, method) and self.operation in (None, operation) and fnmatchcase(key, self.key)


class Faults:
    """What goes wrong, decided once for each request, in the order in which requests arrive. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._rate = 0.0
        self._kinds: Sequence[FaultKind] = _RANDOM_KINDS
        self._random = random.Random(0)  # noqa: S311 - repeatable on purpose
        self.played = 0
        """How many requests met a fault."""
        self.met: list[tuple[FaultKind, str, str]] = []
        """Which fault, at which operation, with which key; in order."""

    def add(
        self,
        kind: FaultKind,
        *,
        method: str | None = None,
        operation: str | None = None,
        key: str = "*",
        nth: int = 1,
        times: int = 1,
    ) -> None:
        """Play ``kind`` on the ``nth`` request that matches, and on the ``times - 1`` matching ones after it.

        ``operation`` is COS's name, such as ``PutObject`` or ``CompleteMultipartUpload``; ``key`` a shell pattern.
        Counting starts now. Where several rules meet one request, the one added first is played.
        """
        if kind not in get_args(FaultKind):
            raise ValueError(f"There is no fault {kind!r}; there are {', '.join(get_args(FaultKind))}.")
        with self._lock:
            self._rules.append(_Rule(kind, method, operation, key, nth, times))

    def at_random(self, rate: float, *, seed: int = 0, kinds: Sequence[FaultKind] = _RANDOM_KINDS) -> None:
        """Play one of ``kinds`` on a share ``rate`` (0 to 1) of all requests. Only one client repeats exactly."""
        with self._lock:
            self._rate, self._kinds, self._random = rate, kinds, random.Random(seed)  # noqa: S311

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._rules.clear()
            self._rate = 0.0

    def next(self, method: str, operation: str, key: str) -> FaultKind | None:
        """Decide what goes wrong with this request."""
        with self._lock:
            kind: FaultKind | None = None
            for rule in self._rules:
                if rule.meets(method, operation, key):
                    rule.met += 1
                    if kind is None and rule.first <= rule.met < rule.first + rule.times:
                        kind = rule.kind
            if kind is None and self._rate and self._random.random() < self._rate:
                kind = self._random.choice(self._kinds)
            if kind is not None:
                self.played += 1
                self.met.append((kind, operation, key))
            return kind
