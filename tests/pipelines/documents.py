"""Manifests and run records at a destination, read."""

from __future__ import annotations

from tests.pipelines.backups import Destination
from transforms.files.manifest import Manifest, RunRecord, from_json


def manifests(destination: Destination) -> list[Manifest]:
    """All manifests, in the order of their keys."""
    return [from_json(Manifest, destination.read(key), key) for key in destination.documents() if "_manifest-" in key]


def run_records(destination: Destination) -> list[RunRecord]:
    """All run records, in the order of their names."""
    start = f"{destination.prefix}_runs/"
    keys = [key for key in destination.documents() if key.startswith(start)]
    return [from_json(RunRecord, destination.read(key), key) for key in keys]
