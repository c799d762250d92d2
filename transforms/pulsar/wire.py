"""Pulsar's binary protocol, the little of it that pulsar-client does not offer.

pulsar-client reports a wrong token, a refused port and a host that is no broker alike, as a timeout, and it cannot
list the topics of a namespace; a reader on a mistyped topic creates that topic. So the checks before a run speak to
the broker themselves: CONNECT, then GET_TOPICS_OF_NAMESPACE.

A frame is its size, the size of its command, the command (``BaseCommand`` of PulsarApi.proto in protobuf's encoding)
and, for messages only, a tail; sizes are 4 bytes, big-endian. In ``BaseCommand`` the number of a type is also the
number of the field that holds the command of that type. Source: Pulsar's "Binary protocol" page and PulsarApi.proto.
"""

from __future__ import annotations

import contextlib
import enum
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from types import TracebackType
from urllib.parse import urlsplit

from transforms.errors import AccessError, BackupError, ConfigurationError, SourceError
from transforms.pulsar.connection import token_fault
from transforms.pulsar.protobuf import Fields, ProtocolError, encode
from transforms.pulsar.reach import SilenceError, Target, Tls, explain_unreachable, open_socket

_PORTS = {"pulsar": 6650, "pulsar+ssl": 6651}
#: The newest version of which we know the commands we use; brokers answer older clients in their way.
_PROTOCOL_VERSION = 19
#: A list of topics is one frame. Above that it is no Pulsar: "HTTP" read as a size is 1.2 GB.
MAX_FRAME = 256 << 20
_SIZE = 4
_HEAD = struct.Struct(">II")
#: Bytes that are asked of the system at once. Frames may be small and many; a larger one has a buffer for itself.
_AT_ONCE = 64 << 10
#: How the command of a message begins: its type, and the tag of the field of that number. Then comes the field's size,
#: as a rule in one byte.
_MESSAGE = b"\x08\x09\x4a"
_MESSAGE_HEAD = len(_MESSAGE) + 1
#: Seconds for finding a host and being let in; less than for a request, which may have to load a topic.
CONNECT_TIMEOUT = 5.0
TIMEOUT = 8.0
#: Seconds for all of a frame that has begun to come without being asked for: the line may be slow.
_FRAME_TIMEOUT = 30.0
_AUTHENTICATION_ERROR, _AUTHORIZATION_ERROR = 3, 4


class Kind(enum.IntEnum):
    """Types of ``BaseCommand``."""

    CONNECT = 2
    CONNECTED = 3
    SUBSCRIBE = 4
    PRODUCER = 5
    SEND = 6
    SEND_RECEIPT = 7
    SEND_ERROR = 8
    MESSAGE = 9
    ACK = 10
    FLOW = 11
    UNSUBSCRIBE = 12
    SUCCESS = 13
    ERROR = 14
    CLOSE_PRODUCER = 15
    CLOSE_CONSUMER = 16
    PRODUCER_SUCCESS = 17
    PING = 18
    PONG = 19
    PARTITIONED_METADATA = 21
    PARTITIONED_METADATA_RESPONSE = 22
    LOOKUP = 23
    LOOKUP_RESPONSE = 24
    GET_LAST_MESSAGE_ID = 29
    GET_LAST_MESSAGE_ID_RESPONSE = 30
    GET_TOPICS_OF_NAMESPACE = 32
    GET_TOPICS_OF_NAMESPACE_RESPONSE = 33
    AUTH_CHALLENGE = 36
    GET_OR_CREATE_SCHEMA = 39
    GET_OR_CREATE_SCHEMA_RESPONSE = 40


