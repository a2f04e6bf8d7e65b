"""The program with a window: on SIGUSR1 it writes what lives inside it to a file.

`python inspected.py REPORT [flags of llamaswap…]`. The report is
`{"tasks": {name: count}, "objects": int}`; it appears whole.
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

REPORT = Path(sys.argv[1])


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
    part.write_text(json.dumps({"tasks": names, "objects": len(gc.get_objects())}))
    os.replace(part, REPORT)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, report)
    sys.exit(main(sys.argv[2:]))
