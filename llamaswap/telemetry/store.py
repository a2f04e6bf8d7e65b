"""Rows of activity in SQLite: in memory, or in a file that llama-swap can use too.

Synchronous; whoever owns a store calls it from one worker thread at a time. The table and its
version record are llama-swap's, so that either program opens the other's file.
Source: telemetry §5.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from attrs import define, field, frozen

from llamaswap.errors import LlamaswapError
from llamaswap.telemetry.activity import ActivityRow
from llamaswap.telemetry.histogram import Histogram, histogram
from llamaswap.telemetry.usage import Tokens

logger = logging.getLogger(__name__)

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another program that has the file locked."""
DEFAULT_ROWS = 1000
VERSION = 1
PRUNE_EVERY = 200
"""Rows inserted between two prunings of a file."""
LARGEST = 2**63 - 1

_VERSIONS = """
CREATE TABLE IF NOT EXISTS goose_db_version (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL,
    tstamp TIMESTAMP DEFAULT (datetime('now'))
)"""
_MIGRATION_1 = (
    """
CREATE TABLE activity (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ts_created INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    req_path TEXT NOT NULL DEFAULT '',
    resp_content_type TEXT NOT NULL DEFAULT '',
    resp_status_code INTEGER NOT NULL DEFAULT 0,
    cache_tokens INTEGER NOT NULL DEFAULT 0,
    draft_tokens INTEGER NOT NULL DEFAULT 0,
    draft_acc_tokens INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    prompt_per_second REAL NOT NULL DEFAULT 0,
    tokens_per_second REAL NOT NULL DEFAULT 0,
    duration_ms INTEGER NOT NULL DEFAULT 0,
    error_msg TEXT NOT NULL DEFAULT '',
    metadata_json TEXT NOT NULL DEFAULT ''
)""",
    "CREATE INDEX idx_activity_created_id ON activity (ts_created DESC, id DESC)",
    "CREATE INDEX idx_activity_model_created_id ON activity (model_id, ts_created DESC, id DESC)",
)
COLUMNS = (
    "id",
    "ts_created",
    "model_id",
    "req_path",
    "resp_content_type",
    "resp_status_code",
    "cache_tokens",
    "draft_tokens",
    "draft_acc_tokens",
    "input_tokens",
    "output_tokens",
    "prompt_per_second",
    "tokens_per_second",
    "duration_ms",
    "error_msg",
    "metadata_json",
)
_INSERT = f"INSERT INTO activity ({', '.join(COLUMNS[1:])}) VALUES "  # noqa: S608  # constants
_PLACES = f"({', '.join('?' * (len(COLUMNS) - 1))})"
MOST_AT_ONCE = 1000 // len(COLUMNS)
"""Rows in one statement; old builds of SQLite take 999 values."""
_SEARCHED = ("model_id", "error_msg", "metadata_json")
SORT_COLUMNS: Mapping[str, str] = {
    "id": "id",
    "time": "ts_created",
    "model": "model_id",
    "req_path": "req_path",
    "resp_status_code": "resp_status_code",
    "resp_content_type": "resp_content_type",
    "cached": "cache_tokens",
    "prompt": "input_tokens",
    "generated": "output_tokens",
    "drafted": "draft_tokens",
    "prompt_speed": "prompt_per_second",
    "gen_speed": "tokens_per_second",
    "duration": "duration_ms",
}


class StoreFailed(LlamaswapError):
    """The activity database cannot be used."""


@frozen(kw_only=True)
class Filter:
    """Which rows are meant: all of it holds. Everything absent: every row."""

    models: Sequence[str] = ()
    """Exact ids, any of them; blank ones do not count."""
    start: int | None = None
    """Unix seconds, inclusive."""
    end: int | None = None
    min_id: int | None = None
    max_id: int | None = None
    statuses: tuple[int, int] | None = None
    """First and last status meant."""
    path: str = ""
    ids: Sequence[int] | None = None
    text: str = ""
    """Occurs in the model, the error or the metadata, in any case."""

    def sql(self) -> tuple[str, list[Any]]:
        """A WHERE clause and its values."""
        terms = list(self._terms())
        clause = " AND ".join(term for term, _ in terms)
        values = [value for _, given in terms for value in given]
        return (f" WHERE {clause}" if clause else ""), values

    def _terms(self) -> Iterator[tuple[str, Sequence[Any]]]:
        models = [model for model in self.models if model.strip()]
        if models:
            yield f"model_id IN ({', '.join('?' * len(models))})", models
        bounds = (
            ("ts_created >= ?", self.start),
            ("ts_created <= ?", self.end),
            ("id >= ?", self.min_id),
            ("id <= ?", self.max_id),
        )
        for term, value in bounds:
            if value is not None:
                yield term, [max(-LARGEST, min(LARGEST, value))]
        if self.statuses is not None:
            yield "resp_status_code BETWEEN ? AND ?", self.statuses
        if self.path:
            yield "req_path = ?", [self.path]
        if self.ids is not None:
            known = msgspec.json.encode(list(self.ids)).decode()
            yield "id IN (SELECT value FROM json_each(?))", [known]
        if self.text:
            escaped = self.text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
            like = f"%{escaped}%"
            alternatives = (f"{column} LIKE ? ESCAPE '\\'" for column in _SEARCHED)
            yield f"({' OR '.join(alternatives)})", [like] * len(_SEARCHED)


