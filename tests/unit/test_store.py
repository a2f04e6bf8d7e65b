"""The activity database on real files. Source: telemetry §5 and part 9 (T84-T96)."""

from __future__ import annotations

import os
import sqlite3
import stat
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace as evolve

from llamaswap.telemetry.activity import ActivityRow
from llamaswap.telemetry.store import PRUNE_EVERY, Filter, Store, StoreFailed
from llamaswap.telemetry.usage import Tokens

ROW = ActivityRow(
    created=1_000,
    model="m",
    req_path="/v1/chat/completions",
    resp_content_type="application/json",
    resp_status_code=200,
    duration_ms=12,
    tokens=Tokens(3, 4, 2, -1, -1, -1.0, -1.0),
    metadata={"fifo_priority": "0"},
)
LLAMA_SWAP_SCHEMA = """
CREATE TABLE goose_db_version (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL,
    tstamp TIMESTAMP DEFAULT (datetime('now'))
);
INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1);
CREATE TABLE activity (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ts_created INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    req_path TEXT NOT NULL DEFAULT '',
    resp_content_type TEXT NOT NULL DEFAULT '',
    resp_status_code INTEGER NOT NULL DEFAULT 0,
    error_msg TEXT NOT NULL DEFAULT '',
    duration_ms INTEGER NOT NULL DEFAULT 0,
    cache_tokens INTEGER NOT NULL DEFAULT 0,
    draft_tokens INTEGER NOT NULL DEFAULT 0,
    draft_acc_tokens INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    prompt_per_second REAL NOT NULL DEFAULT 0,
    tokens_per_second REAL NOT NULL DEFAULT 0,
    metadata_json TEXT NOT NULL DEFAULT ''
);
CREATE INDEX idx_activity_created_id ON activity (ts_created DESC, id DESC);
CREATE INDEX idx_activity_model_created_id ON activity (model_id, ts_created DESC, id DESC);
INSERT INTO goose_db_version (version_id, is_applied) VALUES (1, 1);
INSERT INTO activity (ts_created, model_id, req_path, resp_status_code, metadata_json)
    VALUES (99, 'old', '/infill', 200, '{"fifo_priority":"3"}');
PRAGMA journal_mode = WAL;
"""


@pytest.fixture
def opened() -> Iterator[Callable[[str | Path | None], Store]]:
    """Opens stores and closes them in the end."""
    stores: list[Store] = []

    def open_store(path: str | Path | None = None) -> Store:
        stores.append(Store.open(None if path is None else str(path)))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


Open = Callable[..., Store]


def ids(store: Store, **which: Any) -> list[int]:
    return [row.id for row in store.list(Filter(**which), limit=999).rows]


def test_T84_a_page_is_newest_first_and_knows_the_whole(opened: Open) -> None:
    store = opened()
    assert store.insert([ROW, ROW, ROW]) == [1, 2, 3]
    page = store.list(Filter(), limit=2)
    assert [row.id for row in page.rows] == [3, 2]
    assert (page.total, page.pages, page.page, page.limit) == (3, 2, 1, 2)
    assert [row.id for row in store.list(Filter(), limit=2, page=2).rows] == [1]
    behind = store.list(Filter(), limit=2, page=10**17)
    assert (list(behind.rows), behind.total, behind.pages) == ([], 3, 2)


def test_T84_a_row_comes_back_as_it_was(opened: Open) -> None:
    store = opened()
    rows = [ROW, evolve(ROW, error="é", metadata={}, tokens=Tokens(speed=12.5, drafted=3))]
    store.insert(rows)
    found = store.list(Filter(), descending=False).rows
    assert [evolve(row, id=0) for row in found] == rows