class ServerRefusal(Exception):
    """The broker answered a request with an error: ``code`` of its enum ServerError, and its sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class NoAnswerError(SourceError):
    """The broker was reached and let us in, but leaves this request without an answer: it may not know it."""


def topics_of_namespace(
    service_url: str, namespace: str, *, token: str | None = None, tls: Tls | None = None, timeout: float = TIMEOUT
) -> set[str]:
    """List the persistent topics of ``tenant/namespace`` by their full names, creating nothing.

    A topic with partitions is not in it by its own name: each of its partitions is, as ``…-partition-N``. The
    broker's own topics can be among them (``__change_events``). A role that may only consume in the namespace may
    list it; one without any right there gets AccessError (both measured on Pulsar 4.0.8). A namespace that does not
    exist has no topics, which is not an error here.

    ``service_url``, ``tls`` and ``timeout`` are those of :func:`connect`, and so is what it raises. NoAnswerError
    where the broker ignores the request, as pulsar-lite does: then this check cannot be made, all else can.
    """
    with connect(service_url, token=token, tls=tls, timeout=timeout) as connection:
        try:
            answer = connection.request(Kind.GET_TOPICS_OF_NAMESPACE, {1: 1, 2: namespace, 3: 0})
        except ServerRefusal as refusal:
            if refusal.code in (_AUTHENTICATION_ERROR, _AUTHORIZATION_ERROR):
                raise AccessError(
                    f"The role is not allowed to list the topics of namespace {namespace}: the broker says "
                    f"{refusal.sentence!r}. Check tenant and namespace of --topic, and grant "
                    "the role the permission to consume in this namespace."
                ) from refusal
            raise SourceError(
                f"The broker cannot list the topics of namespace {namespace}: {refusal.sentence!r}. "
                "Check the tenant and the namespace of --topic."
            ) from refusal
        except (OSError, ProtocolError) as error:
            raise NoAnswerError(
                f"The broker at {service_url} accepted the connection but did not list the topics of namespace "
                f"{namespace}. It may not know this request, or the namespace is not written tenant/namespace."
            ) from error
        return {topic.decode() for topic in answer.strings(2)}


def connect(
    service_url: str,
    *,
    token: str | None = None,
    tls: Tls | None = None,
    timeout: float = TIMEOUT,
    proxy_to: str = "",
) -> Connection:
    """Connect and authenticate to the first host of ``service_url`` that answers.

    Where the host is a Pulsar proxy, ``proxy_to`` is the address of the broker behind it that is meant.

    ``service_url`` is ``pulsar://host[:port]`` or ``pulsar+ssl://…``, with several hosts separated by commas. (An
    ``http://`` address has no binary protocol: ask admin REST there.) ``timeout``, in seconds, is for each request. To
    find the hosts and to be let in takes no longer than ``CONNECT_TIMEOUT`` in all, nor than ``timeout``.

    Raises ConfigurationError for an address or TLS file that is wrong; AccessError when the broker refuses who we are;
    SourceError when no host answers as a Pulsar broker, with the reason of each.
    """
    scheme, hosts = _parse(service_url)
    tls = tls or Tls()
    context = tls.context() if scheme == "pulsar+ssl" else None
    method, secret = _login(token, tls if context is not None else None)
    login: dict[int, int | str | bytes] = {1: "tdmq-backup", 4: _PROTOCOL_VERSION}
    if method:
        login |= {5: method, 3: secret}
    if proxy_to:
        login[6] = proxy_to.partition("://")[2]
    deadline = time.monotonic() + min(CONNECT_TIMEOUT, timeout)
    reasons = []
    for number, (host, port) in enumerate(hosts):
        patience = max(deadline - time.monotonic(), 0.1) / (len(hosts) - number)
        target = Target("--service_url", f"{host}:{port}", context is not None, has_certificate=bool(tls.certificate))
        try:
            return _connect(host, port, context, login, patience=patience, timeout=timeout)
        except ServerRefusal as refusal:
            raise _refused(target.where, refusal, token, tls if method == "tls" else None) from refusal
        except (OSError, ProtocolError) as error:
            reasons.append(str(explain_unreachable(error, target, patience)))
    raise SourceError(" ".join(reasons))


def _login(token: str | None, tls: Tls | None) -> tuple[str, str]:
    """The method of authentication and what it sends; none where nothing says who we are."""
    if token is not None:
        return "token", token
    return ("tls", "") if tls is not None and tls.certificate is not None else ("", "")


def _connect(
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    login: dict[int, int | str | bytes],
    *,
    patience: float,
    timeout: float,
) -> Connection:
    deadline = time.monotonic() + patience
    with contextlib.ExitStack() as undo:
        plain = undo.enter_context(open_socket(host, port, patience))
        try:
            plain.settimeout(max(deadline - time.monotonic(), 0.1))
            secure = plain if context is None else undo.enter_context(context.wrap_socket(plain, server_hostname=host))
            connection = Connection(secure, timeout)
            connection.send(Kind.CONNECT, login)
            connection.answer(deadline)
        except TimeoutError:
            raise SilenceError from None
        undo.pop_all()
        return connection


def _refused(where: str, refusal: ServerRefusal, token: str | None, tls: Tls | None) -> BackupError:
    if refusal.code not in (_AUTHENTICATION_ERROR, _AUTHORIZATION_ERROR):
        return SourceError(f"The broker at {where} refuses the connection: {refusal.sentence!r}.")
    if token is not None:
        return AccessError(
            f"The broker at {where} refuses the token ({refusal.sentence!r}). {token_fault(token)} Copy the role's key "
            "from the console again."
        )
    if tls is not None:
        return AccessError(
            f"The broker at {where} does not take --tls_cert={tls.certificate} for a login ({refusal.sentence!r}). "
            "Give the role's key in --token, or a certificate that the broker knows."
        )
    return AccessError(f"The broker at {where} wants a token ({refusal.sentence!r}). Give the role's key in --token.")


class Connection:
    """One connection that has been authenticated. One request at a time; pings are answered while it waits."""

    def __init__(self, connected: socket.socket, timeout: float) -> None:
        self._socket = connected
        self._timeout = timeout
        # Not select(), which takes no file descriptor above 1,023.
        self._selector = selectors.DefaultSelector()
        self._selector.register(connected, selectors.EVENT_READ)
        self._rest, self._at = b"", 0
        """What has come beyond what was asked for, and up to where of it was given out."""
        self._large = bytearray()
        """The last frame that was larger than what is asked for at once; kept, for new memory is dear."""

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the broker ends what hangs on it."""
        self._selector.close()
        self._socket.close()

    def request(self, kind: Kind, fields: dict[int, int | str | bytes], tail: bytes = b"") -> Fields:
        """Send a command and return the fields of its answer.

        Raises ServerRefusal when the broker answers with an error; OSError, TimeoutError or ProtocolError when there
        is no answer.
        """
        self.send(kind, fields, tail)
        return self.answer(time.monotonic() + self._timeout)[1]

    def answer(self, deadline: float) -> tuple[int, Fields, bytes | memoryview]:
        """Wait for what the broker sends next: its kind, its fields, and the tail. Raises as ``request`` does.

        A tail that is a view is valid until the next call.
        """
        while True:
            found = self._taken(deadline)
            if found is not None:
                return found

    def arriving(self, patience: float) -> tuple[int, Fields, bytes | memoryview] | None:
        """What the broker sends next, as ``answer`` gives it.

        None where nothing begins to come within ``patience`` seconds, or no more than a ping.
        """
        if self._at >= len(self._rest):
            decrypted = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
            if not decrypted and not self._selector.select(patience):
                return None
        return self._taken(time.monotonic() + max(self._timeout, _FRAME_TIMEOUT))

    def messages_here(self) -> Iterator[tuple[bytes, bytes]]:
        """Those of the next frames that are messages and have come whole already: the fields of each, and its tail."""
        rest, read = self._rest, _HEAD.unpack_from
        last = len(rest) - _HEAD.size
        while self._at <= last:
            size, command_size = read(rest, self._at)
            begin, end = self._at + _HEAD.size, self._at + _SIZE + size
            fields_at, tail_at = begin + _MESSAGE_HEAD, begin + command_size
            if end > len(rest) or tail_at > end or not rest.startswith(_MESSAGE, begin):
                return
            if rest[fields_at - 1] != tail_at - fields_at:
                return
            self._at = end
            yield rest[fields_at:tail_at], rest[tail_at:end]

    def _taken(self, deadline: float) -> tuple[int, Fields, bytes | memoryview] | None:
        answered, answer, tail = self._receive(deadline)
        if answered == Kind.PING:
            self.send(Kind.PONG, {})
        elif answered == Kind.ERROR:
            raise ServerRefusal(answer.number(2), answer.text(3))
        elif answered == Kind.AUTH_CHALLENGE:
            raise ServerRefusal(_AUTHENTICATION_ERROR, "another authentication than by token is asked for")
        elif answered != Kind.PONG:
            return answered, answer, tail
        return None

    def send(self, kind: Kind, fields: dict[int, int | str | bytes], tail: bytes = b"") -> None:
        """Send a command that has no answer."""
        command = encode({1: int(kind), int(kind): encode(fields)})
        self._socket.settimeout(self._timeout)
        self._socket.sendall(struct.pack(">II", _SIZE + len(command) + len(tail), len(command)) + command + tail)

    def _receive(self, deadline: float) -> tuple[int, Fields, bytes | memoryview]:
        if len(self._rest) - self._at < _HEAD.size:
            self._have(_HEAD.size, deadline)
        size, command_size = _HEAD.unpack_from(self._rest, self._at)
        if not _SIZE <= size <= MAX_FRAME or command_size > size - _SIZE:
            raise ProtocolError(size.to_bytes(_SIZE, "big"))
        size += _SIZE
        frame: bytes | memoryview
        if size > _AT_ONCE:
            frame, at = self._in_large(size, deadline), 0
        else:
            if len(self._rest) - self._at < size:
                self._have(size, deadline)
            frame, at = self._rest, self._at
            self._at += size
        tail_at = at + _HEAD.size + command_size
        return *_command(bytes(frame[at + _HEAD.size : tail_at])), frame[tail_at : at + size]

    def _have(self, size: int, deadline: float) -> None:
        """Receive until there are so many bytes that were not given out."""
        left = self._rest[self._at :]
        parts = [left] if left else []  # one alone is not copied
        missing = size - len(left)
        while missing > 0:
            self._wait_until(deadline)
            parts.append(self._socket.recv(_AT_ONCE))
            if not parts[-1]:
                raise ConnectionAbortedError
            missing -= len(parts[-1])
        self._rest, self._at = b"".join(parts), 0

    def _in_large(self, size: int, deadline: float) -> memoryview:
        """The next frame, of so many bytes, in a buffer of its own."""
        if len(self._large) < size:
            self._large = bytearray(size)
        frame = memoryview(self._large)[:size]
        at = min(len(self._rest) - self._at, size)
        frame[:at] = self._rest[self._at : self._at + at]
        self._at += at
        while at < size:
            self._wait_until(deadline)
            received = self._socket.recv_into(frame[at:])
            if not received:
                raise ConnectionAbortedError
            at += received
        return frame

    def _wait_until(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining)


def _command(data: bytes) -> tuple[int, Fields]:
    """The type of a command, and its fields."""
    command = Fields(data)
    kind = command.number(1)
    found = command.strings(kind)
    return kind, Fields(found[0] if found else b"")


def _parse(service_url: str) -> tuple[str, list[tuple[str, int]]]:
    scheme, separator, rest = service_url.partition("://")
    if not separator or scheme not in _PORTS:
        raise ConfigurationError(
            f"--service_url {service_url!r} is not a binary-protocol address: it must begin with pulsar:// or "
            "pulsar+ssl://, for example pulsar://10.0.0.7:6650."
        )
    if "@" in rest:
        # Not quoted: what stands before the @ may be a password.
        raise ConfigurationError("--service_url must hold neither user nor password. Give the role's key in --token.")
    hosts = []
    for each in rest.rstrip("/").split(","):
        try:
            parts = urlsplit(f"//{each.strip()}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or "/" in each:
            raise ConfigurationError(f"--service_url {service_url!r} has no usable host in {each!r}: write host:port.")
        hosts.append((host, port or _PORTS[scheme]))
    return scheme, hosts
