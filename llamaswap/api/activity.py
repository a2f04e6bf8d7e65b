"""Rows of activity, page by page, and their sums. Source: http-api §7.5."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from functools import partial
from typing import Any

import quart
from attrs import frozen
from werkzeug.datastructures import MultiDict

from llamaswap.api.app import ControlPlane, Surroundings, json_response
from llamaswap.api.performance import parse_after
from llamaswap.errors import BadRequest, LlamaswapError
from llamaswap.telemetry.activity import activity_body
from llamaswap.telemetry.captures import Captures
from llamaswap.telemetry.histogram import Histogram
from llamaswap.telemetry.store import SORT_COLUMNS, Filter, Page, Stats, Store, StoreFailed

logger = logging.getLogger(__name__)

DEFAULT_LIMIT = 25
MOST = 999


def add_routes(app: ControlPlane, around: Surroundings) -> None:
    """List rows, and sum them up."""

    async def activity() -> quart.Response:
        wish = read_wish(quart.request.args, around.book.captures)
        question = partial(
            Store.list,
            which=wish.which,
            page=wish.page,
            limit=wish.limit,
            sort=wish.sort,
            descending=wish.descending,
        )
        try:
            page = await around.book.ask(question)
        except StoreFailed as exc:
            logger.warning("activity cannot be read: %s", exc)
            raise LlamaswapError("failed to get activity") from exc
        return json_response(page_body(page, around.book.captures))

    async def stats() -> quart.Response:
        which = read_filter(quart.request.args, around.book.captures)
        try:
            found = await around.book.ask(partial(Store.stats, which=which))
        except StoreFailed as exc:
            logger.warning("activity cannot be summed up: %s", exc)
            raise LlamaswapError("failed to get activity stats") from exc
        return json_response(stats_body(found))

    app.add_url_rule("/api/metrics/activity", "activity", activity)
    app.add_url_rule("/api/metrics/stats", "activity-stats", stats)


@frozen
class Wish:
    """What a client wants to see."""

    which: Filter
    page: int
    limit: int
    sort: str
    descending: bool


def read_wish(args: MultiDict[str, str], captures: Captures) -> Wish:
    """Read the parameters of a list. Empty ones count as absent, unknown ones for nothing.

    Raises:
        BadRequest: one has a value that means nothing.
    """
    limit = _whole(args, "limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MOST:
        raise BadRequest(f"limit must be between 1 and {MOST}")
    page = _whole(args, "page", 1)
    if page < 1:
        raise BadRequest("page must be >= 1")
    sort = args.get("sort") or "id"
    if sort not in SORT_COLUMNS:
        raise BadRequest("invalid sort column")
    order = (args.get("order") or "desc").lower()
    if order not in ("asc", "desc"):
        raise BadRequest("order must be asc or desc")
    return Wish(read_filter(args, captures), page, limit, sort, order == "desc")


def read_filter(args: MultiDict[str, str], captures: Captures) -> Filter:
    """Read which rows are meant. Raises BadRequest."""
    start, end = _moment(args, "start"), _moment(args, "end")
    if start is not None and end is not None and start > end:
        raise BadRequest("start must be before end")
    bounds = [_id(args, name) for name in ("min_id", "max_id")]
    if bounds[0] is not None and bounds[1] is not None and bounds[0] > bounds[1]:
        raise BadRequest("min_id must be <= max_id")
    only_captured = args.get("has_capture") in ("1", "true")
    return Filter(
        models=tuple(args.getlist("model")),
        start=None if start is None else -int(-start.timestamp() // 1),
        end=None if end is None else int(end.timestamp() // 1),
        min_id=bounds[0],
        max_id=bounds[1],
        statuses=_statuses(args.get("status") or ""),
        path=args.get("path") or "",
        ids=captures.all_ids() if only_captured else None,
        text=args.get("q") or "",
    )


def page_body(page: Page, captures: Captures) -> dict[str, Any]:
    """A page as JSON."""
    return {
        "data": [activity_body(row, has_capture=row.id in captures.ids) for row in page.rows],
        "page": page.page,
        "limit": page.limit,
        "total": page.total,
        "total_pages": page.pages,
    }


def stats_body(stats: Stats) -> dict[str, Any]:
    """Sums and distributions as JSON."""
    return {
        "total_requests": stats.requests,
        "total_input_tokens": stats.input_tokens,
        "total_output_tokens": stats.output_tokens,
        "total_cache_tokens": stats.cache_tokens,
        "prompt_histogram": _histogram(stats.prompt),
        "gen_histogram": _histogram(stats.generation),
    }


def _histogram(found: Histogram | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "bins": list(found.bins),
        "min": found.min,
        "max": found.max,
        "binSize": found.bin_size,
        "p50": found.p50,
        "p95": found.p95,
        "p99": found.p99,
    }


def _whole(args: MultiDict[str, str], name: str, default: int) -> int:
    text = args.get(name) or ""
    if not text:
        return default
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise BadRequest(f"invalid {name}")
    return int(text)


def _id(args: MultiDict[str, str], name: str) -> int | None:
    if not args.get(name):
        return None
    value = _whole(args, name, 1)
    if value < 1:
        raise BadRequest(f"{name} must be >= 1")
    return value


def _moment(args: MultiDict[str, str], name: str) -> datetime | None:
    try:
        return parse_after(args.get(name) or "")
    except BadRequest as exc:
        raise BadRequest(f"invalid '{name}' timestamp, use RFC3339 format") from exc


def _statuses(text: str) -> tuple[int, int] | None:
    """`4xx`, or one status. Raises BadRequest."""
    if not text:
        return None
    if re.fullmatch(r"[1-5][xX]{2}", text):
        first = int(text[0]) * 100
        return first, first + 99
    if re.fullmatch(r"[1-9][0-9]{2}", text):
        return int(text), int(text)
    raise BadRequest("status must be a number or a class such as 4xx")
