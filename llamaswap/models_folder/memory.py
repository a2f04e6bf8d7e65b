"""How much memory models may take."""

from __future__ import annotations

import shutil
import subprocess

import psutil
from attrs import frozen

MIB = 2**20
QUERY = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
QUERY_LIMIT = 10.0


@frozen
class Memory:
    """Memory for models, bytes."""

    size: int
    where: str
    """For people: `2 GPUs` or `RAM, no GPU was found`."""
    on_gpu: bool


def find_memory() -> Memory:
    """All NVIDIA GPUs together, or else three quarters of the RAM."""
    sizes = _nvidia()
    if sizes:
        count = "1 GPU" if len(sizes) == 1 else f"{len(sizes)} GPUs"
        return Memory(sum(sizes), count, on_gpu=True)
    return Memory(int(psutil.virtual_memory().total * 0.75), "RAM, no GPU was found", on_gpu=False)


def _nvidia() -> list[int]:
    """Bytes of each NVIDIA GPU, as its own tool tells."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603  # fixed words, program from PATH
            [program, *QUERY], capture_output=True, text=True, timeout=QUERY_LIMIT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(line) * MIB for line in done.stdout.split() if line.isdigit()]
