"""A real Pulsar broker for tests, on free ports of 127.0.0.1, in a folder of its own.

    with PulsarStandalone() as broker:
        client = pulsar.Client(broker.service_url)
        broker.admin.create_partitioned_topic("persistent://public/default/orders", 3)

It starts in about ten seconds with 256 MB of heap. Topics without clients are not deleted (a real broker's default
deletes them after a minute). Data is flushed to the operating system, not to the disk: it survives :meth:`kill`, not
a power failure. Needs Java and, the first time, Maven (see ``fetch.py``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from transforms.testing.fetch import java, pulsar_distribution
from transforms.testing.pulsar_admin import AdminError, PulsarAdmin
from transforms.testing.server_process import Server, ServerError, ServerProcess, free_ports

if TYPE_CHECKING:
    from transforms.testing.certificates import Authority

SUPERUSER = "admin"

#: Inside the JDK, for Netty, BookKeeper and Prometheus; the list is that of Pulsar's own start script.
_OPENED = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.time",
    "java.base/java.util",
    "java.base/java.util.zip",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.platform",
    "java.base/jdk.internal.ref",
    "java.base/sun.net",
    "java.base/sun.nio.ch",
    "java.management/sun.management",
    "jdk.management/com.sun.management.internal",
]

_FAST_TRIMMING = {
    "managedLedgerMaxEntriesPerLedger": "10",
    "managedLedgerMinLedgerRolloverTimeMinutes": "0",
    "retentionCheckIntervalInSeconds": "5",
}

_METADATA_DRIVER = "org.apache.pulsar.metadata.bookkeeper.PulsarMetadataClientDriver"

_PROVIDERS = "org.apache.pulsar.broker.authentication.AuthenticationProvider"

_LOGGING = """
Configuration:
  status: ERROR
  Appenders:
    Console:
      name: Console
      target: SYSTEM_OUT
      PatternLayout: {Pattern: "%d{ISO8601} [%t] %-5level %logger{1} - %msg%n"}
  Loggers:
    Root: {level: info, AppenderRef: {ref: Console}}
    Logger:
      - {name: org.eclipse.jetty.server.RequestLog, level: warn}
