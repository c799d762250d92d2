"""Checks made at once, whose errors are told together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from transforms.errors import BackupError, SeveralErrors

_Result = TypeVar("_Result")


def at_once(tasks: Iterable[Callable[[], _Result]], *, limit: int = 16) -> list[_Result]:
    """Run the tasks on up to ``limit`` threads; gives their results in order.

    Raises the one BackupError there is, or SeveralErrors in the order of the tasks. Any other exception is raised at
    once, as is one that comes to this thread from outside, such as Ctrl-C; tasks that run are then left to themselves.
    """
    pool = ThreadPoolExecutor(limit, thread_name_prefix="at-once")
    futures: list[Future[_Result]] = [pool.submit(task) for task in tasks]
    results: list[_Result] = []
    errors: list[BackupError] = []
    try:
        for future in futures:
            try:
                results.append(future.result())
            except BackupError as error:
                errors += error.errors if isinstance(error, SeveralErrors) else [error]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise SeveralErrors(errors)
    return results