@frozen
class Page:
    """Some rows of all that a filter means."""

    rows: Sequence[ActivityRow]
    page: int
    limit: int
    total: int

    @property
    def pages(self) -> int:
        """How many pages there are; 0: nothing is meant."""
        return -(-self.total // self.limit)


@frozen
class Stats:
    """Sums and distributions."""

    requests: int
    input_tokens: int
    output_tokens: int
    cache_tokens: int
    prompt: Histogram | None
    generation: Histogram | None


@define(eq=False)
class Store:
    """An open database."""

    path: str | None
    """As configured; None: in memory."""
    _db: sqlite3.Connection = field(repr=False)
    _since_pruning: int = field(default=0, init=False)

    @classmethod
    def open(cls, path: str | None) -> Store:
        """Open, and create or migrate what is needed. Raises StoreFailed."""
        try:
            store = cls(path, _connect(path))
        except (sqlite3.Error, OSError) as exc:
            raise StoreFailed(f"store.path: cannot open {path}: {exc}") from exc
        try:
            store._prepare()
        except (sqlite3.Error, StoreFailed) as exc:
            store.close()
            raise StoreFailed(f"store.path: cannot use {path}: {exc}") from exc
        return store

    def close(self) -> None:
        """Close; SQLite moves its log into the file."""
        self._db.close()

    # --- writing ----------------------------------------------------------------------------------

    def insert(self, rows: Iterable[ActivityRow]) -> list[int]:
        """Insert all rows or none; return their ids. Raises sqlite3.Error."""
        with self._transaction():
            ids = [row for lot in _lots(rows) for row in self._insert(lot)]
        self._since_pruning += len(ids)
        return ids

    def _insert(self, rows: Sequence[ActivityRow]) -> Sequence[int]:
        # one statement for all: each would give up the interpreter's lock and wait for it again
        statement = _INSERT + ", ".join([_PLACES] * len(rows))
        values = [value for row in rows for value in _values(row)]
        last = self._db.execute(statement, values).lastrowid
        assert last is not None  # it has just inserted something
        return range(last - len(rows) + 1, last + 1)  # nobody else writes in between

    def prune(self, limit: int) -> None:
        """Keep the newest `limit` rows; <= 0: nothing is done. Ids go on. Raises sqlite3.Error."""
        if limit > 0:
            with self._transaction():
                self._db.execute(
                    "DELETE FROM activity WHERE id <= (SELECT max(id) FROM activity) - ?", [limit]
                )
            self._since_pruning = 0

    def prune_after_insert(self, in_memory: int, max_rows: int) -> None:
        """Keep to the configured number of rows. Raises sqlite3.Error.

        `in_memory`: rows of a database in memory; <= 0: the default. `max_rows`: rows of a file;
        0: no limit.
        """
        if self.path is None:
            self.prune(in_memory if in_memory > 0 else DEFAULT_ROWS)
        elif self._since_pruning >= PRUNE_EVERY:
            self.prune(max_rows)

    # --- reading ----------------------------------------------------------------------------------

    def last_id(self) -> int:
        """Of the newest row; 0: there is none."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM activity").fetchone()[0])

    def count(self, which: Filter) -> int:
        """How many rows are meant."""
        where, values = which.sql()
        statement = f"SELECT count(*) FROM activity{where}"  # noqa: S608  # constants
        return int(self._db.execute(statement, values).fetchone()[0])

    def list(
        self,
        which: Filter,
        *,
        page: int = 1,
        limit: int = 25,
        sort: str = "id",
        descending: bool = True,
    ) -> Page:
        """One page of rows; unknown sort keys mean `id`, ties go by id in the same direction."""
        where, values = which.sql()
        column = SORT_COLUMNS.get(sort, "id")
        way = "DESC" if descending else "ASC"
        statement = (
            f"SELECT {', '.join(COLUMNS)} FROM activity{where} "  # noqa: S608  # constants
            f"ORDER BY {column} {way}, id {way} LIMIT ? OFFSET ?"
        )
        offset = min((page - 1) * limit, LARGEST)
        found = self._db.execute(statement, [*values, limit, offset])
        return Page([_row(entry) for entry in found], page, limit, self.count(which))

    def stats(self, which: Filter) -> Stats:
        """Sums and distributions of the rows that are meant."""
        where, values = which.sql()
        sums = "count(*), total(input_tokens), total(output_tokens), total(max(cache_tokens, 0))"
        statement = f"SELECT {sums} FROM activity{where}"  # noqa: S608  # constants
        requests, taken, given, cached = self._db.execute(statement, values).fetchone()
        prompt = histogram(self._db, "prompt_per_second", where, values)
        generation = histogram(self._db, "tokens_per_second", where, values)
        return Stats(requests, int(taken), int(given), int(cached), prompt, generation)

    # --- opening ----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self.path is not None:
            mode = self._db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StoreFailed(
                    f"the file system has no write-ahead log (journal mode is {mode!r}); "
                    "choose a local disk"
                )
            # a crash of the machine may cost the last rows, never the file
            self._db.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            self._migrate()

    def _migrate(self) -> None:
        self._db.execute(_VERSIONS)
        version = self._version()
        if version is None:
            self._note_version(0)
        if not version:
            for statement in _MIGRATION_1:
                self._db.execute(statement)
            self._note_version(1)
        elif version > VERSION:
            self._check_columns(version)

    def _version(self) -> int | None:
        """The newest version that is applied; None: nothing is noted."""
        found = self._db.execute(
            "SELECT max(version_id) FROM goose_db_version WHERE is_applied"
        ).fetchone()[0]
        return None if found is None else int(found)

    def _note_version(self, version: int) -> None:
        self._db.execute(
            "INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, 1)", [version]
        )

    def _check_columns(self, version: int) -> None:
        there = {entry[1] for entry in self._db.execute("PRAGMA table_info(activity)")}
        missing = [column for column in COLUMNS if column not in there]
        if missing:
            raise StoreFailed(
                f"its schema has version {version}, this program knows version {VERSION}, and "
                f"{', '.join(missing)} are missing; use a newer program or another file"
            )
        logger.warning(
            "%s has schema version %d, newer than %d; every column is there, so it is used",
            self.path,
            version,
            VERSION,
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def _connect(path: str | None) -> sqlite3.Connection:
    if path is not None:
        # SQLite would make it readable for others
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    # an absolute path has no special meaning to SQLite
    name = ":memory:" if path is None else str(Path(path).absolute())
    return sqlite3.connect(
        name, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )


def _values(row: ActivityRow) -> tuple[Any, ...]:
    tokens = row.tokens
    metadata = msgspec.json.encode(row.metadata).decode() if row.metadata else ""
    return (
        row.created,
        row.model,
        row.req_path,
        row.resp_content_type,
        row.resp_status_code,
        tokens.cached,
        tokens.drafted,
        tokens.accepted,
        tokens.input,
        tokens.output,
        tokens.prompt_speed,
        tokens.speed,
        row.duration_ms,
        row.error,
        metadata,
    )


def _row(entry: Sequence[Any]) -> ActivityRow:
    tokens = Tokens(
        input=entry[9],
        output=entry[10],
        cached=entry[6],
        drafted=entry[7],
        accepted=entry[8],
        prompt_speed=entry[11],
        speed=entry[12],
    )
    return ActivityRow(
        created=entry[1],
        model=entry[2],
        req_path=entry[3],
        resp_content_type=entry[4],
        resp_status_code=entry[5],
        duration_ms=entry[13],
        tokens=tokens,
        error=entry[14],
        metadata=_metadata(entry[15]),
        id=entry[0],
    )


def _metadata(text: str) -> Mapping[str, str]:
    """What another program may have left there must not cost the page."""
    try:
        return msgspec.json.decode(text, type=dict[str, str]) if text else {}
    except msgspec.DecodeError:
        return {}


def _lots(rows: Iterable[ActivityRow]) -> Iterator[Sequence[ActivityRow]]:
    waiting = list(rows)
    for start in range(0, len(waiting), MOST_AT_ONCE):
        yield waiting[start : start + MOST_AT_ONCE]
