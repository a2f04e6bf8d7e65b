"""The program with a window: on SIGUSR1 it writes what lives inside it to a file.

`python inspected.py REPORT [flags of llamaswap…]`. The report is
`{"tasks": {name: count}, "objects": {type: count}}`; it appears whole.

Everything the program remembers on purpose has a bound. Here the bounds are small, so that half a
minute fills them: what still grows afterwards grows for ever.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import trio

from llamaswap.cli import main
from llamaswap.telemetry import book, decisions, lifecycle, sampler

REPORT = Path(sys.argv[1])
REMEMBERED = 20


def remember_little() -> None:
    """Make every history short."""
    lifecycle.KEPT = decisions.KEPT = REMEMBERED
    sampler.RETENTION = 1.0
    vars(book)["MIB"] = 16 * 1024  # what captureBuffer counts
    # trio keeps deadlines that were taken back until this many have come together
    vars(trio._core._run)["DEADLINE_HEAP_MIN_PRUNE_THRESHOLD"] = REMEMBERED


def report(_number: int, _frame: FrameType | None) -> None:
    """Count the living tasks. Runs in the main thread, between two of its instructions."""
    gc.collect()
    if sys.platform == "linux":  # free memory the allocator keeps is nobody's leak
        ctypes.CDLL(None).malloc_trim(0)
    task: trio.lowlevel.Task | None = trio.lowlevel.current_root_task()
    assert task is not None
    names: Counter[str] = Counter()
    waiting = [task]
    while waiting:
        task = waiting.pop()
        names[task.name.split("(")[0]] += 1
        for nursery in task.child_nurseries:
            waiting += nursery.child_tasks
    part = REPORT.with_suffix(".part")
    objects = Counter(type(thing).__qualname__ for thing in gc.get_objects())
    part.write_text(json.dumps({"tasks": names, "objects": objects}))
    os.replace(part, REPORT)


if __name__ == "__main__":
    remember_little()
    signal.signal(signal.SIGUSR1, report)
    sys.exit(main(sys.argv[2:]))
