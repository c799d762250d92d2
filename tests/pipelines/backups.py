"""Runs of the job as a person starts them, and the places they write to: a bucket and a folder."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.backup import main
from tests.transforms.cos.joining import files
from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY, CosServer
from transforms.testing.pulsar_standalone import PulsarStandalone

SECRETS = {"COS_SECRET_ID": TEST_SECRET_ID, "COS_SECRET_KEY": TEST_SECRET_KEY}
_ROOT = Path(__file__).parents[2]


class Destination(Protocol):
    """Where a run writes to."""

    prefix: str

    @property
    def options(self) -> list[str]:
        """The options of the job that name it."""
        ...

    def everything(self) -> list[str]:
        """All keys below the prefix, in order."""
        ...

    def listed(self) -> list[str]:
        """The same without manifests and run records."""
        ...

    def documents(self) -> list[str]:
        """Keys of manifests and run records."""
        ...

    def read(self, key: str) -> bytes:
        """The content of an object."""
        ...


class _Kept:
    """Tells what is kept at a destination of files from documents about them."""

    prefix: str

    def everything(self) -> list[str]:
        raise NotImplementedError

    def listed(self) -> list[str]:
        return [key for key in self.everything() if not is_document(key.removeprefix(self.prefix))]

    def documents(self) -> list[str]:
        return [key for key in self.everything() if is_document(key.removeprefix(self.prefix))]


def is_document(place: str) -> bool:
    """Whether a key, without the prefix, is that of a manifest or of a run record."""
    return place.startswith("_runs/") or place.rpartition("/")[2].startswith("_manifest-")


class Bucket(_Kept):
    """A bucket of a COS server of its own."""

    def __init__(self, server: CosServer, prefix: str = "backup/") -> None:
        self.server = server
        self.prefix = prefix

    @property
    def options(self) -> list[str]:
        url = f"cos://{TEST_BUCKET}/{self.prefix}"
        return [f"--destination={url}", f"--cos_endpoint={self.server.endpoint}", "--cos_region=ap-guangzhou"]

    def everything(self) -> list[str]:
        return self.server.stored_keys(TEST_BUCKET, self.prefix)

    def read(self, key: str) -> bytes:
        return self.server.stored_bytes(TEST_BUCKET, key)

    def contents(self) -> dict[str, bytes]:
        """Every object: its key, and its bytes."""
        return {key: self.read(key) for key in self.listed()}

    def metadata(self, key: str) -> dict[str, str]:
        """User metadata of an object, without its prefix."""
        stored, content = self.server.disk.open_object(TEST_BUCKET, key)
        content.close()
        mark = "x-cos-meta-"
        return {name[len(mark) :]: value for name, value in stored.headers.items() if name.startswith(mark)}

    def written(self) -> dict[str, float]:
        """When each object was written: whoever writes one again changes it."""
        times = {stored.key: stored.modified for stored in self.server.disk.list(TEST_BUCKET, self.prefix, "", -1)}
        return {key: times[key] for key in self.listed()}

    def when_stored(self, count: int) -> threading.Event:
        """An event that comes when so many objects, spooled parts apart, stand here."""
        disk, reached = self.server.disk, threading.Event()
        put = type(disk).put

        def watched(bucket: str, key: str, *rest: Any) -> None:
            put(disk, bucket, key, *rest)
            if sum(not key.startswith(f"{self.prefix}_spool/") for key in self.listed()) >= count:
                reached.set()

        disk.put = watched  # type: ignore[method-assign]
        return reached

    @contextlib.contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Gives, when the body has ended, the requests that came meanwhile, by method and by operation."""
        before, during = Counter(self.server.requests), Counter[str]()
        yield during
        during.update(self.server.requests - before)


class Folder(_Kept):
    """A folder of a file system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.prefix = ""

    @property
    def options(self) -> list[str]:
        return [f"--destination=file://{self.path}/"]

    def everything(self) -> list[str]:
        return files(self.path)

    def read(self, key: str) -> bytes:
        return (self.path / key).read_bytes()


@dataclass(frozen=True)
class Run:
    """What a run has left behind, apart from its objects."""

    code: int
    errors: str
    """Its standard error."""
    summary: dict[str, Any]
    """What it wrote to ``--summary_file``; empty where it wrote none."""

    def partition(self, name: str) -> dict[str, Any]:
        """The summary of one partition."""
        (found,) = (part for part in self.summary["partitions"] if part["partition"] == name)
        return dict(found)


#: Where nothing else is asked for, a backup runs in one process: the tests are many, and their topics small.
ALONE = "--local_workers=1"


def arguments(
    broker: PulsarStandalone, topics: str | Sequence[str], destination: Destination, options: Sequence[str]
) -> list[str]:
    """The command line of a backup; in one process, unless ``options`` say otherwise."""
    names = [topics] if isinstance(topics, str) else topics
    topic_options = [f"--topic={name}" for name in names]
    on_cluster = any(option.startswith("--runner=") for option in options)
    alone = [] if on_cluster else [ALONE]
    return [f"--service_url={broker.service_url}", *topic_options, *destination.options, *alone, *options]


def run_job(argv: Sequence[str], *, summary: bool = True) -> Run:
    """Run the job in this process; without ``summary`` the options stay as they are."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()) as errors:
        written = Path(folder, "summary.json")
        try:
            code = main([*argv, f"--summary_file={written}"] if summary else argv)
        finally:
            # The job sets logging up for a process of its own.
            root.handlers[:] = handlers
            root.setLevel(level)
        return Run(code, errors.getvalue(), json.loads(written.read_bytes()) if written.exists() else {})


def backup(broker: PulsarStandalone, topics: str | Sequence[str], destination: Destination, *options: str) -> Run:
    """Run a backup in this process that must succeed."""
    run = run_job(arguments(broker, topics, destination, options))
    assert run.code == 0, run.errors
    return run


def refused(broker: PulsarStandalone, topics: str | Sequence[str], destination: Destination, *options: str) -> Run:
    """Run a backup in this process that must fail with sentences of ours."""
    run = run_job(arguments(broker, topics, destination, options))
    assert run.code != 0
    assert run.summary == {}
    assert_sentences_only(run.errors)
    return run


def assert_sentences_only(errors: str) -> None:
    """What a person sees of an error: a sentence a line, and no traceback."""
    assert "Traceback" not in errors
    assert any(line.startswith("error: ") for line in errors.splitlines()), errors


def start_job(
    argv: Sequence[str], environment: Mapping[str, str] = SECRETS, *, new_group: bool = False
) -> subprocess.Popen[str]:
    """Start the job as a process of its own; of ``COS_…``, it sees only what is given here.

    ``new_group``: as the first of a group of processes, as a shell does it.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.backup", *argv],
        cwd=_ROOT,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=new_group,
    )


def run_process(argv: Sequence[str], environment: Mapping[str, str] = SECRETS, *, seconds: float = 120) -> Run:
    """Run the job as a process of its own, to its end; one that takes longer is killed and fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder, "summary.json")
        with start_job([*argv, f"--summary_file={summary}"], environment) as process:
            try:
                _, errors = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                _, errors = process.communicate()
                raise AssertionError(f"the job did not end within {seconds} s: {errors}") from None
        return Run(process.returncode, errors, json.loads(summary.read_bytes()) if summary.exists() else {})
