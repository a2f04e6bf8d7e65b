"""Take the report once, beside the start. Source: telemetry §4.1, §4.3."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio
from attrs import define, field

from llamaswap.errors import LlamaswapError
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

BUDGET = 10.0
PROBE_LIMIT = 8.0
VIRT_LIMIT = 2.0


class HardwareUnknown(LlamaswapError):
    """The report could not be taken."""

    status = 503


@define(eq=False)
class HardwareReport:
    """The report of this life of the program: taken once, then the same for ever."""

    root: Path = Path("/")
    _document: dict[str, Any] | None = field(default=None, init=False)
    _settled: trio.Event = field(factory=trio.Event, init=False)

    async def run(self) -> None:
        """Take it, within the budget; a failure is logged and told to whoever asks."""
        try:
            with trio.fail_after(BUDGET):
                self._document = await detect(self.root)
        except trio.TooSlowError:
            logger.warning("hardware detection unavailable: not done within %g s", BUDGET)
        except Exception as exc:  # noqa: BLE001  # whatever a machine may answer costs this page only
            logger.warning("hardware detection unavailable: %s", exc)
        finally:
            self._settled.set()

    async def get(self) -> dict[str, Any]:
        """Wait for the report.

        Raises:
            HardwareUnknown: there is none.
        """
        await self._settled.wait()
        if self._document is None:
            raise HardwareUnknown("hardware detection unavailable")
        return self._document


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
