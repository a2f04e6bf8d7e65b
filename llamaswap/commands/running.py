"""Running a command's async part: errors come out bare, whatever nursery they crossed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from llamaswap.errors import LlamaswapError

Result = TypeVar("Result")


def run_async(body: Callable[[], Awaitable[Result]]) -> Result:
    """Run `body` under trio.

    Raises:
        LlamaswapError: the first one that `body` raised, also out of a nursery.
        KeyboardInterrupt: likewise.
    """
    try:
        return trio.run(body)
    except BaseExceptionGroup as group:
        for kind in (KeyboardInterrupt, LlamaswapError, BrokenPipeError):
            matching = group.subgroup(kind)
            if matching is not None:
                raise _first(matching) from group
        raise


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
