"""pulsar-lite for the demo: a small broker in a wheel, up in a second, without Java.

It is not Pulsar: messages are in memory only, topics have no partitions, subscriptions forget their acknowledgements,
there is no authentication and no admin REST. Tests of behaviour use ``pulsar_standalone.py``.
"""

from __future__ import annotations

import importlib.resources
import shutil
import tempfile
from pathlib import Path

from transforms.errors import SourceError
from transforms.pulsar.wire import connect
from transforms.testing.server_process import Server, ServerProcess, free_ports

# Without this it serves metrics to the whole network, on port 8080.
_CONFIGURATION = 'log_level = "warn"\n\n[metrics]\nenabled = false\n'


class PulsarLite(Server):
    """One pulsar-lite on a free port of 127.0.0.1; a context manager. ``stop`` loses all messages."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pulsar-lite-"))
        (port,) = free_ports(1)
        self.service_url = f"pulsar://127.0.0.1:{port}"
        configuration = self.directory / "pulsar-lite.toml"
        configuration.write_text(_CONFIGURATION)
        command = [str(_binary()), "--config", str(configuration), "--addr", f"127.0.0.1:{port}"]
        command += ["--db-path", str(self.directory / "data")]
        log = self.directory / "pulsar-lite.log"
        self._process = ServerProcess("pulsar-lite", command, directory=self.directory, log=log)

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        return self._process.pid

    def start(self, *, timeout: float = 20) -> None:
        """Start it; returns when it accepts clients. Raises ServerError if it does not."""
        self._process.start()
        self._process.wait_until(self._ready, timeout=timeout)

    def stop(self) -> None:
        """Stop it; its messages are gone."""
        self._process.stop()

    def close(self) -> None:
        """Stop it and delete its folder."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ready(self) -> bool:
        try:
            connect(self.service_url, timeout=2).close()
        except SourceError:
            return False
        return True


def _binary() -> Path:
    with importlib.resources.as_file(importlib.resources.files("pulsar_lite") / "bin" / "pulsar-lite") as path:
        return path
