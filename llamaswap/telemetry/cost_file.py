"""What was learned of loads, stops and answers, kept beside the activity store across restarts.

One small JSON file, replaced whole: a crash leaves the old one or the new one. Losing it costs
some estimates and nothing else, so no trouble with it ever reaches a request.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

logger = logging.getLogger(__name__)

EVERY = 60.0  # seconds between two looks at whether something new was learned


def cost_path(store_path: str) -> Path:
    """Where the costs that belong to an activity store are kept."""
    return Path(f"{store_path}.costs.json")


async def read_costs(path: Path) -> Any:
    """What the file holds; an empty dict where there is none or nothing sensible in it."""
    try:
        data = await trio.Path(path).read_bytes()
        return msgspec.json.decode(data)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as exc:
        logger.warning("learned costs are forgotten: %s: %s", path, exc)
        return {}


async def keep_costs(path: Callable[[], Path | None], snapshot: Callable[[], Any]) -> None:
    """Write what `snapshot` returns whenever it changed, until cancelled, then once more."""
    written: bytes | None = None

    async def save() -> None:
        nonlocal written
        where, data = path(), msgspec.json.encode(snapshot())
        if where is None or data in (written, b"{}"):
            return
        try:
            await trio.to_thread.run_sync(_replace, where, data)
            written = data
        except OSError as exc:
            logger.warning("learned costs are not kept: %s: %s", where, exc.strerror)

    try:
        while True:
            await trio.sleep(EVERY)
            await save()
    finally:
        with trio.move_on_after(2.0, shield=True):
            await save()


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
    part.replace(path)
