"""Services as processes, as a supervisor starts them, and rules for them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.rules.database import STORE_VARIABLE
from pipelines.rules.model import Rule, read_rule
from tests.pipelines.backups import SECRETS, Destination, Folder
from tests.pipelines.rules.fast_service import VARIABLE
from transforms.testing.cos_server import TEST_BUCKET
from transforms.testing.pulsar_standalone import PulsarStandalone

ROOT = Path(__file__).parents[3]


def rule_for(
    broker: PulsarStandalone, topic: str, destination: Destination, name: str = "orders", **fields: Any
) -> Rule:
    """A rule that backs up a topic of the tests' broker."""
    tenant, namespace, local = topic.removeprefix("persistent://").split("/")
    place: dict[str, Any]
    if isinstance(destination, Folder):
        place = {"bucket": f"file://{destination.path}/"}
    else:
        place = {
            "bucket": TEST_BUCKET,
            "destination_path": destination.prefix,
            "region": "ap-guangzhou",
            "cos_endpoint": destination.server.endpoint,
        }
    given = {
        "name": name,
        "address": broker.service_url,
        "cluster": tenant,
        "namespace": namespace,
        "topic": local,
        "subscription": "ours",
        **place,
        **fields,
    }
    return read_rule(given)


class Serving:
    """A service; ``words`` behind ``python -m``. Its log is in ``folder``, and that of the next one behind it."""

    def __init__(
        self, words: Sequence[str], store: str, folder: Path, environment: Mapping[str, str] = SECRETS
    ) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("COS_")}
        own = {STORE_VARIABLE: store, "XDG_DATA_HOME": str(folder), "PYTHONUNBUFFERED": "1"}
        self._log = folder / "serve.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env={**clean, **own, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        """What all services with this folder have said."""
        return self._log.read_text(errors="replace")

    def until(self, reached: Callable[[], object], *, timeout: float = 240) -> None:
        """Wait until something is so; the service must not end before."""
        deadline = time.monotonic() + timeout
        while not reached():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end, and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(90)

    def close(self) -> None:
        """End it, and its runs, however that goes."""
        if self.process.poll() is None:
            self.stop()


def runs_of(store: str) -> list[int]:
    """Process ids of the runs that work on a store, whoever started them."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # it has ended meanwhile, or is somebody else's
        is_run = b"pipelines.rules.child" in command or b"fast_service\0child" in command
        if is_run and f"{STORE_VARIABLE}={store}".encode() in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


def fast(real: float, told: float, speed: float, lease_seconds: float) -> dict[str, str]:
    """The environment of a service whose clock goes faster."""
    return {**SECRETS, VARIABLE: f"{real} {told} {speed} {lease_seconds}"}


def port_of(log: str) -> int:
    """Where a service answers, as its log says."""
    found = re.findall(r"http://127\.0\.0\.1:(\d+)", log)
    assert found, log
    return int(found[-1])
