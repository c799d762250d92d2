"""A backup as a newcomer to Beam would write it: one element a message, through Beam's own ``fileio``.

python -m benchmarks.newcomer URL TOPIC FOLDER
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import FixedWindows

from transforms.pulsar import ReadFromPulsar


def line(message: Any) -> str:
    """The record as the backup has it, as JSON."""
    record = asdict(message)
    record["payload"] = message.payload.decode()
    return json.dumps(record)


def main(url: str, topic: str, folder: str) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = (
            pipeline
            | ReadFromPulsar(url, topic)
            | beam.Map(line)
            | beam.WindowInto(FixedWindows(300))
            | fileio.WriteToFiles(path=folder, sink=lambda _: fileio.TextSink(), shards=1)
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
