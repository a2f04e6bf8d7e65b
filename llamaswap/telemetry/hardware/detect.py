"""Look at everything the report tells of. Source: telemetry §4.3."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from llamaswap.telemetry.gpu.source import SourceFailed
from llamaswap.telemetry.gpu.tool import ToolFailed, find_tool, output_of
from llamaswap.telemetry.hardware import linux_devices, macos_devices, nvidia
from llamaswap.telemetry.hardware.machine import (
    UNKNOWN,
    Environment,
    describe,
    environment_by_files,
    named,
)
from llamaswap.telemetry.hardware.report import Accelerator, Machine, document, merged

logger = logging.getLogger(__name__)

T = TypeVar("T")

PROBE_LIMIT = 8.0
VIRT_LIMIT = 2.0


async def detect(root: Path = Path("/"), platform: str = sys.platform) -> dict[str, Any]:
    """Look at everything, probes side by side.

    Raises:
        ReportInvalid: what was found makes no sense.
    """
    environment = await environment_of(root, platform)
    machine = await _in_thread(partial(describe, root, environment, platform))
    if platform == "darwin":
        try:
            machine, found = await macos_devices.by_profiler(machine)
        except SourceFailed as exc:
            logger.debug("no devices by system_profiler: %s", exc)
            found = ()
        return document(machine, found)
    probes: list[Callable[[], Awaitable[Sequence[Accelerator]]]] = [nvidia_devices]
    if platform != "win32":
        probes += [
            linux_devices.by_rocm_smi,
            partial(_in_thread, partial(linux_devices.by_kfd, root)),
            partial(_in_thread, partial(linux_devices.by_drm, root)),
        ]
    return await _with_devices(machine, probes)


async def _with_devices(
    machine: Machine, probes: Sequence[Callable[[], Awaitable[Sequence[Accelerator]]]]
) -> dict[str, Any]:
    """The report with what all probes found, in their order of authority."""
    found: list[Sequence[Accelerator]] = [()] * len(probes)

    async def one(place: int, probe: Callable[[], Awaitable[Sequence[Accelerator]]]) -> None:
        try:
            with trio.fail_after(PROBE_LIMIT):
                found[place] = await probe()
        except (SourceFailed, trio.TooSlowError) as exc:
            logger.debug("hardware probe %d tells nothing: %s", place, exc)
        except Exception as exc:  # noqa: BLE001  # a driver may raise anything; others tell more
            logger.debug("hardware probe %d failed: %r", place, exc)

    async with trio.open_nursery() as nursery:
        for place, probe in enumerate(probes):
            nursery.start_soon(one, place, probe)
    return document(machine, merged(found))


async def nvidia_devices() -> Sequence[Accelerator]:
    """NVIDIA's devices by the library, else by the tool. Raises SourceFailed."""
    try:
        return await _in_thread(nvidia.by_nvml)
    except SourceFailed:
        return await nvidia.by_tool()


async def environment_of(root: Path, platform: str) -> Environment:
    """Where the program runs, by files first, then by tools."""
    if platform == "darwin":
        return await macos_devices.environment()
    if platform == "win32":
        return UNKNOWN
    known = await _in_thread(partial(environment_by_files, root))
    if known is not None:
        return known
    try:
        text = await output_of([find_tool("systemd-detect-virt")], limit=VIRT_LIMIT)
    except ToolFailed as exc:  # its status is 1 where there is no virtualization
        return Environment("native") if exc.status == 1 else UNKNOWN
    except SourceFailed:
        return UNKNOWN
    return Environment("native") if text.strip() in ("", "none") else named(text)


async def _in_thread(function: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(function, abandon_on_cancel=True)
