"""Keep Python's garbage collector and the C library's allocator out of the way of requests.

Reference counting frees nearly everything here; the collector only looks for cycles. With its
defaults it looked 275 times in 12,000 small requests, twice through every object of the program and
its libraries (tens of milliseconds each time): a tenth of all processor time, and a pause for every
stream. (decisions/0004-the-collector-looks-less-often.md)

glibc gives threads arenas of their own, so that they need not wait for each other. Python's threads
wait for each other anyway, and memory that one frees in an arena is not there for the others: it
stays with the program. (decisions/0005-one-arena.md)
"""

from __future__ import annotations

import gc
import os

import trio

SETTLED = 3.0
"""Seconds after which what is imported at start is there."""
YOUNG = 10_000
"""Objects more than before after which the youngest are looked at; Python's default is 700."""
MIDDLE = 20
OLD = 20
GLIBC = "CS_GNU_LIBC_VERSION"
M_ARENA_MAX = -8
"""Of glibc's malloc.h."""


def use_one_arena() -> None:
    """Let all threads share the allocator's memory. To be called before there is a second one.

    Does nothing where the C library is not glibc, and leaves MALLOC_ARENA_MAX to who sets it.
    """
    if GLIBC not in getattr(os, "confstr_names", ()) or "MALLOC_ARENA_MAX" in os.environ:
        return
    try:
        if not os.confstr(GLIBC):
            return
    except OSError:  # musl knows the name, and has no value
        return
    import ctypes  # elsewhere it is not needed

    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


async def spare_what_stays() -> None:
    """Look less often, and never again at what was there once the program had started."""
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    await trio.sleep(SETTLED)
    gc.freeze()
