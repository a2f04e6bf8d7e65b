"""One arena for all threads. Source: decisions/0005."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CHILD = """
import ctypes, sys, threading
from llamaswap.memory import use_one_arena
use_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
gate = threading.Barrier(5)
def allocate():
    for _ in range(100):
        libc.malloc(1000)
    gate.wait()
for _ in range(4):
    threading.Thread(target=allocate).start()
gate.wait()
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fflush.argtypes = libc.fclose.argtypes = [ctypes.c_void_p]
file = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


def arenas(**environ: str) -> int:
    """How many arenas five threads use."""
    inherited = {k: v for k, v in os.environ.items() if k != "MALLOC_ARENA_MAX"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        check=True, capture_output=True, text=True, timeout=60, env=inherited | environ,
    )  # fmt: skip
    return done.stdout.count("<heap nr=")


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, OSError):
        return False


@pytest.mark.skipif(not _is_glibc(), reason="another C library has no arenas of this kind")
def test_all_threads_share_one_arena_unless_the_operator_says_otherwise() -> None:
    assert arenas() == 1
    assert arenas(MALLOC_ARENA_MAX="4") > 1
