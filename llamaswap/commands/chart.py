"""A picture of a simulated run: which model was resident when, and who waited. Plain SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from itertools import groupby

from llamaswap.planning.simulator import History

WIDTH = 960
LEFT = 150
ROW = 22
COLOURS = ("#3b6fb6", "#c2703d", "#4f8f5b", "#8a5aa8", "#b04a5a", "#5b8f9a", "#9a8436", "#6b6f7b",
           "#a0628c", "#50742e")  # fmt: skip
SLICES = 400
SHOWN = 3_000.0
"""Seconds of a run that are drawn: more would be a comb."""


def chart(runs: Mapping[str, History], *, seconds: float = SHOWN) -> str:
    """Draw each run as a block of rows, one row per model, all on one time axis.

    A bar is a residency (light while it loads); the thin band below is how
    many requests for the model waited, the darker the more.
    """
    models = sorted({stay.model for history in runs.values() for stay in history.stays})
    end = min(max((history.ended for history in runs.values()), default=1.0), seconds)
    block = ROW * len(models) + 44
    height = block * len(runs) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<g font-family="sans-serif" font-size="11">',
    ]
    for number, (title, history) in enumerate(runs.items()):
        top = number * block + 18
        parts.append(f'<text x="4" y="{top}" font-size="13" fill="#222222">{escape(title)}</text>')
        for row, model in enumerate(models):
            parts += _row(history, model, COLOURS[row % len(COLOURS)], top + 8 + row * ROW, end)
        parts += _axis(top + 8 + ROW * len(models), end)
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _row(history: History, model: str, colour: str, y: float, end: float) -> list[str]:
    parts = [
        f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end" fill="#444444">{escape(model)}</text>'
    ]
    for stay in history.stays:
        if stay.model != model or stay.began >= end:
            continue
        gone = min(stay.ended, history.ended)
        parts.append(_bar(stay.began, min(stay.ready, gone), y, 12, end, colour, 0.35))
        if stay.ready < math.inf:
            parts.append(_bar(stay.ready, gone, y, 12, end, colour, 1.0))
    step = end / SLICES
    start = 0
    for count, slices in groupby(_waiting(history, model, end, step)):
        stop = start + len(list(slices))
        if count:
            opacity = min(0.25 + 0.15 * count, 1.0)
            parts.append(_bar(start * step, stop * step, y + 13, 5, end, "#d22f2f", opacity))
        start = stop
    return parts


def _waiting(history: History, model: str, end: float, step: float) -> list[int]:
    """How many waited in each slice of time."""
    counts = [0] * (math.ceil(end / step) + 1)
    for served in history.served:
        if served.call.model != model or served.arrived >= end:
            continue
        until = served.began if served.began is not None else served.ended
        until = min(until if until is not None else end, end)
        if until - served.arrived < step / 2:
            continue
        for slot in range(int(served.arrived / step), int(until / step) + 1):
            counts[slot] += 1
    return counts[:SLICES]


def _bar(
    start: float, stop: float, y: float, height: float, end: float, colour: str, opacity: float
) -> str:
    x = LEFT + start / end * (WIDTH - LEFT - 10)
    width = max((min(stop, end) - start) / end * (WIDTH - LEFT - 10), 0.3)
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{colour}" '
        f'fill-opacity="{opacity:.2f}"/>'
    )


def _axis(y: float, end: float) -> list[str]:
    step = next(
        (s for s in (1, 5, 10, 30, 60, 120, 300, 600, 1_200, 3_600, 7_200) if end / s <= 12), 36_000
    )
    parts = []
    time = 0.0
    while time <= end:
        x = LEFT + time / end * (WIDTH - LEFT - 10)
        parts.append(
            f'<text x="{x:.1f}" y="{y + 12}" text-anchor="middle" fill="#777777">{time:g} s</text>'
        )
        time += step
    return parts
