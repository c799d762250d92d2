"""What the figures were measured on, and when."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transforms.testing.fetch import FLINK_VERSION, PULSAR_VERSION

_PACKAGES = ("apache-beam", "pulsar-client", "fastavro", "orjson")


def facts() -> dict[str, Any]:
    """The machine's, and the versions of what runs on it."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
        "pulsar": PULSAR_VERSION,
        "flink": FLINK_VERSION,
        **{name: version(name) for name in _PACKAGES},
        "load_before": round(os.getloadavg()[0], 2),
    }


def sentence(of: dict[str, Any]) -> str:
    """The facts in words."""
    return (
        f"{of['cores']} cores ({of['processor']}), {of['memory_gb']} GB, Python {of['python']}, "
        f"Beam {of['apache-beam']}, pulsar-client {of['pulsar-client']}, Pulsar {of['pulsar']}, Flink {of['flink']}"
    )


def _processor() -> str:
    """Its name and clock, as Linux tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = known.get("model name", platform.machine())
    clock = known.get("cpu MHz")
    return f"{name}, {float(clock) / 1000:.1f} GHz" if clock and "GHz" not in name else name
