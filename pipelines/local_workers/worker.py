"""A worker of a run on this machine: it runs the pipeline over its share, and tells the process of the run of it."""

from __future__ import annotations

import logging
import os
import pickle
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

import apache_beam as beam

from pipelines import job, logs
from pipelines.local_pipeline import new_pipeline, run_pipeline
from pipelines.local_workers.told import Done, Failed, FromWorker, Logged, Order, Result, Share, ToldOf
from pipelines.meanwhile import meanwhile
from transforms.progress import Progress, Snapshot, progress_of
from transforms.pulsar.client import disconnect
from transforms.pulsar.feeds import close_readers

_TELL_SECONDS = 0.1


class _Parent:
    """The process of the run, as this one sees it. Thread-safe; when it is gone, this process ends."""

    def __init__(self, end: Connection) -> None:
        self._end = end
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, name="parent", daemon=True).start()

    def tell(self, what: FromWorker) -> None:
        """Tell it something; waits while it is busy."""
        self._send(ForkingPickler.dumps(what))

    def _send(self, encoded: Any) -> None:
        try:
            with self._lock:
                self._end.send_bytes(encoded)
        except OSError:
            os._exit(1)

    def _watch(self) -> None:
        try:
            self._end.recv_bytes()
        except (EOFError, OSError):
            os._exit(1)


#: Of this process, which works for one run.
_parent: _Parent


def work(order: Order, share: Share, end: Connection) -> NoReturn:
    """Do the share, and end the process."""
    global _parent  # noqa: PLW0603 - stages run in this process, and are made of pickles
    _parent = _Parent(end)
    run = share.write.run
    try:
        logs.set_up_process(_LogHandler(), order.levels)
        with _progress_told(progress_of(run)):
            _run(order, share)
        logs.finish()
        _parent.tell(Done())
    except Exception as error:
        logs.finish()
        _tell_failure(error)
        os._exit(1)
    os._exit(0)


def _run(order: Order, share: Share) -> None:
    run = share.write.run
    pipeline = new_pipeline(order.beam_args)
    found = job.add_files(pipeline, share.ranges, share.read, share.write, _TellResults())
    if order.manifests:
        _ = found.told | "TellWindows" >> beam.ParDo(_TellWindows())
    run_pipeline(pipeline, progress_of(run))
    close_readers(run)
    disconnect(share.read.connection)


def _tell_failure(error: Exception) -> None:
    trace = "".join(traceback.format_exception(error))
    try:
        encoded = ForkingPickler.dumps(Failed(error, trace))
        pickle.loads(encoded)  # noqa: S301 - our own; there are exceptions that can be pickled, and not be made again
    except Exception:
        encoded = ForkingPickler.dumps(Failed(RuntimeError(f"{type(error).__name__}: {error}"), trace))
    _parent._send(encoded)


@contextmanager
def _progress_told(seen: Progress) -> Iterator[None]:
    """Tell how far it is, several times a second while the body runs, and when it has ended, however it did."""
    told: Snapshot | None = None

    def tell() -> None:
        nonlocal told
        now = seen.snapshot()
        if now != told:
            _parent.tell(now)
            told = now

    try:
        with meanwhile(tell, _TELL_SECONDS):
            yield
    finally:
        tell()


class _TellResults(beam.PTransform):  # type: ignore[misc]
    """As ``CollectHere``, there."""

    def expand(self, told: dict[str, beam.PCollection]) -> None:
        """Build the transform."""
        for name in ("schemas", "gaps", "files", "partitions"):
            _ = told[name] | f"Tell_{name}" >> beam.ParDo(_TellResult())


class _TellResult(beam.DoFn):  # type: ignore[misc]
    def process(self, element: Any) -> None:
        _parent.tell(Result(element))


class _TellWindows(beam.DoFn):  # type: ignore[misc]
    def process(self, element: tuple[str, bytes]) -> None:
        _parent.tell(ToldOf(*element))


class _LogHandler(logging.Handler):
    """Hands lines to the handlers of the process of the run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the line, with its text made: what it was logged with need not be known there."""
        made = {
            name: getattr(record, name)
            for name in ("name", "levelno", "levelname", "created", "msecs", "pathname", "lineno", "funcName")
        }
        made |= {"msg": record.getMessage(), "args": None, "threadName": record.threadName, "process": record.process}
        if record.exc_info:
            made["exc_text"] = logging.Formatter().formatException(record.exc_info)
        if hasattr(record, "fields"):
            made["fields"] = record.fields
        _parent.tell(Logged(logging.makeLogRecord(made)))
