"""`-watch-config` on a running program. Source: config §1.6, §7.13 (wat-…).

What is tested here is mostly waiting, so all scenarios run at once, each with its own program; each
test below tells how its own went.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
import trio

from llamaswap.config.watch import INTERVAL
from tests.integration.program import started, write
from tests.integration.reload_stage import Stage, models, replace, stage, streaming, touch

A_POLL = 1.5 * INTERVAL
"""Seconds in which at least one poll happens and what it finds has settled."""

Scenario = Callable[[Path], Awaitable[None]]


def watching(folder: Path, text: str) -> AbstractAsyncContextManager[Stage]:
    return stage(folder, text, "-watch-config")


async def described(it: Stage) -> str:
    """What the configuration in force says about `m`."""
    facts = await it.facts()
    text: str = facts["config"]["models"]["m"]["description"]
    return text


def about(text: str) -> str:
    return models("m", more=f"description: {text}")


async def touched_and_resized(folder: Path) -> None:
    """wat-01, wat-02"""
    async with watching(folder, about("aa")) as it:
        assert (await it.facts())["watching"]
        pid = await it.pid("m")
        touch(it.path)
        await it.reloaded(1)
        before = it.path.stat()
        write(it.path, about("aaa"))
        os.utime(it.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        await it.reloaded(2)
        assert await described(it) == "aaa"
        assert (await it.facts())["last_reload"]["trigger"] == "the files changed"
        assert await it.pid("m") == pid


async def nothing_that_matters_changes(folder: Path) -> None:
    """wat-03, wat-07"""
    sources = folder / "conf.d"
    sources.mkdir()
    write(sources / "a.yaml", about("a"))
    async with started("-config-dir", str(sources), "-watch-config") as program:
        it = Stage(program, sources / "a.yaml")
        write(sources / "notes.txt", "x")
        (sources / "sub").mkdir()
        write(sources / "sub" / "b.yaml", "startPort: 1")
        await trio.sleep(3 * INTERVAL)
        write(sources / "notes.txt", "xyz")
        assert it.begun() == 0


async def removed_and_written_again(folder: Path) -> None:
    """wat-04"""
    text = about("a")
    async with watching(folder, text) as it:
        pid = await it.pid("m")
        before = it.path.stat()
        it.path.unlink()
        await trio.sleep(A_POLL)
        assert it.begun() == 0
        write(it.path, text)
        os.utime(it.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        await it.reloaded(1)
        assert await it.pid("m") == pid


async def links_swapped(folder: Path) -> None:
    """wat-05, also the way volumes of configuration maps do it"""
    for number, text in enumerate(("a", "bb", "ccc")):
        (folder / f"..v{number}").mkdir()
        write(folder / f"..v{number}" / "c.yaml", about(text))
    (folder / "..data").symlink_to("..v0")
    (folder / "c.yaml").symlink_to("..data/c.yaml")
    async with started("-config", str(folder / "c.yaml"), "-watch-config") as program:
        it = Stage(program, folder / "c.yaml")
        (folder / "..new").symlink_to("..v1")
        (folder / "..new").rename(folder / "..data")
        await it.reloaded(1)
        assert await described(it) == "bb"
        (folder / "new").symlink_to("..v2/c.yaml")
        (folder / "new").rename(folder / "c.yaml")
        await it.reloaded(2)
        assert await described(it) == "ccc"


async def directory_members_change(folder: Path) -> None:
    """wat-06; the file beside the directory is watched on its own"""
    sources = folder / "conf.d"
    sources.mkdir()
    write(sources / "a.yaml", "logLevel: info")
    flags = ("-config-dir", str(sources), "-watch-config")
    async with stage(folder, about("a"), *flags) as it:
        write(sources / "b.yml", "globalTTL: 600")
        await it.reloaded(1)
        assert (await it.facts())["config"]["globalTTL"] == 600
        touch(sources / "b.yml")
        await it.reloaded(2)
        (sources / "b.yml").unlink()
        await it.reloaded(3)
        assert (await it.facts())["config"]["globalTTL"] == 0
        write(it.path, about("b"))
        await it.reloaded(4)
        assert await described(it) == "b"


async def directory_goes_and_comes(folder: Path) -> None:
    """wat-08"""
    sources = folder / "conf.d"
    sources.mkdir()
    write(sources / "a.yaml", about("a"))
    async with started("-config-dir", str(sources), "-watch-config") as program:
        it = Stage(program, sources / "a.yaml")
        (sources / "a.yaml").rename(folder / "aside")
        await trio.sleep(A_POLL)
        assert it.begun() == 0
        (folder / "aside").rename(sources / "a.yaml")
        await it.reloaded(1)
        shutil.rmtree(sources)
        await trio.sleep(A_POLL)
        assert it.begun() == 1
        sources.mkdir()
        write(sources / "a.yaml", about("b"))
        await it.reloaded(2)
        assert await described(it) == "b"


async def truncated(folder: Path) -> None:
    """wat-09, and a file that stays empty for a while"""
    async with watching(folder, about("a")) as it:
        pid = await it.pid("m")
        write(it.path, "")
        await trio.sleep(0.3)
        write(it.path, about("full"))
        await it.reloaded(1)
        assert await described(it) == "full"
        write(it.path, "")
        await trio.sleep(A_POLL)
        assert it.begun() == 1
        assert await described(it) == "full"
        assert await it.pid("m") == pid
        write(it.path, about("again"))
        await it.reloaded(2)
        assert await described(it) == "again"


async def broken_then_good(folder: Path) -> None:
    """wat-10, with a stream running across both; the broken one is half of the good one"""
    good = models("m", "n", more="description: good")
    async with watching(folder, about("a")) as it:
        async with streaming(it, "m") as stream:
            half = good[: good.index("groups") + 20]
            replace(it.path, half)
            await it.reloaded(1)
            assert "reload failed" in it.program.log()
            facts = await it.facts()
            assert not facts["last_reload"]["ok"]
            assert facts["last_reload"]["problems"][0]["file"] == str(it.path)
            assert facts["config"]["models"]["m"]["description"] == "a"
            replace(it.path, good)
            await it.reloaded(2)
            assert await described(it) == "good"
            assert await it.pid("m") == stream.pid
            stream.finish()
            await stream.over.wait()
            assert stream.is_whole()


async def fifty_edits_in_a_second(folder: Path) -> None:
    async with watching(folder, about("0")) as it:
        pid = await it.pid("m")
        async with streaming(it, "m") as stream:
            for number in range(1, 51):
                write(it.path, about(f"edit {number}"))
                await trio.sleep(0.02)
            await it.eventually(partial(described, it), "edit 50".__eq__)
            stream.finish()
            await stream.over.wait()
            assert stream.is_whole()
        assert it.begun() <= 2
        assert await it.pid("m") == pid


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        touched_and_resized,
        nothing_that_matters_changes,
        removed_and_written_again,
        links_swapped,
        directory_members_change,
        directory_goes_and_comes,
        truncated,
        broken_then_good,
        fifty_edits_in_a_second,
    )
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BaseException | None]:
    found: dict[str, BaseException | None] = {}

    async def one(name: str) -> None:
        try:
            await SCENARIOS[name](tmp_path_factory.mktemp(name))
        except Exception as error:  # noqa: BLE001  # raised again by its own test
            found[name] = error
        else:
            found[name] = None

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for name in SCENARIOS:
                nursery.start_soon(one, name)

    trio.run(all_of_them)
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_watching(outcomes: dict[str, BaseException | None], scenario: str) -> None:
    error = outcomes[scenario]
    if error is not None:
        raise error
