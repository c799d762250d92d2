"""Reaching a host within a time, or a sentence that says why it cannot be reached.

For the binary protocol and for admin REST alike; no sentence holds more of an address than host and port.
"""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any

from transforms.errors import ConfigurationError, SourceError
from transforms.pulsar.protobuf import ProtocolError

_Address = tuple[Any, ...]

# Of OpenSSL: what is wrong with a certificate. Source: X509_V_ERR_… in x509_vfy.h.
_EXPIRED, _HOST_MISMATCH, _ADDRESS_MISMATCH = 10, 62, 64
_NOT_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")
#: How a server with TLS begins its answer to a client without.
_TLS_ALERT = b"\x15\x03"


@dataclass(frozen=True)
class Tls:
    """PEM files for TLS: who is trusted (by default the system's authorities), and who we are."""

    trust_certs: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """What a connection is made with; raises ConfigurationError for files that cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.trust_certs)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(
                f"--tls_trust_certs={self.trust_certs}: cannot be used ({_reason(error)}). It must be a readable file "
                "of certificates in PEM."
            ) from error
        context.check_hostname = self.verify_hostname
        if self.certificate is not None:
            try:
                # A key with a password would ask for it at the terminal.
                context.load_cert_chain(self.certificate, self.key, password="")
            except OSError as error:
                raise ConfigurationError(
                    f"--tls_cert={self.certificate}, --tls_key={self.key}: cannot be used ({_reason(error)}). Both "
                    "must be readable PEM files, the key without a password and that of the certificate."
                ) from error
        return context


class SilenceError(TimeoutError):
    """The connection was made, and no answer came."""


class NameServerTimeoutError(TimeoutError):
    """No name server answered."""


@dataclass(frozen=True)
class Target:
    """What is to be reached, in the words of the option that names it."""

    option: str
    where: str
    """``host:port``."""
    tls: bool
    is_rest: bool = False
    has_certificate: bool = False
    """Whether a certificate of our own is shown."""


def open_socket(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to the first address of a host that answers. ``timeout``, in seconds, is for all of it.

    Raises OSError: socket.gaierror, NameServerTimeoutError, ConnectionRefusedError, TimeoutError and others.
    """
    deadline = time.monotonic() + timeout
    found = look_up(host, port, timeout)
    last: OSError = TimeoutError()
    for number, (family, kind, protocol, _, address) in enumerate(found):
        each = socket.socket(family, kind, protocol)
        try:
            each.settimeout(max(deadline - time.monotonic(), 0.05) / (len(found) - number))
            each.connect(address)
            return each
        except OSError as error:
            each.close()
            last = error
    raise last


def look_up(host: str, port: int, timeout: float) -> list[tuple[Any, Any, int, str, _Address]]:
    """The addresses of a host, as socket.getaddrinfo gives them. Raises socket.gaierror or NameServerTimeoutError."""
    # getaddrinfo knows no timeout: a name server that does not answer may hold it for minutes.
    answers: queue.Queue[list[tuple[Any, Any, int, str, _Address]] | OSError] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answers.put(error)
        except UnicodeError:  # a label of the name is empty, or longer than names may be
            answers.put(socket.gaierror(socket.EAI_NONAME, "not a host name"))

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise NameServerTimeoutError from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def explain_unreachable(error: BaseException, target: Target, timeout: float) -> SourceError:
    """A sentence with cause and cure for what happened while a host was being reached."""
    option, where = target.option, target.where
    host_and_port = f"Check host and port of {option}"
    match error:
        case socket.gaierror():
            said = (
                f"The host name of {where} cannot be resolved. Check {option}; an address inside a private network is "
                "known only there."
            )
        case NameServerTimeoutError():
            said = (
                f"No name server told the address of {where} within {timeout:.2g} s. Check {option}, and the name "
                "servers of this machine."
            )
        case ConnectionRefusedError():
            said = f"Nothing listens at {where}: the connection was refused. {host_and_port}, and that the broker runs."
        case SilenceError():
            said = (
                f"{where} takes the connection, but did not answer within {timeout:.2g} s. Check the port of {option}, "
                "which may be of another service, and that the broker is well."
            )
        case TimeoutError():
            said = (
                f"{where} did not answer within {timeout:.2g} s. {host_and_port}, and that firewalls and security "
                "groups let this machine through."
            )
        case ssl.SSLCertVerificationError():
            said = _distrusted(error, target)
        case ssl.SSLError():
            said = _tls_failed(error, target)
        case ProtocolError() | ConnectionError() | http.client.HTTPException():
            said = _other_service(error, target)
        case OSError():
            said = f"{where} cannot be reached: {_reason(error)}. Check {option} and the network of this machine."
        case _:
            said = f"{where} gave an answer that cannot be read. Check {option}."
    return SourceError(said)


