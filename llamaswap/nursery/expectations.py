"""What may be expected of models nobody has seen load: from the size of their files.

What an operator wrote into a model's metadata goes before it, and what was observed before both.
Source: scheduling §2 rule 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import trio

from llamaswap.config.argv import split_command
from llamaswap.config.schema import Config, Model
from llamaswap.planning.assemble import expected_for
from llamaswap.planning.costs import Expected

BYTES_PER_SECOND = 1.5e9  # an ordinary NVMe disk through a page cache that is partly warm
START = 2.0  # seconds for a server to come up without any weights
MODEL_FLAGS = ("-m", "--model")


async def expectations(config: Config) -> Mapping[str, Expected]:
    """Expected seconds by model. Looks at file sizes in a thread: disks may be far away."""
    sizes = await trio.to_thread.run_sync(_load_seconds, config, abandon_on_cancel=True)
    return expected_for(config, sizes)


def _load_seconds(config: Config) -> dict[str, float]:
    found = {}
    for model in config.models.values():
        path = weights_path(model)
        if path is None:
            continue
        try:
            found[model.id] = START + path.stat().st_size / BYTES_PER_SECOND
        except OSError:
            continue  # the server downloads it, or has another root
    return found


def weights_path(model: Model) -> Path | None:
    """The file after `-m` or `--model`. None: the command names none."""
    try:
        argv = split_command(model.cmd)
    except ValueError:
        return None
    for flag, value in pairwise(argv):
        if flag in MODEL_FLAGS:
            return Path(value).expanduser()
    return None
