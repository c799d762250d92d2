"""Work on threads, a little ahead of who takes the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], items: Iterable[_Item], at_once: int
) -> Iterator[_Result]:
    """Give the results in the order of the items, up to ``at_once`` being under way or waiting to be taken.

    Raises what ``work`` raises. ``work`` must not wait for the same pool.
    """
    under_way: deque[Future[_Result]] = deque()
    for item in items:
        under_way.append(pool.submit(work, item))
        if len(under_way) >= at_once:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
