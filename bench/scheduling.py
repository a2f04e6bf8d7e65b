"""What does a decision cost? `python -m bench.scheduling` prints a table in Markdown.

Twenty models, a hundred who wait, one slot by groups and fifty sets by matrix. Microseconds of
processor time, the median over rounds. Source: scheduling §4.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

from llamaswap.config.schema import DEFAULT_GROUP, Group
from llamaswap.config.schema import Matrix as MatrixSettings
from llamaswap.planning.batch import Batch
from llamaswap.planning.bookkeeping import Bookkeeping
from llamaswap.planning.events import (
    Arrived,
    JobDone,
    ProcessState,
    Released,
    StartJob,
    StateChanged,
    Tick,
    TicketId,
)
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.groups import Groups
from llamaswap.planning.matrix import Matrix
from llamaswap.planning.planner import Planner
from llamaswap.planning.scheduler import ModelRules

MODELS = [f"m{n:02}" for n in range(20)]
ROUNDS = 15


def matrix() -> MatrixSettings:
    """Fifty sets of three models and one of four alternatives."""
    dice = random.Random(1)
    return MatrixSettings(
        sets={
            f"s{n}": " & ".join(dice.sample(MODELS, 3))
            + " & (" + " | ".join(dice.sample(MODELS, 4)) + ")"
            for n in range(50)
        }
    )  # fmt: skip


def scheduler(kind: type[Bookkeeping], planner: Planner) -> Bookkeeping:
    """One with twenty models, the first ready."""
    rules = {model: ModelRules(limit=200) for model in MODELS}
    made = (
        Fifo(rules=rules, planner=planner) if kind is Fifo else Batch(rules=rules, planner=planner)
    )
    made.handle(StateChanged(MODELS[0], ProcessState.READY), 0.0)
    return made


def ready_path(kind: type[Bookkeeping], planner: Planner) -> float:
    """A request for a ready model and its end, nobody waiting."""
    made = scheduler(kind, planner)
    start = time.thread_time()
    for number in range(2_000):
        made.handle(Arrived(TicketId(number), MODELS[0]), 1.0)
        made.handle(Released(TicketId(number)), 1.0)
    return (time.thread_time() - start) / 4_000 * 1e6


def crowded(kind: type[Bookkeeping], planner: Planner) -> tuple[float, float]:
    """With a hundred who wait: all decisions, and those alone that choose whom to load next."""
    made = scheduler(kind, planner)
    spent: list[float] = []
    choosing: list[float] = []
    now, ticket = 1.0, 0
    waiting: dict[str, list[TicketId]] = {}

    def tell(event: object) -> list[object]:
        start = time.thread_time()
        effects = made.handle(event, now)  # type: ignore[arg-type]
        took = (time.thread_time() - start) * 1e6
        spent.append(took)
        if any(isinstance(effect, StartJob) for effect in effects):
            choosing.append(took)
        return list(effects)

    def arrive(model: str) -> list[object]:
        nonlocal ticket
        ticket += 1
        waiting.setdefault(model, []).append(TicketId(ticket))
        return tell(Arrived(TicketId(ticket), model))

    arrive(MODELS[0])
    for number in range(100):
        arrive(MODELS[1 + number % 19])
    resident = MODELS[0]
    for _ in range(60):
        job = None
        for done in waiting.pop(resident, []):
            job = _job(tell(Released(done))) or job
        while job is None:
            now = max(now + 0.01, min(made.next_wakeup(), now + 100))
            job = _job(tell(Tick()))
        for victim in job.evict:
            tell(StateChanged(victim, ProcessState.STOPPING))
            tell(StateChanged(victim, ProcessState.STOPPED))
        tell(StateChanged(job.target, ProcessState.STARTING))
        tell(StateChanged(job.target, ProcessState.READY))
        tell(JobDone(job.job))
        gone, resident = resident, job.target
        for _ in range(5):
            arrive(gone)
    return statistics.mean(spent), statistics.median(choosing)


def _job(effects: list[object]) -> StartJob | None:
    return next((effect for effect in effects if isinstance(effect, StartJob)), None)


def plan() -> float:
    """A question to the matrix that it has not been asked before."""
    planner = Matrix(matrix())
    dice = random.Random(2)
    questions = [(dice.choice(MODELS), tuple(sorted(dice.sample(MODELS, 4)))) for _ in range(300)]
    start = time.thread_time()
    for target, running in questions:
        planner._answers.clear()  # noqa: SLF001  # each question is to be a new one
        planner.plans(target, running)
    return (time.thread_time() - start) / len(questions) * 1e6


def median(measure: Callable[[], float]) -> float:
    """The median of some rounds."""
    return statistics.median(measure() for _ in range(ROUNDS))


def main() -> None:
    """Measure and print."""
    one_slot: Planner = Groups({DEFAULT_GROUP: Group(members=tuple(MODELS))})
    print("| µs | fifo | batch |\n|---|---:|---:|")
    for title, measure in (
        ("an event of a ready model, nobody waits", ready_path),
        ("an event, 20 models, 100 wait", lambda k, p: crowded(k, p)[0]),
        ("of these, one that starts a swap", lambda k, p: crowded(k, p)[1]),
    ):
        cells = [
            median(lambda kind=kind, measure=measure: measure(kind, one_slot))  # type: ignore[misc]
            for kind in (Fifo, Batch)
        ]
        print(f"| {title} | {cells[0]:.1f} | {cells[1]:.1f} |")
    print(
        f"\nA matrix of 50 sets over 20 models, 4 running, not asked before: {median(plan):.0f} µs"
    )


if __name__ == "__main__":
    main()