def test_T85_filters_hold_all_together(opened: Open) -> None:
    store = opened()
    store.insert(evolve(ROW, created=number, model="ab"[number % 2]) for number in range(1, 7))
    assert ids(store, start=2, end=4) == [4, 3, 2]
    assert ids(store, min_id=3, max_id=5) == [5, 4, 3]
    assert ids(store, models=["a"]) == [6, 4, 2]
    assert ids(store, models=["a", "", "  "]) == [6, 4, 2]
    assert ids(store, models=[" ", ""]) == [6, 5, 4, 3, 2, 1]
    assert ids(store, models=["a", "b"], start=2, max_id=3) == [3, 2]
    assert ids(store, models=["c"]) == []
    page = store.list(Filter(models=["a"], start=3), limit=1)
    assert ([row.id for row in page.rows], page.total, page.pages) == ([6], 2, 2)
    nothing = store.list(Filter(models=["c"]))
    assert (nothing.total, nothing.pages) == (0, 0)


def test_T85_our_own_filters(opened: Open) -> None:
    store = opened()
    store.insert(
        [
            evolve(ROW, resp_status_code=404, error="50% of_it"),
            evolve(ROW, req_path="/infill", metadata={"selector": "Pool"}),
            evolve(ROW, model="50 of it"),
        ]
    )
    assert ids(store, statuses=(400, 499)) == [1]
    assert ids(store, path="/infill") == [2]
    assert ids(store, ids=[1, 3, 77]) == [3, 1]
    assert ids(store, ids=[]) == []
    assert ids(store, text="pool") == [2]
    assert ids(store, text="50% of_") == [1]


SORTED = {
    "id": (2, 1, 3),
    "time": (1, 3, 2),
    "model": (3, 2, 1),
    "req_path": (2, 3, 1),
    "resp_status_code": (1, 2, 3),
    "resp_content_type": (3, 1, 2),
    "cached": (1, 3, 2),
    "prompt": (2, 1, 3),
    "generated": (3, 2, 1),
    "drafted": (2, 3, 1),
    "prompt_speed": (1, 2, 3),
    "gen_speed": (3, 1, 2),
    "duration": (2, 1, 3),
}


@pytest.mark.parametrize("key", [key for key in SORTED if key != "id"])
def test_T86_every_key_sorts(opened: Open, key: str) -> None:
    store = opened()
    columns = [
        dict(zip(SORTED, values, strict=True)) for values in zip(*SORTED.values(), strict=True)
    ]
    store.insert(
        ActivityRow(
            created=c["time"],
            model=str(c["model"]),
            req_path=str(c["req_path"]),
            resp_content_type=str(c["resp_content_type"]),
            resp_status_code=c["resp_status_code"],
            duration_ms=c["duration"],
            tokens=Tokens(
                input=c["prompt"],
                output=c["generated"],
                cached=c["cached"],
                drafted=c["drafted"],
                prompt_speed=c["prompt_speed"],
                speed=c["gen_speed"],
            ),
        )
        for c in columns
    )
    up = [number + 1 for number in sorted(range(3), key=lambda place: SORTED[key][place])]
    rows = store.list(Filter(), sort=key, descending=False).rows
    assert [row.id for row in rows] == up
    assert [row.id for row in store.list(Filter(), sort=key).rows] == up[::-1]


def test_T86_ties_go_by_id_in_the_same_direction_and_unknown_keys_mean_id(opened: Open) -> None:
    store = opened()
    store.insert([evolve(ROW, tokens=Tokens(output=n)) for n in (5, 1, 5)])
    rows = store.list(Filter(), sort="generated", descending=False).rows
    assert [row.id for row in rows] == [2, 1, 3]
    assert [row.id for row in store.list(Filter(), sort="generated").rows] == [3, 1, 2]
    injection = store.list(Filter(), sort="id; DROP TABLE activity").rows
    assert [row.id for row in injection] == [3, 2, 1]


def test_T87_memory_keeps_the_newest_and_ids_go_on(opened: Open) -> None:
    store = opened()
    for _ in range(5):
        store.insert([ROW])
        store.prune_after_insert(2, 0)
    assert ids(store) == [5, 4]
    assert store.insert([ROW]) == [6]