def root_of(error: BaseException) -> BaseException:
    """What is behind an error of the HTTP client, which wraps it several times; the error itself where nothing is."""
    wanted = (ssl.SSLError, socket.gaierror, TimeoutError, ConnectionError, http.client.HTTPException)
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if each in seen:
            continue
        seen.append(each)
        # The outer errors are OSErrors too, of no use: only these tell something.
        if isinstance(each, wanted) and not type(each).__module__.startswith(("requests", "urllib3")):
            return each
        inner = [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
        waiting += [one for one in inner if isinstance(one, BaseException)]
    return error


def _distrusted(error: ssl.SSLCertVerificationError, target: Target) -> str:
    begin = f"The certificate of {target.where}"
    why = error.verify_message.rstrip(".")
    if error.verify_code in (_HOST_MISMATCH, _ADDRESS_MISMATCH):
        return (
            f"{begin} is for another host: {why}. Write the host in {target.option} as the certificate has it, or have "
            "one made for this name."
        )
    if error.verify_code == _EXPIRED:
        return f"{begin} has expired. Have it renewed, or set the clock of this machine if that is wrong."
    return f"{begin} is not trusted: {why}. Name the file of its authority in --tls_trust_certs."


def _tls_failed(error: ssl.SSLError, target: Target) -> str:
    reason = str(error.reason or "")
    if reason in _NOT_TLS or isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        plain = "http" if target.is_rest else "pulsar"
        return (
            f"{target.where} does not answer in TLS. Check the port of {target.option}, or write {plain}:// if the "
            "port is without TLS."
        )
    if "CERTIFICATE" in reason or "ALERT" in reason or "UNKNOWN_CA" in reason:
        if target.has_certificate:
            return (
                f"{target.where} does not accept our certificate ({_words(reason)}). --tls_cert must be one that an "
                "authority of the broker has signed, and still valid."
            )
        return (
            f"{target.where} wants a certificate of ours (mutual TLS; {_words(reason)}). Give --tls_cert and --tls_key."
        )
    return f"TLS with {target.where} failed: {_words(reason) or _reason(error)}. Check {target.option}."


def _other_service(error: BaseException, target: Target) -> str:
    begun = error.args[0] if error.args else b""
    text = begun.encode("latin-1", errors="replace") if isinstance(begun, str) else begun
    if isinstance(text, bytes) and text.startswith(_TLS_ALERT):
        secure = "https" if target.is_rest else "pulsar+ssl"
        return f"{target.where} wants TLS. Write {secure}:// in {target.option}, or give the port without TLS."
    if target.is_rest:
        return (
            f"{target.where} does not answer as Pulsar's admin REST does. Check the port of {target.option} (8080, or "
            "8443 with TLS, is usual; 6650 and 6651 are of the binary protocol)."
        )
    other = "pulsar:// if the port is without TLS" if target.tls else "pulsar+ssl:// if the port wants TLS"
    return (
        f"{target.where} does not answer as a Pulsar broker. Check the port of {target.option} (6650, or 6651 with "
        f"TLS, is usual; 8080 is admin REST), and use {other}."
    )


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return _words(str(error.reason or "")) or "not in PEM"
    return error.strerror or "no reason is told"


def _words(reason: str) -> str:
    """OpenSSL's name of an error, to read."""
    return reason.lower().replace("_", " ")
