"""`simulate`: what another scheduler, another layout or one more GPU would have given.

Drives the shipped scheduler and planner objects under a simulated clock. Source: scheduling §3.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from attrs import asdict, evolve, frozen
from rich.console import Console
from rich.table import Table

from llamaswap.commands.arguments import Flag, Given, Line
from llamaswap.commands.chart import chart
from llamaswap.commands.connection import JSON
from llamaswap.commands.progress import steps
from llamaswap.commands.scenarios import REPORT_SEEDS, SCENARIOS, scheduler_of, setting
from llamaswap.commands.trace import read_trace, recorded_trace
from llamaswap.config.load import load_config
from llamaswap.config.schema import Config
from llamaswap.errors import LlamaswapError
from llamaswap.flags import UsageError
from llamaswap.planning.assemble import expected_for, scheduler_for
from llamaswap.planning.bookkeeping import Bookkeeping
from llamaswap.planning.costs import Costs, Expected
from llamaswap.planning.figures import Figures, Promise, figures, promise
from llamaswap.planning.simulator import Call, History, Machine, Wedged, simulate

SCHEDULERS = ("fifo", "batch")
WIDE = 150
_COST = re.compile(r"([^=]+)=(\d+(?:\.\d+)?)(?:/(\d+(?:\.\d+)?))?(?:/(\d+))?")

LINE = Line(
    name="simulate",
    summary="Play requests against the schedulers without starting anything.",
    flags=(
        Flag("scenario", "NAME", "a built-in scenario, or all of them", default=""),
        Flag("seeds", "N,N,…", "seeds of the scenario", default=",".join(map(str, REPORT_SEEDS))),
        Flag("config", "path", "configuration whose models and layout are used"),
        Flag("trace", "path", "requests as JSON lines (with -config)"),
        Flag("from-activity", "path", "requests that an activity store recorded (with -config)"),
        Flag("scheduler", "NAME,NAME", "which schedulers", default="fifo,batch"),
        Flag("costs", "MODEL=L/U/S,…", "seconds to load and unload, requests at once"),
        Flag("learned", "path", "costs that a running llamaswap learned (STORE.costs.json)"),
        Flag("chart", "path", "write an SVG: who was resident when, who waited"),
        JSON,
    ),
    details=(
        "Scenarios:\n"
        + "".join(f"  {name:<24}{text}\n" for name, (text, _) in SCENARIOS.items())
        + "\nWithout -costs and -learned a model's times are its metadata load_seconds,\n"
        "unload_seconds and slots; else 10 s, 1 s and 1."
    ),
)


@frozen(kw_only=True)
class Run:
    """One scheduler against one list of requests."""

    title: str
    scheduler: str
    history: History
    figures: Figures
    promise: Promise


def run(arguments: Sequence[str]) -> int:
    """Print the figures of every run. Exit code 1: a wait broke the promise of `batch`."""
    given = LINE.read(arguments)
    kinds = given.text("scheduler").split(",")
    for kind in kinds:
        if kind not in SCHEDULERS:
            raise UsageError(f"-scheduler: {kind!r} is none of {', '.join(SCHEDULERS)}")
    if given.text("scenario"):
        runs = _scenarios(given, kinds)
    elif given.text("config"):
        runs = _configured(given, kinds)
    else:
        raise UsageError("say -scenario NAME, or -config FILE with -trace or -from-activity")
    if given.text("chart"):
        Path(given.text("chart")).write_text(
            chart({f"{one.title}: {one.scheduler}": one.history for one in runs}), encoding="utf-8"
        )
    if given.on("json"):
        sys.stdout.write(msgspec.json.encode([_as_json(one) for one in runs]).decode() + "\n")
    else:
        _print(runs)
    return 1 if any(one.scheduler == "batch" and not one.promise.kept for one in runs) else 0


def _scenarios(given: Given, kinds: Sequence[str]) -> list[Run]:
    wanted = given.text("scenario")
    if wanted != "all" and wanted not in SCENARIOS:
        raise UsageError(f"-scenario: there is no {wanted!r}; see help simulate")
    names = list(SCENARIOS) if wanted == "all" else [wanted]
    planned = [
        (name, seed, kind)
        for name in names
        for seed in _seeds(given.text("seeds"))
        for kind in kinds
    ]
    return [scenario_run(*one) for one in steps("simulating", planned)]


def scenario_run(name: str, seed: int, kind: str) -> Run:
    """Play one scenario against one scheduler."""
    made = setting(name, seed)
    scheduler = scheduler_of(kind, made)
    history = simulate(scheduler, made.machines, made.calls, until=made.until)
    return Run(
        title=f"{name} {seed}",
        scheduler=kind,
        history=history,
        figures=figures(history),
        promise=promise(history, made.machines, max_wait=60.0, min_visit=5.0),
    )


def _configured(given: Given, kinds: Sequence[str]) -> list[Run]:
    config = load_config(Path(given.text("config")), None, environ=os.environ).config
    names = {model: model for model in config.models}
    names |= {alias: model.id for model in config.models.values() for alias in model.aliases}
    if bool(given.text("trace")) == bool(given.text("from-activity")):
        raise UsageError("-config needs either -trace or -from-activity")
    if given.text("trace"):
        calls, left_out = read_trace(Path(given.text("trace")), names), 0
    else:
        calls, left_out = recorded_trace(Path(given.text("from-activity")), names)
    if left_out:
        print(f"left out: {left_out} requests for models that are not there", file=sys.stderr)
    learned = _learned(given.text("learned"), config)
    machines = _machines(config, learned, given.text("costs"))
    return [_configured_run(config, kind, machines, calls) for kind in steps("simulating", kinds)]


def _configured_run(
    config: Config, kind: str, machines: Mapping[str, Machine], calls: Sequence[Call]
) -> Run:
    routing = evolve(config.routing, scheduler="batch" if kind == "batch" else "fifo")
    expected = {
        model: Expected(load=machine.load, unload=machine.unload)
        for model, machine in machines.items()
    }
    scheduler: Bookkeeping = scheduler_for(evolve(config, routing=routing), costs=Costs(expected))
    try:
        history = simulate(scheduler, machines, calls)
    except Wedged as exc:
        raise LlamaswapError(f"{kind}: {exc}; please report this trace") from exc
    batch = config.routing.batch
    return Run(
        title="trace",
        scheduler=kind,
        history=history,
        figures=figures(history),
        promise=promise(history, machines, max_wait=batch.max_wait, min_visit=batch.min_visit),
    )


def _learned(path: str, config: Config) -> Costs:
    costs = Costs(expected_for(config))
    if path:
        try:
            costs.restore(msgspec.json.decode(Path(path).read_bytes()))
        except (OSError, msgspec.DecodeError) as exc:
            raise LlamaswapError(f"{path}: no learned costs: {exc}") from exc
    return costs


def _machines(config: Config, learned: Costs, written: str) -> dict[str, Machine]:
    machines = {}
    for model in config.models.values():
        slots = model.metadata.get("slots")
        machines[model.id] = Machine(
            load=learned.load(model.id),
            unload=learned.unload(model.id),
            slots=slots if type(slots) is int and slots > 0 else 1,
        )
    for part in filter(None, written.split(",")):
        match = _COST.fullmatch(part)
        if match is None or match[1] not in machines:
            raise UsageError(f"-costs: {part!r} is no MODEL=LOAD/UNLOAD/SLOTS of the configuration")
        before = machines[match[1]]
        machines[match[1]] = Machine(
            load=float(match[2]),
            unload=float(match[3]) if match[3] else before.unload,
            slots=max(int(match[4]), 1) if match[4] else before.slots,
        )
    return machines


def _seeds(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UsageError(f"-seeds must be whole numbers with commas, not {text!r}")
    return [int(seed) for seed in text.split(",")]


def _as_json(one: Run) -> dict[str, object]:
    return {
        "title": one.title,
        "scheduler": one.scheduler,
        **asdict(one.figures),
        "promise": asdict(one.promise),
    }


def _print(runs: Sequence[Run]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("", "scheduler"):
        table.add_column(name)
    for name in ("done", "refused", "swaps", "loading", "mean", "p50", "p95", "p99", "worst",
                 "fairness", "makespan", "promise"):  # fmt: skip
        table.add_column(name, justify="right")
    for one in runs:
        told = one.figures
        _row(table, one.title, one.scheduler, told, one)
        if len(told.models) > 1:
            for model, waits in told.models.items():
                table.add_row(f"  {model}", "", str(waits.count), "", "", "",
                              *_seconds(waits.mean, waits.p50, waits.p95, waits.p99, waits.worst),
                              style="dim")  # fmt: skip
    console = Console(highlight=False)
    console.width = max(console.width, WIDE)  # cut-off numbers help nobody
    console.print(table)


def _row(table: Table, title: str, kind: str, told: Figures, one: Run) -> None:
    waits = told.all
    kept = "–" if kind == "fifo" else f"{'kept' if one.promise.kept else 'BROKEN'}"
    table.add_row(
        title,
        kind,
        str(told.done),
        str(told.refused),
        str(told.swaps),
        f"{told.loading:.0f} s",
        *_seconds(waits.mean, waits.p50, waits.p95, waits.p99, waits.worst),
        f"{told.fairness:.2f}",
        f"{told.makespan:.0f} s",
        kept,
    )


def _seconds(*values: float) -> list[str]:
    return [f"{value:.1f} s" for value in values]
