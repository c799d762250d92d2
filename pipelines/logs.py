"""What the job says on stderr: log lines and errors, as text or as one JSON object a line. No secret passes here.

Secrets are kept out where they are used; that what looks like one is blotted out here as well is a second fence.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

FORMATS = ("text", "json")

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: Whose loggers are named by their modules.
_OURS = ("pipelines", "transforms")
#: Exit codes above it are those of signals, which are no errors.
_SIGNALLED = 128
_SECRETS = re.compile(
    # The password in an address.
    r"(?P<address>\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+(?=@)"
    # A header or a field that carries a secret, and the signature in a request to COS.
    r"|(?P<name>\b(?:authorization|x-cos-security-token|q-signature|secret_?key|password)['\"]?\s*[:=]\s*['\"]?(?:b?['\"])?"
    r"(?:(?:bearer|basic)\s+)?)[^\s&'\",;]+"
    # A JSON web token, which is what a role's key is, and the id of a key of Tencent Cloud.
    r"|\beyJ[\w-]{6,}(?:\.[\w-]*){0,2}"
    r"|\bAKID\w{8,}"
    # A private key.
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.|\n)*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.IGNORECASE,
)
#: What moves the cursor of a terminal, or begins a line that is not ours.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: A line of the client's C++ side: a time, a level, a thread and a place.
_CLIENT_LINE = re.compile(r"[\d-]+ [\d:.]+ (?P<level>[A-Z]+) +(?:\[\S+\] )?(?P<text>.*)")
_CLIENT_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING}
_CLIENT_SECONDS = 0.2
_HUSH_SECONDS = 1.0
_CLIENT_FILE_BYTES = 1 << 20

_form = "text"
_client_log: _ClientLog | None = None


def set_up(level: str, form: str, *, client: bool = True) -> None:
    """Log from ``level`` on, as ``text`` or ``json``. May be called again; the last call counts.

    ``client``: also what pulsar-client says, which loads it.
    """
    global _form  # noqa: PLW0603 - stderr is a matter of the process
    _form = form
    handler = _StderrHandler()
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter(_TEXT))
    # The runner's own lines are about stages and coders, and tracebacks of what is told in a sentence.
    set_up_process(handler, {"root": level, "apache_beam": "DEBUG" if level == "DEBUG" else "CRITICAL"}, client=client)
    if level != "DEBUG":
        # Beam logs what a job server says without a name.
        handler.addFilter(lambda record: record.name != "root")


def set_up_process(handler: logging.Handler, levels: Mapping[str, str | int], *, client: bool = True) -> None:
    """Log to this handler, with the levels of these loggers, of which ``root`` is one."""
    global _client_log  # noqa: PLW0603 - what the client says is a matter of the process
    logging.basicConfig(handlers=[handler], force=True)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    if client and _client_log is None:
        _client_log = _ClientLog()


@contextmanager
def copied_to(path: Path) -> Iterator[Callable[[str], None]]:
    """Keep a copy of the log in a file while the body runs; gives what writes there alone. Raises OSError."""
    with path.open("a", encoding="utf-8", buffering=1) as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(_TextFormatter(_TEXT))
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            yield lambda text: print(cleaned(text), file=file)
        finally:
            root.removeHandler(handler)


def set_up_worker() -> None:
    """On a worker of a cluster, whose log goes to the runner's: say what is ours as JSON, as on stderr here."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_WorkerFormatter())


def asked_format(argv: Sequence[str]) -> str:
    """The ``--log_format`` of a command line that is not read yet, or that cannot be read."""
    words = [word for argument in argv for word in argument.split("=", 1)]
    asked = [value for name, value in itertools.pairwise(words) if name == "--log_format"]
    return asked[-1] if asked and asked[-1] in FORMATS else "text"


def tell(sentence: str, exit_code: int) -> None:
    """Say why the process ends; without the locks of logging, so that it can be said at any moment."""
    if _form == "json":
        level = "ERROR" if exit_code < _SIGNALLED else "WARNING"
        line = _json(datetime.now(timezone.utc).timestamp(), level, __package__, sentence, {"exit_code": exit_code})
    else:
        line = ("error: " if exit_code < _SIGNALLED else "") + cleaned(sentence)
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def hush() -> None:
    """From now on other threads log nothing; who is writing a line may end it, for a second at most."""
    for handler in logging.getLogger().handlers:
        if handler.lock is not None:
            handler.lock.acquire(timeout=_HUSH_SECONDS)


def finish() -> None:
    """Give out what the client has logged until now."""
    if _client_log is not None:
        _client_log.pass_on()


def cleaned(text: str) -> str:
    """The text without what looks like a secret, and with control characters made visible."""
    text = _SECRETS.sub(lambda found: f"{found['address'] or found['name'] or ''}[hidden]", text)
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the stderr of the moment: the live display puts itself in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> IO[str]:  # type: ignore[override]
        return sys.stderr


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return cleaned(super().format(record))


class _JsonFormatter(logging.Formatter):
    """``time``, ``level``, ``logger``, ``message``, and the ``fields`` that the line was logged with."""

    def format(self, record: logging.LogRecord) -> str:
        fields = dict(getattr(record, "fields", {}))
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:  # alone where it came from another process
            fields["exception"] = cleaned(record.exc_text)
        return _json(record.created, record.levelname, record.name, record.getMessage(), fields)


class _WorkerFormatter(_JsonFormatter):
    """What others log there, and Beam about its own parts, stays text."""

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] in _OURS
        return super().format(record) if ours else cleaned(logging.Formatter.format(self, record))


def _json(time: float, level: str, logger: str, message: str, fields: dict[str, Any]) -> str:
    moment = datetime.fromtimestamp(time, tz=timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    values = {"time": moment, "level": level, "logger": logger, "message": cleaned(message), **fields}
    return json.dumps(values, ensure_ascii=False, default=str)


class _ClientLog:
    """Passes on what pulsar-client's C++ side logs.

    Its threads may not call Python, for they outlive it; they write to a file without a name, which never makes them
    wait, and a thread here reads it. (A pipe would: where it is full, and the one who writes holds what the reader
    needs. And a second opening of /dev/stderr fails for a socket, and overwrites a file.) Lines of the moment in which
    the file is cut back, and those after ``finish``, may be lost.
    """

    def __init__(self) -> None:
        from transforms.pulsar import client  # noqa: PLC0415 - takes long to load

        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - as long as the process
        self._lock = threading.Lock()
        self._rest = b""
        client.log_file = f"/dev/fd/{self._file.fileno()}"
        threading.Thread(target=self._follow, name="client-log", daemon=True).start()

    def _follow(self) -> None:
        ticks = threading.Event()
        while not ticks.wait(_CLIENT_SECONDS):
            self.pass_on()

    def pass_on(self) -> None:
        """Log the lines that came since the last call."""
        with self._lock:
            *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
            if self._file.tell() > _CLIENT_FILE_BYTES:
                self._file.truncate(0)
                self._file.seek(0)
            # Under the lock: two that log would mix the lines, and ``finish`` would not wait for the other's.
            for line in lines:
                text = line.decode(errors="replace")
                found = _CLIENT_LINE.fullmatch(text)
                level = _CLIENT_LEVELS.get(found["level"], logging.ERROR) if found else logging.ERROR
                logging.getLogger("pulsar").log(level, "%s", found["text"] if found else text)
