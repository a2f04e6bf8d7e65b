"""Cases T9-T13, T15, T16, T23 and T24 of telemetry §9."""

from __future__ import annotations

import re
import tracemalloc

import pytest
import trio
import trio.testing

from llamaswap.telemetry.loghub import LogFeed, LogHub, LogSource, StdoutMode


async def waiting(feed: LogFeed) -> bytes:
    """What the feed holds now."""
    with trio.fail_after(5):
        return await anext(feed)


async def rest_of(feed: LogFeed) -> bytes:
    with trio.fail_after(5):
        return b"".join([chunk async for chunk in feed])


async def test_every_follower_gets_everything_in_order() -> None:
    source = LogSource("s")
    with source.follow() as one, source.follow() as two:
        for chunk in (b"1", b"2", b"3"):
            source.write(chunk)
        source.end()
        assert (await rest_of(one), await rest_of(two)) == (b"123", b"123")
    assert source.history() == b"123"


async def test_a_waiting_follower_wakes_for_each_write(nursery: trio.Nursery) -> None:
    source = LogSource("s")
    seen: list[bytes] = []

    async def follow() -> None:
        with source.follow() as feed:
            async for chunk in feed:
                seen.append(chunk)  # noqa: PERF401  # seen while it grows

    nursery.start_soon(follow)
    for chunk in (b"a", b"b"):
        await trio.testing.wait_all_tasks_blocked()
        source.write(chunk)
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [b"a", b"b"]


async def test_a_stalled_follower_sees_how_much_it_missed_and_history_has_no_mark() -> None:
    source = LogSource("s")
    chunk = b"0123456789abcde\n" * 64
    with source.follow() as feed:
        for _ in range(4000):
            source.write(chunk)
        received = await waiting(feed)
        source.write(b"later")
        assert await waiting(feed) == b"later"
    kept, mark, rest = received.partition("\n— ".encode())
    gap = re.fullmatch("([0-9]+) bytes dropped —\n", rest.decode())
    assert gap is not None
    assert mark
    assert len(kept) + int(gap[1]) == 4000 * len(chunk)
    assert len(kept) == 1 << 20
    assert b"dropped" not in source.history()


async def test_what_fits_again_after_a_gap_comes_after_its_mark() -> None:
    source = LogSource("s")
    with source.follow(limit=4) as feed:
        for chunk in (b"abc", b"toolong", b"d"):
            source.write(chunk)
        source.write(b"e")
        assert await waiting(feed) == "abc\n— 9 bytes dropped —\n".encode()
        source.write(b"f")
        assert await waiting(feed) == b"f"


async def test_one_stalled_follower_costs_the_others_nothing() -> None:
    source = LogSource("s")
    with source.follow(limit=2), source.follow() as quick:
        for chunk in (b"aa", b"bb", b"cc"):
            source.write(chunk)
        assert await waiting(quick) == b"aabbcc"


async def test_a_hundred_megabytes_past_a_stalled_follower_stay_bounded() -> None:
    hub = LogHub()
    chunk = bytes(64 * 1024)
    tracemalloc.start()
    try:
        with hub.upstream.follow(), hub.model("m").source.follow():
            for _ in range(1600):
                hub.model("m").write(chunk)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Two feeds of 1 MiB (a growing bytearray may hold an eighth more), two histories.
    assert peak < 3 * (1 << 20)


async def test_history_and_live_bytes_join_without_gap_or_overlap(nursery: trio.Nursery) -> None:
    source = LogSource("s")
    texts = [f"<{number}>" for number in range(500)]

    async def write() -> None:
        for text in texts:
            source.write(text.encode())
            await trio.lowlevel.checkpoint()
        source.end()

    nursery.start_soon(write)
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    with source.follow() as feed:
        assert await rest_of(feed) == "".join(texts).encode()


async def test_without_history_only_what_is_written_later_comes() -> None:
    source = LogSource("s")
    source.write(b"old")
    with source.follow(history=False) as feed:
        source.write(b"new")
        assert await waiting(feed) == b"new"


async def test_a_cancelled_follower_loses_nothing() -> None:
    source = LogSource("s")
    with source.follow() as feed:
        source.write(b"kept")
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(feed)
        assert scope.cancelled_caught
        assert await waiting(feed) == b"kept"


async def test_leaving_the_block_leaves_the_source() -> None:
    source = LogSource("s")
    with source.follow():
        assert source.followers == 1
    assert source.followers == 0


async def test_the_writers_buffer_may_be_reused() -> None:
    hub = LogHub()
    buffer = bytearray(b"one")
    with hub.model("m").source.follow() as feed:
        hub.model("m").write(memoryview(buffer))
        buffer[:] = b"two"
        assert await waiting(feed) == b"one"
    assert hub.upstream.history() == b"one"


async def test_an_empty_write_reaches_nobody() -> None:
    source = LogSource("s")
    with source.follow() as feed:
        source.write(b"")
        source.end()
        assert await rest_of(feed) == b""


@pytest.mark.parametrize(
    ("mode", "combined"),
    [("proxy", b"p\n"), ("upstream", b"u\n"), ("both", b"p\nu\n"), ("none", b"")],
)
def test_the_mode_decides_what_is_combined_and_nothing_else(
    mode: StdoutMode, combined: bytes
) -> None:
    hub = LogHub(mode)
    hub.write_proxy(b"p\n")
    hub.model("m").write(b"u\n")
    assert hub.combined.history() == combined
    assert hub.proxy.history() == b"p\n"
    assert hub.upstream.history() == hub.model("m").source.history() == b"u\n"


def test_everything_is_in_all_whatever_the_mode() -> None:
    hub = LogHub("none")
    hub.write_proxy(b"p\n")
    hub.model("m").write(b"u\n")
    assert hub.all.history() == b"p\nu\n"


def test_the_mode_may_change_live() -> None:
    hub = LogHub()
    hub.mode = "upstream"
    hub.write_proxy(b"p\n")
    hub.model("m").write(b"u\n")
    assert hub.combined.history() == b"u\n"


async def test_a_requested_stop_frees_the_history_and_keeps_the_followers() -> None:
    hub = LogHub()
    log = hub.model("m")
    with log.source.follow() as feed:
        log.write(b"before")
        log.stopped(requested=True)
        assert log.source.history() == b""
        assert hub.upstream.history() == b"before"
        log.started()
        log.write(b", after")
        assert await waiting(feed) == b"before, after"


def test_a_crash_can_be_read_until_the_next_start() -> None:
    log = LogHub().model("m")
    log.write(b"out of memory\n")
    log.stopped(requested=False)
    assert log.source.history() == b"out of memory\n"
    log.started()
    assert log.source.history() == b""


async def test_a_reload_ends_the_logs_of_models_that_are_gone() -> None:
    hub = LogHub()
    hub.model("gone").write(b"g")
    hub.model("kept").write(b"k")
    with hub.model("gone").source.follow() as gone, hub.model("kept").source.follow() as kept:
        hub.keep_models(["kept"])
        assert await rest_of(gone) == b"g"
        hub.model("kept").write(b"more")
        assert await waiting(kept) == b"kmore"
    assert hub.model("gone").source.history() == b""


async def test_the_end_of_the_hub_ends_every_follower_after_its_last_byte() -> None:
    hub = LogHub()
    with hub.proxy.follow() as proxy, hub.model("m").source.follow() as model:
        hub.write_proxy(b"bye\n")
        hub.end()
        assert (await rest_of(proxy), await rest_of(model)) == (b"bye\n", b"")
    with hub.model("new").source.follow() as late:
        assert await rest_of(late) == b""
