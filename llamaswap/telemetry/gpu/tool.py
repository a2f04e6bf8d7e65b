"""Run the vendors' command line tools so that a tool that hangs costs nothing but its figures."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import trio
from attrs import define, field

from llamaswap.telemetry.gpu.source import SourceFailed

OUTPUT_LIMIT = 4 << 20
LINE_LIMIT = 1 << 20
GOODBYE = 1.0
"""Seconds that a killed tool may take to go; one stuck in a driver is left behind."""


class ToolFailed(SourceFailed):
    """A tool ran to its end and says that it failed."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name} exited with status {status}")
        self.status = status


def find_tool(name: str) -> str:
    """The path of a program. Raises SourceFailed if there is none."""
    import shutil

    path = shutil.which(name)
    if path is None:
        raise SourceFailed(f"{name} is not on PATH")
    return path


async def output_of(argv: Sequence[str], *, limit: float) -> str:
    """Run a tool to its end and return what it printed.

    Raises:
        SourceFailed: it cannot be run, takes longer than `limit` seconds or talks too much;
            ToolFailed: its exit status is not 0.
    """
    name = Path(argv[0]).name
    output = bytearray()
    code: int | None = None
    process = await _spawn(argv)
    assert process.stdout is not None
    try:
        with trio.move_on_after(limit):
            async for chunk in process.stdout:
                output += chunk
                if len(output) > OUTPUT_LIMIT:
                    raise SourceFailed(f"{name} printed more than {OUTPUT_LIMIT >> 20} MiB")
            code = await process.wait()
    finally:
        await _end(argv[0], process)
    if code is None:
        raise SourceFailed(f"{name} did not answer within {limit:g} s")
    if code != 0:
        raise ToolFailed(name, code)
    return output.decode("utf-8", "replace")


@define(eq=False)
class TalkingTool:
    """A tool that keeps running and prints line after line."""

    path: str
    process: trio.Process
    take: Callable[[str], None]
    """Called with each line."""
    ended: Callable[[str], None]
    """Called with the reason when it stops by itself."""
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    @property
    def name(self) -> str:
        """What people call it."""
        return Path(self.path).name

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        take: Callable[[str], None],
        ended: Callable[[str], None],
        nursery: trio.Nursery,
    ) -> TalkingTool:
        """Run a tool; its reader lives in `nursery`. Raises SourceFailed if it cannot be run."""
        tool = cls(argv[0], await _spawn(argv), take, ended)
        nursery.start_soon(tool._follow, name=tool.name)
        return tool

    async def aclose(self) -> None:
        """Kill it."""
        self._scope.cancel(reason=f"{self.name} is not needed any more")
        await _end(self.path, self.process)

    async def _follow(self) -> None:
        try:
            with self._scope:
                self.ended(await self._read_lines())
        finally:
            await _end(self.path, self.process)

    async def _read_lines(self) -> str:
        assert self.process.stdout is not None
        rest = b""
        try:
            async for chunk in self.process.stdout:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.take(line.decode("utf-8", "replace"))
                if len(rest) > LINE_LIMIT:
                    return f"{self.name} printed a line of more than {LINE_LIMIT >> 20} MiB"
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            return f"{self.name} was closed"
        return f"{self.name} exited with status {await self.process.wait()}"


_stuck: dict[str, trio.Process] = {}
"""Tools that outlived SIGKILL, by path. Such a one is not started again while it is there."""


async def _spawn(argv: Sequence[str]) -> trio.Process:
    if (stuck := _stuck.get(argv[0])) is not None:
        if stuck.poll() is None:
            raise SourceFailed(f"{argv[0]}: process {stuck.pid} of before cannot be killed")
        del _stuck[argv[0]]
    try:
        with trio.CancelScope(shield=True):  # a child spawned while cancelled would be nobody's
            process = await trio.lowlevel.open_process(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is not for it
                env={**os.environ, "LC_ALL": "C"},
            )
    except OSError as exc:
        raise SourceFailed(f"{argv[0]} cannot be run: {exc}") from exc
    return process


async def _end(path: str, process: trio.Process) -> None:
    """Kill a tool with all it started; one that is stuck in a driver is left behind."""
    assert process.stdout is not None
    with trio.CancelScope(shield=True):  # bounded by GOODBYE
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.stdout.aclose()
        with trio.move_on_after(GOODBYE) as scope:
            await process.wait()
        if scope.cancelled_caught:
            _stuck[path] = process
