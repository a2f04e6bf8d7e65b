"""When a change of the configuration files counts. Source: config §1.6."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from llamaswap.config.watch import (
    Settling,
    Signature,
    Watched,
    WatchedDirectory,
    WatchedFile,
    look_in_thread,
    watch,
)

OLD: Signature = (("", 1, 10),)
NEW: Signature = (("", 2, 10),)
NEWER: Signature = (("", 3, 10),)
GONE: Signature = ()


def fired(start: Signature, *observations: tuple[float, Signature]) -> list[float]:
    """When a change counted, of observations (time, what was there)."""
    settling = Settling.of(start)
    return [now for now, signature in observations if settling.observe(signature, now)]


def test_nothing_happens_while_nothing_changes() -> None:
    assert fired(OLD, (2, OLD), (4, OLD), (6, OLD)) == []


def test_a_change_counts_once_it_is_stable_for_half_a_second() -> None:
    assert fired(OLD, (2, NEW), (2.25, NEW), (2.5, NEW), (4.5, NEW)) == [2.5]


def test_a_change_that_goes_on_restarts_the_half_second() -> None:
    assert fired(OLD, (2, NEW), (2.25, NEWER), (2.5, NEWER), (2.75, NEWER)) == [2.75]


def test_a_change_that_never_settles_counts_three_seconds_after_the_first_difference() -> None:
    busy = [(2 + i / 4, (("", 100 + i, i + 1),)) for i in range(17)]
    assert fired(OLD, *busy) == [5.0]


def test_a_file_that_disappears_is_no_change() -> None:
    assert fired(OLD, (2, GONE), (4, GONE)) == []


def test_a_file_that_is_back_is_a_change_even_with_the_same_content() -> None:
    assert fired(OLD, (2, GONE), (4, OLD), (4.25, OLD), (4.5, OLD), (6.5, OLD)) == [4.5]


def test_a_file_that_was_missing_at_the_start_is_a_change_when_it_comes() -> None:
    assert fired(GONE, (2, GONE), (4, NEW), (4.5, NEW)) == [4.5]


def test_a_truncated_file_counts_once_with_its_new_content() -> None:
    """Truncated while being settled, written 300 ms later: one change."""
    observations = [(2.0, NEW), (2.25, GONE), (4.25, NEWER), (4.5, NEWER), (4.75, NEWER)]
    assert fired(OLD, *observations, (6.75, NEWER)) == [4.75]


def test_a_change_that_is_taken_back_at_once_is_none() -> None:
    assert fired(OLD, (2, NEW), (2.25, OLD), (2.5, OLD), (4.5, OLD)) == []


def test_it_looks_more_often_while_a_change_settles() -> None:
    settling = Settling.of(OLD)
    assert settling.interval == 2.0
    settling.observe(NEW, 2.0)
    assert settling.interval == 0.25
    settling.observe(NEW, 2.5)
    assert settling.interval == 2.0


def test_touching_a_file_changes_its_signature(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: 1")
    before = WatchedFile(path).signature()
    os.utime(path, ns=(1, 1))
    assert WatchedFile(path).signature() != before != ()


def test_another_size_with_the_same_time_changes_the_signature(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    signatures = []
    for text in ("a: 1", "a: 12"):
        path.write_text(text)
        os.utime(path, ns=(1, 1))
        signatures.append(WatchedFile(path).signature())
    assert signatures[0] != signatures[1]


def test_a_file_without_content_counts_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    assert WatchedFile(path).signature() == ()
    path.touch()
    assert WatchedFile(path).signature() == ()
    assert WatchedFile(path / "below-a-file").signature() == ()


def test_swapping_the_target_of_a_link_changes_the_signature(tmp_path: Path) -> None:
    for name, text in (("one", "a: 1"), ("two", "a: 22")):
        (tmp_path / name).write_text(text)
    (tmp_path / "c.yaml").symlink_to("one")
    before = WatchedFile(tmp_path / "c.yaml").signature()
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(tmp_path / "c.yaml")
    assert WatchedFile(tmp_path / "c.yaml").signature() != before


def test_a_directory_is_its_configuration_files(tmp_path: Path) -> None:
    directory = WatchedDirectory(tmp_path)
    assert directory.signature() == ()
    seen = {directory.signature()}
    for name in ("b.yml", "a.yaml", ".hidden.yaml"):
        (tmp_path / name).write_text("a: 1")
        seen.add(directory.signature())
    assert len(seen) == 4
    (tmp_path / "a.yaml").unlink()
    assert [name for name, _time, _size in directory.signature()] == [".hidden.yaml", "b.yml"]


def test_other_files_and_directories_below_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1")
    before = WatchedDirectory(tmp_path).signature()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "A.YAML").write_text("x")
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "sub.yaml").mkdir()
    (tmp_path / "sub.yaml" / "b.yaml").write_text("x")
    assert WatchedDirectory(tmp_path).signature() == before


def test_a_missing_directory_is_nothing(tmp_path: Path) -> None:
    assert WatchedDirectory(tmp_path / "gone").signature() == ()


class FakeDisk:
    """What each path looks like at the moment."""

    def __init__(self) -> None:
        self.states: dict[Path, Signature | OSError] = {}

    async def look(self, watched: Watched) -> Signature:
        await trio.lowlevel.checkpoint()
        state = self.states[watched.path]
        if isinstance(state, OSError):
            raise state
        return state


FILE, DIRECTORY = WatchedFile(Path("c.yaml")), WatchedDirectory(Path("d"))


async def test_each_source_is_watched_on_its_own(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    disk = FakeDisk()
    disk.states = {FILE.path: OLD, DIRECTORY.path: OLD}
    times: list[float] = []
    start = trio.current_time()

    def note() -> None:
        times.append(trio.current_time() - start)

    async def run() -> None:
        await watch(note, known={FILE: OLD, DIRECTORY: OLD}, look=disk.look)

    nursery.start_soon(run)
    await trio.sleep(5)
    disk.states[FILE.path] = NEW
    await trio.sleep(10)
    disk.states[DIRECTORY.path] = NEWER
    await trio.sleep(10)
    assert times == [6.5, 16.5]


async def test_a_change_between_loading_and_the_first_look_counts(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    disk = FakeDisk()
    disk.states = {FILE.path: NEW}
    changes: list[float] = []
    start = trio.current_time()

    async def run() -> None:
        note = lambda: changes.append(trio.current_time() - start)  # noqa: E731  # said once
        await watch(note, known={FILE: OLD}, look=disk.look)

    nursery.start_soon(run)
    await trio.sleep(10)
    assert changes == [2.5]


async def test_what_cannot_be_looked_at_counts_as_missing_and_is_logged_once(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FakeDisk()
    disk.states = {FILE.path: OLD}
    changes: list[str] = []

    async def run() -> None:
        await watch(lambda: changes.append("change"), known={FILE: OLD}, look=disk.look)

    nursery.start_soon(run)
    await trio.sleep(1)
    disk.states[FILE.path] = PermissionError("not yours")
    await trio.sleep(10)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "cannot watch c.yaml: not yours")
    ]
    disk.states[FILE.path] = OLD
    await trio.sleep(10)
    assert changes == ["change"]


async def test_a_real_file_is_looked_at_in_a_thread(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: 1")
    assert await look_in_thread(WatchedFile(path)) == WatchedFile(path).signature() != ()
