"""A function that reads things from outside, and what it is called with.

It may raise what its contract names, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st


@dataclass
class Target:
    """A function, and what it is called with."""

    function: Callable[..., None]
    inputs: tuple[st.SearchStrategy[Any], ...]
    calls: int = field(default=0)

    def test(self) -> Callable[[], None]:
        """A new test of hypothesis; ``calls`` counts on."""

        def counted(values: tuple[Any, ...]) -> None:
            self.calls += 1
            self.function(*values)

        counted.__name__ = counted.__qualname__ = self.function.__name__
        return given(st.tuples(*self.inputs))(counted)


TARGETS: dict[str, Target] = {}


def target(*inputs: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def add(function: Callable[..., None]) -> Callable[..., None]:
        TARGETS[function.__name__] = Target(function, inputs)
        return function

    return add
