"""Write metrics in Prometheus' text format 0.0.4.

Not prometheus-client's writer: that one writes every figure as a float (`20.0`, `8.5e+09`), where
dashboards and scripts of llama-swap read integers. Its parser checks this one in the tests.
Source: telemetry §3.1.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from attrs import define, field, frozen

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = Sequence[tuple[str, str]]


@frozen
class Family:
    """One metric with all its samples; not written at all if there are none."""

    name: str
    kind: str
    """`gauge`, `counter` or `histogram`."""
    help: str
    samples: Sequence[tuple[Labels, float]]

    def lines(self) -> Iterator[str]:
        """The family as text."""
        if self.samples:
            yield from _head(self.name, self.kind, self.help)
            for labels, value in self.samples:
                yield f"{self.name}{labels_text(labels)} {number_text(value)}\n"


@define
class Histogram:
    """How often a figure was at most so large. `bounds` rise; the last count is of larger ones."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    total: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a figure."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def samples(self) -> Iterator[tuple[str, Labels, float]]:
        """Suffix, labels and value of each line: bounds cumulate, as the format wants it."""
        below = 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            below += count
            yield "_bucket", (("le", number_text(bound)),), below
        yield "_sum", (), self.total
        yield "_count", (), below


@frozen
class HistogramFamily:
    """A histogram for each value of one label."""

    name: str
    help: str
    label: str
    histograms: Mapping[str, Histogram]

    def lines(self) -> Iterator[str]:
        """The family as text."""
        if self.histograms:
            yield from _head(self.name, "histogram", self.help)
            for value, histogram in sorted(self.histograms.items()):
                for suffix, labels, figure in histogram.samples():
                    shown = labels_text(((self.label, value), *labels))
                    yield f"{self.name}{suffix}{shown} {number_text(figure)}\n"


def exposition(families: Iterable[Family | HistogramFamily]) -> str:
    """All families as text; empty if there is nothing."""
    return "".join(line for family in families for line in family.lines())


def _head(name: str, kind: str, help_text: str) -> Iterator[str]:
    escaped = help_text.replace("\\", "\\\\").replace("\n", "\\n")
    yield f"# HELP {name} {escaped}\n# TYPE {name} {kind}\n"


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def labels_text(labels: Labels) -> str:
    """`{name="value",…}`, with whatever a value may hold."""
    if not labels:
        return ""
    inner = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels)
    return f"{{{inner}}}"


def number_text(value: float) -> str:
    """The shortest text of a figure; whole ones without point or exponent."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) else repr(value)
