"""Keep Python's garbage collector out of the way of requests.

Reference counting frees nearly everything here; the collector only looks for cycles. With its
defaults it looked 275 times in 12,000 small requests, twice through every object of the program and
its libraries (tens of milliseconds each time): a tenth of all processor time, and a pause for every
stream. (decisions/0004-the-collector-looks-less-often.md)
"""

from __future__ import annotations

import gc

import trio

SETTLED = 3.0
"""Seconds after which what is imported at start is there."""
YOUNG = 10_000
"""Objects more than before after which the youngest are looked at; Python's default is 700."""
MIDDLE = 20
OLD = 20


async def spare_what_stays() -> None:
    """Look less often, and never again at what was there once the program had started."""
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    await trio.sleep(SETTLED)
    gc.freeze()
