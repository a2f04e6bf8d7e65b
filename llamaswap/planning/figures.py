"""What a simulated run amounts to: waits, swaps, fairness, and whether the promise was kept.

Source: scheduling §2, §3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from llamaswap.planning.simulator import History, Machine, Served, Stay


@frozen(kw_only=True)
class Waits:
    """Seconds between arrival and work."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    worst: float


@frozen(kw_only=True)
class Promise:
    """Whether nobody waited longer than `batch` promises. Source: scheduling §2."""

    kept: bool
    tightest: float
    """The largest share of its bound that any wait used up; over 1: broken."""
    request: str = ""
    wait: float = 0.0
    bound: float = 0.0


@frozen(kw_only=True)
class Figures:
    """The numbers of one run."""

    done: int
    refused: int
    cancelled: int
    swaps: int
    loading: float
    makespan: float
    fairness: float
    """Jain's index over clients of the share of their time in which they were served."""
    all: Waits
    models: Mapping[str, Waits]
    events: int


def figures(history: History) -> Figures:
    """Sum a run up."""
    outcomes = [served.outcome for served in history.served]
    by_model: dict[str, list[float]] = {}
    for served in history.served:
        if served.wait is not None:
            by_model.setdefault(served.call.model, []).append(served.wait)
    return Figures(
        done=outcomes.count("done"),
        refused=outcomes.count("refused"),
        cancelled=outcomes.count("cancelled"),
        swaps=history.swaps,
        loading=history.loading,
        makespan=history.ended,
        fairness=_fairness(history.served),
        all=_waits([wait for waits in by_model.values() for wait in waits]),
        models={model: _waits(by_model[model]) for model in sorted(by_model)},
        events=history.events,
    )


def _waits(values: Sequence[float]) -> Waits:
    ordered = sorted(values)
    if not ordered:
        return Waits(count=0, mean=0.0, p50=0.0, p95=0.0, p99=0.0, worst=0.0)

    def at(share: float) -> float:
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    return Waits(
        count=len(ordered),
        mean=sum(ordered) / len(ordered),
        p50=at(0.5),
        p95=at(0.95),
        p99=at(0.99),
        worst=ordered[-1],
    )


def _fairness(served: Iterable[Served]) -> float:
    """1: every client was served for the same share of its time; 1/n: one got everything."""
    worked: dict[str, float] = {}
    spent: dict[str, float] = {}
    for one in served:
        if one.outcome != "done" or one.began is None or one.ended is None:
            continue
        client = one.call.client or one.call.model
        worked[client] = worked.get(client, 0.0) + one.ended - one.began
        spent[client] = spent.get(client, 0.0) + one.ended - one.arrived
    shares = [worked[client] / spent[client] for client in worked if spent[client] > 0]
    if not shares:
        return 1.0
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def promise(
    history: History, machines: Mapping[str, Machine], *, max_wait: float, min_visit: float
) -> Promise:
    """Check every wait of a run against the bound.

    Time in which the request's own model was up does not count: then it waited for its own kind.
    With n models whose requests were older when it became overdue, n + 1 rounds are allowed; a
    round is one visit, the longest running request, a stop and a load.
    """
    if not max_wait:
        return Promise(kept=True, tightest=0.0)
    longest = max((served.call.service for served in history.served), default=0.0)
    load = max(machine.load for machine in machines.values())
    unload = max(machine.unload for machine in machines.values())
    visit = min_visit * 2 * (load + unload)
    debts = [s.owed_until - s.began for s in history.stays if s.owed_until > s.ready]
    one_round = max(visit, *debts, 0.0) + longest + unload + load
    stays: dict[str, list[Stay]] = {}
    for stay in history.stays:
        stays.setdefault(stay.model, []).append(stay)
    worst = Promise(kept=True, tightest=0.0)
    waiting = _Waiting(history.served)
    for served in history.served:
        if served.began is None or served.began - served.arrived <= max_wait:
            continue
        away = _away(served, stays.get(served.call.model, ()))
        ahead = waiting.older_models(served, served.arrived + max_wait)
        bound = max_wait + (ahead + 1) * one_round
        if away / bound > worst.tightest:
            worst = Promise(
                kept=worst.kept and away <= bound,
                tightest=away / bound,
                request=served.call.id,
                wait=away,
                bound=bound,
            )
    return worst


def _away(served: Served, stays: Iterable[Stay]) -> float:
    """Seconds of its wait in which its model was not up."""
    assert served.began is not None
    up = sum(
        max(0.0, min(stay.stopping, served.began) - max(stay.ready, served.arrived))
        for stay in stays
        if stay.ready < math.inf
    )
    return served.began - served.arrived - up


class _Waiting:
    """Who waited at a given time, for the count of those ahead."""

    def __init__(self, served: Sequence[Served]) -> None:
        self._all = sorted(served, key=lambda one: one.arrived)

    def older_models(self, served: Served, time: float) -> int:
        """Other models with a request that came before `served` and still waited at `time`."""
        found = set()
        for one in self._all:
            if one.arrived >= served.arrived:
                break
            until = one.began if one.began is not None else one.ended
            if one.call.model != served.call.model and until is not None and until > time:
                found.add(one.call.model)
        return len(found)
