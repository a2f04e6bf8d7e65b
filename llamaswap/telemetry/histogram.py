"""Distribution of the positive values of a column, computed by SQLite. Source: telemetry §5.4."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from typing import Any

from attrs import frozen


@frozen
class Histogram:
    """Equal bins from the smallest to the largest value, and percentiles."""

    bins: Sequence[int]
    min: float
    max: float
    bin_size: float
    """0: all values are equal, and there is one bin."""
    p50: float
    p95: float
    p99: float


def histogram(
    db: sqlite3.Connection, column: str, where: str, values: Sequence[Any]
) -> Histogram | None:
    """The distribution of `column` (a trusted name) over its values > 0; None: there are none."""
    positive = f"{where}{' AND' if where else ' WHERE'} {column} > 0"
    count, low, high = db.execute(
        f"SELECT count(*), min({column}), max({column}) FROM activity{positive}",  # noqa: S608
        values,
    ).fetchone()
    if not count:
        return None

    def percentile(share: float) -> float:
        rank = share * (count - 1)
        lower = math.floor(rank)
        found = db.execute(
            f"SELECT {column} FROM activity{positive} "  # noqa: S608  # constants
            f"ORDER BY {column} LIMIT 2 OFFSET ?",
            [*values, lower],
        ).fetchall()
        below, above = float(found[0][0]), float(found[-1][0])
        return float(below + (above - below) * (rank - lower))

    bins = [count]
    number = max(5, min(20, math.ceil(math.log2(count)) + 1))
    size = (high - low) / number
    if size > 0:
        bins = [0] * number
        counted = db.execute(
            f"SELECT min(CAST(({column} - ?) / ? AS INTEGER), ?), count(*) "  # noqa: S608
            f"FROM activity{positive} GROUP BY 1",
            [low, size, number - 1, *values],
        )
        for place, amount in counted:
            bins[place] = amount
    p50, p95, p99 = percentile(0.5), percentile(0.95), percentile(0.99)
    return Histogram(bins, float(low), float(high), size, p50, p95, p99)
