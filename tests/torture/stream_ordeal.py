"""What tests of streams share: a backlog that grows, and what must be true of the stream over it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.pipelines.streams import Stream
from tests.torture.ordeal import Ordeal


@contextmanager
def production(ordeal: Ordeal, *, small: int) -> Iterator[None]:
    """Producers that go on in the background, some of them by clocks of their own."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def produce() -> None:
        try:
            while not ended.wait(0.5):
                ordeal.backlog.grow(small=small, large=20)
                ordeal.backlog.grow_from_other_clocks(ordeal.broker.service_url)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert failures == []


def goes_on(stream: Stream, ordeal: Ordeal) -> None:
    """Wait for something new at the destination: what is killed before stores nothing."""
    before = ordeal.objects()
    stream.until(lambda: ordeal.objects() > before)


def completes(stream: Stream, ordeal: Ordeal) -> None:
    """Wait until all that was sent is stored, named and acknowledged; then the statement of the ordeal."""

    def complete() -> bool:
        ordeal.look()
        return ordeal.missing() == 0 and ordeal.all_acknowledged() and not ordeal.unnamed()

    stream.until(complete, timeout=1_200)
    ordeal.assert_complete()