def test_T87_no_limit_means_the_default_and_pruning_to_nothing_does_nothing(opened: Open) -> None:
    store = opened()
    store.insert([ROW] * 1005)
    store.prune(0)
    store.prune(-3)
    assert store.count(Filter()) == 1005
    store.prune_after_insert(-1, 0)
    assert store.count(Filter()) == 1000


def test_T88_a_file_is_never_pruned_unless_told(opened: Open, tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db")
    for _ in range(15):
        store.insert([ROW] * 100)
        store.prune_after_insert(10, 0)
    assert store.count(Filter()) == 1500
    for _ in range(20):
        store.insert([ROW] * 50)
        store.prune_after_insert(10, 300)
        assert 300 <= store.count(Filter()) < 300 + PRUNE_EVERY


def test_T89_a_file_keeps_its_rows_and_its_journal(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    first = opened(path)
    first.insert([ROW])
    first.close()
    again = opened(path)
    assert (ids(again), again.last_id()) == ([1], 1)
    assert again.insert([ROW]) == [2]
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_T89_the_file_is_its_owners_alone(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    opened(path).insert([ROW])
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.mark.parametrize("name", ["a?mode=memory", "file:b.db", ":memory:", "c d%20#.db"])
def test_T89_a_path_means_what_it_says(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    opened(name).insert([ROW])
    assert (tmp_path / name).stat().st_size > 0
    assert {p.name.removesuffix("-wal").removesuffix("-shm") for p in tmp_path.iterdir()} == {name}


def schema(path: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
        found += db.execute("SELECT version_id, is_applied FROM goose_db_version").fetchall()
    db.close()
    return found


def test_T90_a_database_of_llama_swap_opens_unchanged_and_stays_its_own(
    opened: Open, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as db:
        db.executescript(LLAMA_SWAP_SCHEMA)
    db.close()
    before = schema(path)
    store = opened(path)
    assert store.insert([ROW]) == [2]
    old = store.list(Filter(models=["old"])).rows[0]
    assert (old.id, old.created, old.metadata) == (1, 99, {"fifo_priority": "3"})
    assert schema(path) == before


def test_T90_a_new_database_is_one_llama_swap_would_have_made(opened: Open, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    opened(ours)
    with sqlite3.connect(theirs) as db:
        db.executescript(LLAMA_SWAP_SCHEMA)
    db.close()

    def shape(path: Path) -> Any:
        with sqlite3.connect(path) as db:
            tables = {
                table: sorted(
                    (c[1], c[2], c[3], c[4], c[5])
                    for c in db.execute(f"PRAGMA table_info({table})")
                )
                for table in ("activity", "goose_db_version")
            }
            indexes = db.execute("SELECT name FROM sqlite_master WHERE type='index'").fetchall()
            versions = db.execute(
                "SELECT version_id, is_applied FROM goose_db_version ORDER BY id"
            ).fetchall()
        db.close()
        return tables, sorted(indexes), versions

    assert shape(ours) == shape(theirs)


def newer(path: Path, *, missing: str = "") -> None:
    with sqlite3.connect(path) as db:
        db.executescript(LLAMA_SWAP_SCHEMA)
        db.execute("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9, 1)")
        db.execute("ALTER TABLE activity ADD COLUMN more TEXT NOT NULL DEFAULT ''")
        if missing:
            db.execute(f"ALTER TABLE activity RENAME COLUMN {missing} TO other")
    db.close()


def test_T90_a_newer_schema_that_has_every_column_is_used_with_a_warning(
    opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newer(tmp_path / "a.db")
    assert opened(tmp_path / "a.db").insert([ROW]) == [2]
    assert "version 9" in caplog.text


def test_T90_a_newer_schema_without_a_column_is_refused(tmp_path: Path) -> None:
    newer(tmp_path / "a.db", missing="draft_tokens")
    with pytest.raises(StoreFailed, match=r"version 9.*version 1.*draft_tokens"):
        Store.open(str(tmp_path / "a.db"))


@pytest.mark.parametrize("content", [b"{}", b"\0" * 4096, os.urandom(8192), b"SQLite format 3\0xx"])
def test_T91_what_is_no_database_is_refused_and_left_as_it_was(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    with pytest.raises(StoreFailed, match=str(path)):
        Store.open(str(path))
    assert path.read_bytes() == content


def test_T91_a_foreign_table_of_that_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE activity (what TEXT)")
    db.close()
    with pytest.raises(StoreFailed):
        Store.open(str(path))


def test_T92_a_folder_and_a_missing_parent_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "a.db"):
        with pytest.raises(StoreFailed, match=str(path)):
            Store.open(str(path))


def with_speeds(store: Store, *speeds: float) -> None:
    store.insert(evolve(ROW, tokens=Tokens(prompt_speed=s, speed=s)) for s in speeds)


def test_T95_what_was_not_reported_is_not_counted(opened: Open) -> None:
    store = opened()
    store.insert(
        [evolve(ROW, tokens=Tokens(10, 20, cached, 0, 0, 0.0, -1.0)) for cached in (-1, 5)]
    )
    stats = store.stats(Filter())
    assert (stats.requests, stats.input_tokens, stats.output_tokens) == (2, 20, 40)
    assert (stats.cache_tokens, stats.prompt, stats.generation) == (5, None, None)


def test_T95_statistics_of_one_model(opened: Open) -> None:
    store = opened()
    store.insert([ROW, evolve(ROW, model="other")])
    assert store.stats(Filter(models=["other"])).requests == 1
    nothing = store.stats(Filter(models=["nope"]))
    assert (nothing.requests, nothing.input_tokens, nothing.prompt) == (0, 0, None)


def test_T96_equal_values_are_one_bin(opened: Open) -> None:
    store = opened()
    with_speeds(store, 100, 100, 0, -1)
    found = store.stats(Filter()).prompt
    assert found is not None
    assert (list(found.bins), found.bin_size, found.min, found.max) == ([2], 0, 100, 100)
    assert (found.p50, found.p95, found.p99) == (100, 100, 100)


def test_T96_a_hundred_values_are_eight_bins(opened: Open) -> None:
    store = opened()
    values = [float(n) for n in range(1, 101)]
    with_speeds(store, *values)
    found = store.stats(Filter()).generation
    assert found is not None
    assert (len(found.bins), sum(found.bins)) == (8, 100)
    assert found.bin_size == pytest.approx(99 / 8)
    expected = [0] * 8
    for value in values:
        expected[min(int((value - 1) / (99 / 8)), 7)] += 1
    assert list(found.bins) == expected
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    assert [found.p50, found.p95, found.p99] == pytest.approx([cuts[49], cuts[94], cuts[98]])


@pytest.mark.parametrize(("count", "bins"), [(2, 5), (16, 5), (17, 6), (3000, 13)])
def test_T96_how_many_bins(opened: Open, count: int, bins: int) -> None:
    store = opened()
    with_speeds(store, *[n + 0.5 for n in range(count)])
    found = store.stats(Filter()).prompt
    assert found is not None
    assert (len(found.bins), sum(found.bins)) == (bins, count)


def test_a_failing_insert_leaves_nothing_of_its_lot_and_the_next_goes_on(
    opened: Open, tmp_path: Path
) -> None:
    store = opened(tmp_path / "a.db")
    broken = evolve(ROW, model=cast(str, None))
    with pytest.raises(sqlite3.Error):
        store.insert([ROW, broken])
    assert store.insert([ROW]) == [1]


def test_metadata_that_another_program_broke_does_not_cost_the_page(
    opened: Open, tmp_path: Path
) -> None:
    store = opened(tmp_path / "a.db")
    store.insert([ROW])
    with sqlite3.connect(tmp_path / "a.db") as other:
        other.execute("UPDATE activity SET metadata_json = '{broken'")
    other.close()
    assert store.list(Filter()).rows[0].metadata == {}
