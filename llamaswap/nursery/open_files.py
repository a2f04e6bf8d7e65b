"""How many files we may have open: each client and each upstream connection is one.

The usual soft limit of 1024 is gone with 500 streams. The hard limit is ours to use; children get
back what the program was started with, because some programs break above 1024 (select).
"""

from __future__ import annotations

import sys
from contextlib import suppress

if sys.platform != "win32":
    import resource

WANTED = 65536


def raise_open_files() -> tuple[int, int] | None:
    """Raise the soft limit as far as allowed; return what it was, (soft, hard)."""
    if sys.platform == "win32":  # no such limit
        return None
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = before
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS refuses what the kernel cannot do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return before


def give_back_open_files(pid: int, before: tuple[int, int] | None) -> None:
    """Give a child the limit the program was started with."""
    if before is not None and sys.platform == "linux":
        with suppress(OSError, ValueError):  # it may be gone already
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


ORIGINAL = raise_open_files()
