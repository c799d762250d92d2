"""Acknowledging on the way: what is stored, and also covered by a checkpoint of the runner.

A stage of its own behind a shuffle, whose elements are positions: a bundle finalizer, which tells that a checkpoint has
completed, keeps all that its bundle holds until then.

Runners call the finalizers of all bundles that have ended when a checkpoint completes, also of bundles that this
checkpoint does not cover. So a position is acknowledged when a bundle is finalized that has begun after the position's
own finalizer was called: the checkpoint behind that second call was begun later, and covers it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, Repeatedly
from apache_beam.transforms.window import GlobalWindows

from transforms.errors import BackupError, TopicNotFoundError
from transforms.pulsar.client import connect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.ends import partition_ends
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

#: Between two tries to acknowledge what a broker did not take.
_PAUSE_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AcknowledgeSettings:
    """What is acknowledged; picklable."""

    connection: PulsarConnection
    subscription: str
    run: str = ""
    """Names the run, so that two in one process do not share what they know."""


class AcknowledgePositions(beam.PTransform):  # type: ignore[misc]
    """Move a subscription to positions, given as (name of a partition, position) before which everything is stored.

    Needs a runner that makes checkpoints, and positions that keep coming: the next ones carry the last ones over.
    Not guaranteed: that it happens soon; a broker that does not take it is asked again, and the job goes on meanwhile.
    """

    def __init__(self, settings: AcknowledgeSettings) -> None:
        super().__init__()
        self._settings = settings

    def expand(self, positions: beam.PCollection) -> beam.PCollection:
        """Build the transform."""
        return (
            positions
            # By key: one worker acknowledges a partition.
            | "AtOnce"
            >> beam.WindowInto(
                GlobalWindows(), trigger=Repeatedly(AfterCount(1)), accumulation_mode=AccumulationMode.DISCARDING
            )
            | "ByPartition" >> beam.GroupByKey()
            | "Acknowledge" >> beam.ParDo(_Acknowledge(self._settings))
        )


class _Acknowledge(beam.DoFn):  # type: ignore[misc]
    def __init__(self, settings: AcknowledgeSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        self._confirmed = _of_run(self._settings)

    def start_bundle(self) -> None:
        self._before = self._confirmed.told()
        self._seen: dict[str, Position] = {}
        self._ready: dict[str, Position] = {}

    def process(self, element: tuple[str, Iterable[Position]], finalizer: Any = beam.DoFn.BundleFinalizerParam) -> None:
        name, position = element[0], max(Position(*each) for each in element[1])
        if not self._seen:
            finalizer.register(partial(self._confirmed.finalized, self._ready, self._seen))
        self._seen[name] = position
        before = self._before.get(name)
        if before is not None and position >= before:
            self._ready[name] = before
        elif before is not None:
            # The runner went back to an earlier checkpoint, which does not cover what was told then.
            self._ready.pop(name, None)
            self._before.pop(name)


class _Confirmed:
    """What the bundles of this process were told, and the thread that acknowledges."""

    def __init__(self, settings: AcknowledgeSettings) -> None:
        self._told: dict[str, Position] = {}
        self._lock = threading.Lock()
        self._acknowledger = Acknowledger(settings)

    def told(self) -> dict[str, Position]:
        """The positions of bundles that have been finalized by now."""
        with self._lock:
            return dict(self._told)

    def finalized(self, ready: Mapping[str, Position], seen: Mapping[str, Position]) -> None:
        """A bundle that has ``seen`` these positions was finalized, and makes others ``ready``."""
        with self._lock:
            self._told.update(seen)
        self._acknowledger.offer(ready)


_runs: dict[AcknowledgeSettings, _Confirmed] = {}
_lock = threading.Lock()


def _of_run(settings: AcknowledgeSettings) -> _Confirmed:
    # DoFn instances come and go with the bundles whose finalizers wait.
    with _lock:
        return _runs.get(settings) or _runs.setdefault(settings, _Confirmed(settings))


class Acknowledger:
    """Acknowledges the last position that it was given of each partition, in a thread of its own.

    What the broker does not take is logged, and tried again as long as nothing newer has come.
    """

    def __init__(self, settings: AcknowledgeSettings) -> None:
        self._settings = settings
        self._waiting: dict[str, Position] = {}
        self._done: dict[str, Position] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="acknowledge", daemon=True)
        self._thread.start()

    def offer(self, positions: Mapping[str, Position]) -> None:
        """Acknowledge what lies before these positions, by and by."""
        with self._changed:
            self._waiting.update({name: at for name, at in positions.items() if self._done.get(name) != at})
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread; what waits is not acknowledged any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        pause = None
        while True:
            with self._changed:
                if pause is None:
                    self._changed.wait_for(lambda: self._waiting or self._closed)
                else:
                    self._changed.wait_for(lambda: self._closed, pause)
                if self._closed:
                    return
                taken = dict(self._waiting)
            pause = None
            for name, position in taken.items():
                try:
                    self._acknowledge(TopicPartition.parse(name), position)
                except TopicNotFoundError as error:
                    _log.debug("%s Nothing is acknowledged there.", error)  # who reads it says so
                    with self._changed:
                        if self._waiting.get(name) == position:
                            del self._waiting[name]  # to be offered again, if it comes back
                    continue
                except Exception as error:  # whatever it is, all others are to be acknowledged
                    # With the traceback of what is no sentence.
                    unexpected = None if isinstance(error, BackupError) else error
                    _log.warning(
                        "%s Not acknowledged up to %s yet; the job tries again.", error, position, exc_info=unexpected
                    )
                    pause = _PAUSE_SECONDS
                    continue
                with self._changed:
                    self._done[name] = position
                    if self._waiting.get(name) == position:
                        del self._waiting[name]

    def _acknowledge(self, partition: TopicPartition, position: Position) -> None:
        # A topic that was deleted would be created by who subscribes.
        partition_ends(self._settings.connection, partition)
        with connect(self._settings.connection).subscription(partition, self._settings.subscription) as held:
            acknowledged = held.acknowledge_before(position)
        if acknowledged is not None:
            _log.debug("%s: acknowledged before %s", partition.name, acknowledged)
