"""Noticing that configuration files changed, by polling.

Polling works where notification does not: bind-mounted single files, network file systems, volumes
whose symbolic links are swapped. What is seen goes into `Settling`, which is pure and decides.

Source: config §1.6.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import trio
from attrs import define, frozen

from llamaswap.config.sources import SUFFIXES

INTERVAL = 2.0
"""Seconds between polls while nothing happens."""
SETTLING_INTERVAL = 0.25
STABLE = 0.5
"""Seconds a new state must last, so that half-written files are left alone."""
LATEST = 3.0
"""Seconds after the first difference when a change counts even if it goes on."""

logger = logging.getLogger(__name__)

Signature = tuple[tuple[str, int, int], ...]
"""Name, modification time in ns and size in bytes of each file; empty: there is nothing."""


@frozen
class WatchedFile:
    """One file, or the target of a symbolic link."""

    path: Path

    def signature(self) -> Signature:
        """What to compare. A file of zero bytes counts as missing: it is about to be written.

        Raises:
            OSError: it is there but cannot be looked at.
        """
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return ()
        return (("", status.st_mtime_ns, status.st_size),) if status.st_size else ()


@frozen
class WatchedDirectory:
    """The configuration files directly in a directory."""

    path: Path

    def signature(self) -> Signature:
        """What to compare.

        Raises:
            OSError: it is there but cannot be looked at.
        """
        try:
            with os.scandir(self.path) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(SUFFIXES)]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        found = (self._member(name) for name in sorted(names))
        return tuple(member for member in found if member is not None)

    def _member(self, name: str) -> tuple[str, int, int] | None:
        path = self.path / name
        try:
            status = path.stat()
        except OSError:  # vanished since the scan, or a link to nowhere
            return None
        if not status.st_size or path.is_dir():
            return None
        return name, status.st_mtime_ns, status.st_size


Watched = WatchedFile | WatchedDirectory


@define
class Settling:
    """Decides when a change is complete. Told what is seen and when; never looks itself."""

    known: Signature
    """What was there at the start, or when a change last counted."""
    was_gone: bool = False
    """Whether it has been missing since; then even the same content is a change."""
    _candidate: Signature = ()
    _seen_at: float = 0.0
    _first_at: float = 0.0

    @classmethod
    def of(cls, signature: Signature) -> Settling:
        """Begin with what is there now, which is no change."""
        return cls(signature, was_gone=not signature)

    @property
    def interval(self) -> float:
        """Seconds until the next look."""
        return SETTLING_INTERVAL if self._candidate else INTERVAL

    def observe(self, signature: Signature, now: float) -> bool:
        """Take note of what is there at `now`; true: a change is complete."""
        if not signature:
            self.was_gone = True
        if not signature or (signature == self.known and not self.was_gone):
            self._candidate = ()
            return False
        if not self._candidate:
            self._first_at = now
        if signature != self._candidate:
            self._candidate, self._seen_at = signature, now
        if now - self._seen_at < STABLE and now - self._first_at < LATEST:
            return False
        self.known, self.was_gone, self._candidate = signature, False, ()
        return True


Look = Callable[[Watched], Awaitable[Signature]]


async def look_in_thread(watched: Watched) -> Signature:
    """Look without stopping the program where a network file system hangs."""
    return await trio.to_thread.run_sync(watched.signature, abandon_on_cancel=True)


async def watch(
    on_change: Callable[[], None],
    *,
    known: Mapping[Watched, Signature],
    look: Look = look_in_thread,
) -> None:
    """Call `on_change` after each complete change of one of the sources, until cancelled.

    `known`: the sources and what they looked like before they were loaded, so that what changed
    since then counts. They are watched independently; `on_change` may only ask for a reload, not
    wait for it.
    """
    async with trio.open_nursery() as nursery:
        for source, seen in known.items():
            name = f"watch {source.path}"
            nursery.start_soon(_watch_one, source, Settling.of(seen), on_change, look, name=name)


async def _watch_one(
    source: Watched, settling: Settling, on_change: Callable[[], None], look: Look
) -> None:
    eye = _Eye(source, look)
    while True:
        await trio.sleep(settling.interval)
        if settling.observe(await eye.look(), trio.current_time()):
            on_change()


def sources_of(config: Path | None, config_dir: Path | None) -> dict[Watched, Signature]:
    """The sources to watch, and what they look like at this moment."""
    watched: list[Watched] = [] if config is None else [WatchedFile(config)]
    watched += [] if config_dir is None else [WatchedDirectory(config_dir)]
    return {source: _glance(source) for source in watched}


def _glance(source: Watched) -> Signature:
    try:
        return source.signature()
    except OSError:
        return ()  # loading it says why


@define
class _Eye:
    """Looks at one source; what cannot be looked at counts as missing and is logged once."""

    source: Watched
    _look: Look
    _complaint: str = ""

    async def look(self) -> Signature:
        try:
            signature = await self._look(self.source)
        except OSError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                logger.warning("cannot watch %s: %s", self.source.path, error)
            return ()
        self._complaint = ""
        return signature
