"""Swap planner `matrix`: models run together as far as one written set allows.

An expression stands for many sets, far too many to write out. A question is only about the wanted
model and those that run, so every set is looked at through these few: one bit per model, `|` joins
lists of masks, `&` pairs them, and a mask inside another is dropped at once, because a larger set
never costs more. Source: lifecycle §3.2, config part 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_

from attrs import define, frozen

from llamaswap.config.matrix_dsl import (
    AllOf,
    Name,
    Node,
    OneOf,
    Reference,
    definition_order,
    parse_sets,
)
from llamaswap.config.schema import Matrix as Settings

REMEMBERED = 512
"""Questions whose answers are kept: the same few come again with every request."""


@frozen
class Solution:
    """The cheapest way to let a model run, for whoever wants to explain it."""

    evict: tuple[str, ...]
    members: tuple[str, ...]
    """The permitted set it ends in, sorted; the model alone if it is in no set."""
    set_name: str
    """Empty: the model is in no set."""
    expression: str
    cost: int


@define(eq=False)
class _Node:
    """A part of an expression, compiled. Shared where a set refers to another."""

    kind: str  # "leaf", "any", "all"
    support: int
    """Models that occur in it."""
    first: int
    """The first set it stands for: what it is where only outsiders are asked about."""
    parts: tuple[_Node, ...] = ()


@frozen
class _Set:
    name: str
    expression: str
    root: _Node


@frozen
class _Choice:
    """One set that contains the wanted model, as far as the question goes."""

    mask: int
    full: int
    """The same set with all its members."""
    source: _Set


_Masks = list[tuple[int, int]]
"""Pairs of what is seen of a set, and the whole set; in order of expansion."""


class Matrix:
    """Who must go before a model may run, so that those left are all in one set."""

    def __init__(self, settings: Settings) -> None:
        self._costs = dict(settings.evict_costs)
        self._bits: dict[str, int] = {}
        self._sets = self._compile(settings)
        self._answers: dict[tuple[str, tuple[str, ...]], tuple[tuple[str, ...], ...]] = {}

    # --- the seam ---------------------------------------------------------------------------------

    def evict(self, target: str, running: Sequence[str]) -> tuple[str, ...]:
        """The cheapest eviction after which `target` and all others are in one set."""
        return self.plans(target, running)[0]

    def plans(self, target: str, running: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Every eviction that could be the best one, the cheapest first; at least one.

        None of them contains another. Source: scheduling §2 rule 3.
        """
        if target in running:  # whoever runs already is not questioned
            return ((),)
        key = (target, tuple(running))
        known = self._answers.get(key)
        if known is None:
            known = tuple(
                dict.fromkeys(
                    self._evicted(choice.mask, running) for choice in self._choices(target, running)
                )
            ) or (tuple(running),)
            if len(self._answers) >= REMEMBERED:
                self._answers.clear()
            self._answers[key] = known
        return known

    def weight(self, model: str) -> float:
        """How much the operator minds its eviction: `evict_costs`."""
        return float(self._costs.get(model, 1))

    def explain(self, target: str, running: Sequence[str], evict: tuple[str, ...]) -> str:
        """The set that `target` and those who stay are in, and what leaving it costs."""
        stay = self._mask([model for model in (target, *running) if model not in evict])
        for choice in self._choices(target, running):
            if stay is not None and stay | choice.mask == choice.mask:
                source = choice.source
                cost = sum(self._costs.get(model, 1) for model in evict)
                return f"set {source.name} ({source.expression}), cost {cost}"
        return f"{target} is in no set and runs alone"

    def may_run_together(self, models: Sequence[str]) -> bool:
        """Whether one set contains all of `models`."""
        if len(set(models)) < 2:
            return True
        wanted = self._mask(models)
        if wanted is None:
            return False
        return any(
            mask == wanted
            for entry in self._sets
            if wanted & entry.root.support == wanted
            for mask, _full in _evaluate(entry.root, wanted, {})
        )

    def solve(self, target: str, running: Sequence[str]) -> Solution:
        """`evict`, explained."""
        choices = self._choices(target, running)
        if not choices:
            alone = () if target in running else tuple(running)
            return Solution(alone, (target,), "", "", 0)
        best = choices[0]
        evict = () if target in running else self._evicted(best.mask, running)
        return Solution(
            evict=evict,
            members=tuple(sorted(m for m, bit in self._bits.items() if bit & best.full)),
            set_name=best.source.name,
            expression=best.source.expression,
            cost=sum(self._costs.get(model, 1) for model in evict),
        )

    # --- answering --------------------------------------------------------------------------------

    def _choices(self, target: str, running: Sequence[str]) -> list[_Choice]:
        """Sets with `target`, none within another as far as `running` goes; cheapest first."""
        wanted = self._bits.get(target, 0)
        asked = wanted
        for model in running:
            asked |= self._bits.get(model, 0)
        found: list[_Choice] = []
        known: dict[int, _Masks] = {}
        for entry in self._sets:
            if not wanted & entry.root.support:
                continue
            for mask, full in _evaluate(entry.root, asked, known):
                if mask & wanted and not any(mask | other.mask == other.mask for other in found):
                    found = [other for other in found if other.mask | mask != mask]
                    found.append(_Choice(mask, full, entry))
        if len(found) > 1:
            found.sort(key=lambda choice: self._cost(choice.mask, running))  # stable: first wins
        return found

    def _cost(self, mask: int, running: Sequence[str]) -> int:
        return sum(self._costs.get(model, 1) for model in self._evicted(mask, running))

    def _evicted(self, mask: int, running: Sequence[str]) -> tuple[str, ...]:
        bits = self._bits
        return tuple([model for model in running if not bits.get(model, 0) & mask])

    def _mask(self, models: Sequence[str]) -> int | None:
        """None: one of them is in no set."""
        mask = 0
        for model in models:
            bit = self._bits.get(model)
            if bit is None:
                return None
            mask |= bit
        return mask

    # --- compiling --------------------------------------------------------------------------------

    def _compile(self, settings: Settings) -> tuple[_Set, ...]:
        trees, _problems = parse_sets(settings.sets)
        nodes: dict[str, _Node] = {}
        for name in definition_order(trees):
            nodes[name] = self._node(trees[name], settings.vars, nodes)
        return tuple(_Set(name, settings.sets[name], node) for name, node in nodes.items())

    def _node(self, tree: Node, names: Mapping[str, str], known: Mapping[str, _Node]) -> _Node:
        match tree:
            case Name(name):
                bit = self._bits.setdefault(names.get(name, name), 1 << len(self._bits))
                return _Node("leaf", bit, bit)
            case Reference(name):
                return known[name]
            case OneOf(parts):
                nodes = tuple(self._node(part, names, known) for part in parts)
                return _Node("any", _union(node.support for node in nodes), nodes[0].first, nodes)
            case AllOf(parts):
                nodes = tuple(self._node(part, names, known) for part in parts)
                support = _union(node.support for node in nodes)
                return _Node("all", support, _union(node.first for node in nodes), nodes)


