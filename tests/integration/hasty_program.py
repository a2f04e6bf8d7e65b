"""The whole program with a clock that runs fast: a minute of its waiting is a second of ours.

    python tests/integration/hasty_program.py RATE [flags of llamaswap]

Only trio's clock is fast, and with it all its deadlines and pauses; sockets, processes and the time
of day are as ever.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import trio
from trio.testing import MockClock

from llamaswap.cli import main

if __name__ == "__main__":
    clock = MockClock(rate=float(sys.argv[1]))
    run: Any = partial(trio.run, clock=clock)
    trio.run = run
    sys.exit(main(sys.argv[2:]))