"""


class PulsarStandalone(Server):
    """One broker. A context manager; or :meth:`start` and, in the end, :meth:`close`.

    ``authentication``: tokens signed with HS256 and authorization; ``token()`` makes them, ``grant`` of ``admin``
    gives a role its rights. ``tls``: TLS ports beside the others, at ``tls_service_url`` and ``tls_admin_url``, with a
    certificate for 127.0.0.1 that ``authority`` has signed; another one of its certificates is, with
    ``authentication``, a login too: its common name is the role. ``fast_trimming``: a ledger per ten entries, and what
    nothing keeps is deleted within seconds. ``proxy_port``: who asks for the listener ``proxy`` is told to find topics
    at this port, behind which something passes everything on to ``service_url``. ``configuration``: keys of
    standalone.conf, over everything else.
    """

    def __init__(
        self,
        *,
        authentication: bool = False,
        tls: bool = False,
        fast_trimming: bool = False,
        configuration: Mapping[str, str] | None = None,
        directory: Path | None = None,
        proxy_port: int | None = None,
    ) -> None:
        self._own_directory = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="pulsar-standalone-"))
        self._service_port, self._web_port, self._bookie_port, tls_port, tls_web_port = free_ports(5)
        self.service_url = f"pulsar://127.0.0.1:{self._service_port}"
        self.admin_url = f"http://127.0.0.1:{self._web_port}"
        self.tls_service_url = f"pulsar+ssl://127.0.0.1:{tls_port}"
        self.tls_admin_url = f"https://127.0.0.1:{tls_web_port}"
        self.authority = self._authority() if tls else None
        self._key = secrets.token_bytes(32) if authentication else None
        self.admin = PulsarAdmin(self.admin_url, self.token(SUPERUSER) if authentication else None)
        self._process: ServerProcess | None = None
        self._settings = {
            **self._base_settings(),
            **(_FAST_TRIMMING if fast_trimming else {}),
            **(self._security_settings() if authentication else {}),
            **(self._tls_settings(tls_port, tls_web_port) if self.authority is not None else {}),
            **(self._proxy_settings(proxy_port) if proxy_port is not None else {}),
            **(configuration or {}),
        }

    @property
    def log(self) -> Path:
        """The broker's log, of all its starts."""
        return self.directory / "pulsar.log"

    @property
    def pid(self) -> int | None:
        """Process id while the broker runs, else None."""
        return self._process.pid if self._process is not None else None

    def start(self, *, timeout: float = 180) -> None:
        """Start, or start again with the same ports and data; returns when the broker is healthy.

        Raises ServerError, with the end of the log, if it is not within ``timeout`` seconds.
        """
        if self._process is None:
            self._process = self._prepare()
        else:
            self._forget_registration()
        self._process.start()
        self._process.wait_until(self._ready, timeout=timeout)

    def stop(self) -> None:
        """Stop it orderly. Data stays, for another :meth:`start`."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """SIGKILL. Data stays, for another :meth:`start`."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Stop it and delete its data, unless the folder was given by the caller."""
        self.stop()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def token(self, role: str, expires_in: float | None = None) -> str:
        """Make a token for ``role`` that expires in so many seconds: negative for the past, None for never."""
        if self._key is None:
            raise ServerError("This broker has no authentication: start it with authentication=True.")
        claims: dict[str, object] = {"sub": role}
        if expires_in is not None:
            claims["exp"] = int(time.time() + expires_in)
        return _sign(claims, self._key)

    def _ready(self) -> bool:
        if not self.admin.healthy():
            return False
        try:
            return "public/default" in self.admin.request("GET", "namespaces/public")
        except (AdminError, OSError):
            return False

    def _prepare(self) -> ServerProcess:
        conf = self.directory / "conf"
        conf.mkdir(exist_ok=True)
        shipped = (pulsar_distribution() / "conf" / "standalone.conf").read_text()
        ours = "".join(f"{key}={value}\n" for key, value in self._settings.items())
        # The last line of the shipped file has no line end. Of two equal keys the later one counts.
        (conf / "standalone.conf").write_text(f"{shipped}\n{ours}")
        (conf / "log4j2.yaml").write_text(_LOGGING)
        command = self._java("-Xmx256m", "-XX:MaxDirectMemorySize=384m", "-Dpulsar.allocator.exit_on_oom=true")
        command += ["org.apache.pulsar.PulsarStandaloneStarter", "--config", str(conf / "standalone.conf")]
        command += ["--no-functions-worker", "--no-stream-storage"]
        # Folders and port of the metadata and of the bookie are taken from the command line only.
        command += [
            "--metadata-dir",
            str(self._metadata),
            "--bookkeeper-dir",
            str(self.directory / "bookie"),
        ]
        command += ["--bookkeeper-port", str(self._bookie_port)]
        return ServerProcess("Pulsar standalone", command, directory=self.directory, log=self.log)

    @property
    def _metadata(self) -> Path:
        return self.directory / "metadata"

    def _java(self, *options: str) -> list[str]:
        """Begin a command: a class of the distribution is to follow. Looks for ``conf`` and logs to standard output."""
        return [
            java(),
            *options,
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:+UseSerialGC",
            "-Djava.net.preferIPv4Stack=true",
            "-Dio.netty.tryReflectionSetAccessible=true",
            "-Dlog4j.configurationFile=log4j2.yaml",
            *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED),
            "-cp",
            f"{self.directory / 'conf'}:{pulsar_distribution() / 'lib'}/*",
        ]

    def _forget_registration(self) -> None:
        """Take away what a killed broker's bookie left among those that are available. Raises ServerError if it fails.

        The bookie would do so itself while it registers, and may take the news of it, when that is late, for the loss
        of the registration it has just made: it makes another, which is the next such news, and so on for ever. All
        the while there is no bookie half of the time, and making a topic fails with "Not enough non-faulty bookies
        available" [measured on Pulsar 4.0.8: three restarts of four, topics being made all the time]. Who lists
        the bookies first has the same effect, and BookKeeper's own tool has nothing to lose.
        """
        settings = self.directory / "metadata.conf"
        settings.write_text(f"metadataServiceUri=metadata-store:rocksdb://{self._metadata}\n")
        command = self._java("-Xmx64m", f"-Dbookkeeper.metadata.client.drivers={_METADATA_DRIVER}")
        command += ["org.apache.bookkeeper.bookie.BookieShell", "-conf", str(settings), "listbookies", "-a"]
        done = subprocess.run(  # noqa: S603 - the command is ours
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        # It ends with 0 also when it could not read the metadata.
        if done.returncode != 0 or "All Bookies" not in done.stdout:
            raise ServerError(f"BookKeeper's list of bookies failed with {done.returncode}:\n{done.stdout[-3000:]}")

    def _base_settings(self) -> dict[str, str]:
        loopback = next(name for _index, name in socket.if_nameindex() if name.startswith("lo"))
        return {
            "brokerServicePort": str(self._service_port),
            "webServicePort": str(self._web_port),
            "brokerServicePortTls": "",
            "webServicePortTls": "",
            "bindAddress": "127.0.0.1",
            "advertisedAddress": "127.0.0.1",
            "zookeeperServers": "",
            # The bookie: on loopback only, and on the same port after a restart, since the port is part of its name.
            "listeningInterface": loopback,
            "allowEphemeralPorts": "false",
            "brokerDeleteInactiveTopicsEnabled": "false",
            "managedLedgerCacheSizeMB": "32",
            "numHttpServerThreads": "8",
        }

    def _proxy_settings(self, port: int) -> dict[str, str]:
        listeners = f"direct:{self.service_url},proxy:pulsar://127.0.0.1:{port}"
        return {"advertisedAddress": "", "advertisedListeners": listeners, "internalListenerName": "direct"}

    def _security_settings(self) -> dict[str, str]:
        assert self._key is not None  # noqa: S101 - for the type checker
        key, token = self.directory / "secret.key", self.directory / "superuser.token"
        _write_secret(key, self._key)
        _write_secret(token, self.token(SUPERUSER).encode())
        return {
            "authenticationEnabled": "true",
            "authorizationEnabled": "true",
            "authenticationProviders": f"{_PROVIDERS}Token,{_PROVIDERS}Tls",
            "tokenSecretKey": key.as_uri(),
            "superUserRoles": SUPERUSER,
            "brokerClientAuthenticationPlugin": "org.apache.pulsar.client.impl.auth.AuthenticationToken",
            "brokerClientAuthenticationParameters": token.as_uri(),
        }

    def _authority(self) -> Authority:
        from transforms.testing.certificates import Authority  # noqa: PLC0415 - only TLS needs cryptography

        return Authority(self.directory)

    def _tls_settings(self, port: int, web_port: int) -> dict[str, str]:
        assert self.authority is not None  # noqa: S101 - for the type checker
        broker = self.authority.sign("broker", ["127.0.0.1"])
        return {
            "brokerServicePortTls": str(port),
            "webServicePortTls": str(web_port),
            "tlsCertificateFilePath": str(broker.certificate),
            "tlsKeyFilePath": str(broker.key),
            "tlsTrustCertsFilePath": str(self.authority.certificate),
        }


def _write_secret(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _sign(claims: Mapping[str, object], key: bytes) -> str:
    """Make a JSON Web Token (RFC 7519), signed with HMAC-SHA256."""
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{_base64url(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