def _evaluate(node: _Node, asked: int, known: dict[int, _Masks]) -> _Masks:
    """The largest parts of `asked` that sets of `node` contain, in order of expansion."""
    seen = node.support & asked
    if not seen:
        return [(0, node.first)]
    if node.kind == "leaf":
        return [(node.support, node.support)]
    found = known.get(id(node))
    if found is None:
        combine = _any_of if node.kind == "any" else _all_of
        found = known[id(node)] = combine(node.parts, asked, known)
    return found


def _any_of(parts: Sequence[_Node], asked: int, known: dict[int, _Masks]) -> _Masks:
    every: _Masks = []
    nothing_seen = False
    for part in parts:
        if part.support & asked:
            every += _evaluate(part, asked, known)
        elif not nothing_seen:  # all such alternatives look alike; the first stands for them
            nothing_seen = True
            every.append((0, part.first))
    return _largest(every)


def _all_of(parts: Sequence[_Node], asked: int, known: dict[int, _Masks]) -> _Masks:
    product: _Masks = [(0, 0)]
    for part in parts:
        choices = _evaluate(part, asked, known)
        product = [
            (mask | other, full | whole) for mask, full in product for other, whole in choices
        ]
        if len(product) > 1 and len(choices) > 1:
            product = _largest(product)
    return product


def _largest(masks: _Masks) -> _Masks:
    """Those that are in no other; of equal ones the first."""
    kept: _Masks = []
    for mask, full in masks:
        if any(mask | other == other for other, _ in kept):
            continue
        if kept:
            kept = [pair for pair in kept if pair[0] | mask != mask]
        kept.append((mask, full))
    return kept


def _union(masks: Iterable[int]) -> int:
    return reduce(or_, masks, 0)
