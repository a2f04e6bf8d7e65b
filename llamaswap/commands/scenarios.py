"""The built-in scenarios of `simulate`: what home servers go through, made from a seed.

Seconds throughout. Source: scheduling §3.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping

from attrs import frozen

from llamaswap.config.schema import DEFAULT_GROUP, Group, Matrix
from llamaswap.planning.batch import Batch
from llamaswap.planning.bookkeeping import Bookkeeping
from llamaswap.planning.costs import Costs, Expected
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.groups import Groups
from llamaswap.planning.matrix import Matrix as MatrixPlanner
from llamaswap.planning.planner import Planner
from llamaswap.planning.scheduler import ModelRules
from llamaswap.planning.simulator import Call, Machine

TUNING_SEEDS = (1, 2, 3, 4, 5)
"""On which the scheduler's constants were chosen."""
REPORT_SEEDS = (6, 7, 8, 9, 10)
"""Held back: on which results are reported."""

HOUR = 3600.0
DAYLIGHT = 20_000.0


@frozen(kw_only=True)
class Setting:
    """One scenario with its seed filled in."""

    machines: Mapping[str, Machine]
    calls: list[Call]
    planner: Planner
    until: float = math.inf
    """When no requests come any more."""
    fifo_limit: int = 10
    """`concurrencyLimit` under fifo, which refuses what batch lets wait."""


def expected_costs(machines: Mapping[str, Machine]) -> Costs:
    """What an operator would have written into the models' metadata."""
    return Costs(
        {
            model: Expected(load=machine.load, unload=machine.unload)
            for model, machine in machines.items()
        }
    )


def scheduler_of(kind: str, setting: Setting) -> Bookkeeping:
    """The shipped scheduler `fifo` or `batch` for a scenario, with its defaults."""
    rules = {
        model: ModelRules(limit=setting.fifo_limit if kind == "fifo" else 10)
        for model in setting.machines
    }
    costs = expected_costs(setting.machines)
    if kind == "fifo":
        return Fifo(rules=rules, planner=setting.planner, costs=costs)
    return Batch(rules=rules, planner=setting.planner, costs=costs)


def _one_at_a_time(*models: str) -> Groups:
    return Groups({DEFAULT_GROUP: Group(members=models)})


def _session(
    client: str, model: str, start: float, steps: Iterator[tuple[float, float]]
) -> Iterator[Call]:
    """A closed loop: each request `think` after the answer to the one before."""
    before: str | None = None
    for number, (think, service) in enumerate(steps):
        name = f"{client}-{number}"
        if before is None:
            yield Call(id=name, model=model, client=client, service=service, at=start)
        else:
            yield Call(
                id=name, model=model, client=client, service=service, after=before, think=think
            )
        before = name


def _agent(dice: random.Random, requests: int) -> Iterator[tuple[float, float]]:
    """Half a second between an answer and the next request; a longer pause every task or so."""
    for _ in range(requests):
        think = dice.uniform(0.2, 0.8) if dice.random() > 0.01 else dice.uniform(20, 90)
        yield think, dice.uniform(1.0, 4.0)


def _chat(
    dice: random.Random, requests: int, pause: float, service: tuple[float, float] = (4.0, 10.0)
) -> Iterator[tuple[float, float]]:
    """A person who reads and types."""
    for _ in range(requests):
        yield 2.0 + dice.expovariate(1.0 / pause), dice.uniform(*service)


def _arrivals(
    dice: random.Random, rate: float, until: float, start: float = 0.0
) -> Iterator[float]:
    """An open stream of requests."""
    time = start + dice.expovariate(rate)
    while time < until:
        yield time
        time += dice.expovariate(rate)


def _two_agents(dice: random.Random) -> Setting:
    calls = [
        *_session("agent-a", "coder", 0.0, _agent(dice, 6_000)),
        *_session("agent-b", "writer", 1.0, _agent(dice, 6_000)),
    ]
    machines = {"coder": Machine(load=10), "writer": Machine(load=10)}
    planner = _one_at_a_time(*machines)
    return Setting(machines=machines, calls=calls, planner=planner, until=DAYLIGHT)


def _two_agents_and_a_chat(dice: random.Random) -> Setting:
    calls = [
        *_session("agent-a", "coder", 0.0, _agent(dice, 6_000)),
        *_session("agent-b", "writer", 1.0, _agent(dice, 6_000)),
        *_session("person", "chat", 5.0, _chat(dice, 300, 90)),
    ]
    machines = {"coder": Machine(load=10), "writer": Machine(load=10), "chat": Machine(load=8)}
    planner = _one_at_a_time(*machines)
    return Setting(machines=machines, calls=calls, planner=planner, until=DAYLIGHT)


def _three_chats(dice: random.Random) -> Setting:
    machines = {"small": Machine(load=6), "middle": Machine(load=12), "large": Machine(load=20)}
    calls = [
        call
        for number, model in enumerate(machines)
        for call in _session(f"person-{model}", model, 3.0 * number, _chat(dice, 150, 60))
    ]
    return Setting(machines=machines, calls=calls, planner=_one_at_a_time(*machines))


def _images_and_a_chat(dice: random.Random) -> Setting:
    """Twenty images of 40 s at a time, four submitted at once; beside them somebody chats."""
    machines = {"images": Machine(load=10), "chat": Machine(load=10)}
    calls: list[Call] = []
    for batch in range(6):
        for lane in range(4):
            steps = ((0.1, dice.uniform(35.0, 45.0)) for _ in range(5))
            start = 1_500.0 * batch + dice.uniform(0, 5)
            calls += _session(f"images-{batch}-{lane}", "images", start, steps)
    calls += _session("person", "chat", 20.0, _chat(dice, 80, 60))
    return Setting(machines=machines, calls=calls, planner=_one_at_a_time(*machines))


def _batch_job_and_a_chat(dice: random.Random) -> Setting:
    """A thousand documents, eight at a time on four slots; a household chats with another model.

    The chat is an open stream: people who do not wait for each other. Were it one person who waits
    for each answer, fifo would keep that one waiting for half an hour and count it as one wait.
    """
    machines = {"summary": Machine(load=15, slots=4), "chat": Machine(load=10)}
    calls: list[Call] = []
    for lane in range(8):
        steps = ((0.05, dice.uniform(4.0, 12.0)) for _ in range(125))
        calls += _session(f"job-{lane}", "summary", 0.2 * lane, steps)
    calls += [
        Call(id=f"chat-{n}", model="chat", client="chat", service=dice.uniform(4, 10), at=at)
        for n, at in enumerate(_arrivals(dice, 1 / 90, 3_000, 20))
    ]
    planner = _one_at_a_time(*machines)
    return Setting(machines=machines, calls=calls, planner=planner, fifo_limit=100)


def _hammered_and_rare(dice: random.Random) -> Setting:
    """Eight busy clients on one model; now and then somebody needs another."""
    machines = {"popular": Machine(load=10, slots=8), "rare": Machine(load=10)}
    calls: list[Call] = []
    for lane in range(8):
        steps = ((dice.uniform(0.0, 2.0), dice.uniform(1.5, 4.5)) for _ in range(700))
        calls += _session(f"client-{lane}", "popular", 0.3 * lane, steps)
    calls += [
        Call(id=f"rare-{n}", model="rare", client="rare", service=dice.uniform(2, 6), at=at)
        for n, at in enumerate(_arrivals(dice, 1 / 300, 2_400))
    ]
    return Setting(machines=machines, calls=calls, planner=_one_at_a_time(*machines))


SIZES = {"m4": 4, "m6": 6, "m8": 8, "m10": 10, "m12": 12, "m14": 14, "m18": 18, "m22": 22,
         "m28": 28, "m36": 36}  # fmt: skip


def _ten_models_48_gb(dice: random.Random) -> Setting:
    """Whatever fits into 48 GB may run together; few models are wanted often, the rest rarely."""
    machines = {
        model: Machine(load=2.0 + size / 1.5, unload=1.0, slots=2) for model, size in SIZES.items()
    }
    models = list(SIZES)
    dice.shuffle(models)
    weights = [1 / (rank + 1) for rank in range(len(models))]
    calls = [
        Call(
            id=f"r{n}",
            model=dice.choices(models, weights)[0],
            client=f"c{n % 5}",
            service=dice.uniform(2, 8),
            at=at,
        )
        for n, at in enumerate(_arrivals(dice, 1 / 25, 6 * HOUR))
    ]
    planner = MatrixPlanner(Matrix(sets={"fits": fitting_sets(SIZES, 48)}))
    return Setting(machines=machines, calls=calls, planner=planner)


def fitting_sets(sizes: Mapping[str, int], room: int) -> str:
    """An expression for all sets of models that fit into `room`, the largest sets only."""
    fitting = [
        frozenset(chosen)
        for count in range(1, len(sizes) + 1)
        for chosen in itertools.combinations(sizes, count)
        if sum(sizes[model] for model in chosen) <= room
    ]
    largest = [one for one in fitting if not any(one < other for other in fitting)]
    return " | ".join("(" + " & ".join(sorted(one)) + ")" for one in largest)


def _near_saturation(dice: random.Random) -> Setting:
    """Three models on one GPU, asked for at nine tenths of what it could do without swaps."""
    machines = {
        "one": Machine(load=8, slots=4),
        "two": Machine(load=12, slots=4),
        "three": Machine(load=16, slots=4),
    }
    calls: list[Call] = []
    for (model, machine), share in zip(machines.items(), (0.5, 0.3, 0.2), strict=True):
        rate = 0.6 * share * machine.slots / 6.0
        calls += [
            Call(id=f"{model}-{n}", model=model, client=model, service=dice.uniform(3, 9), at=at)
            for n, at in enumerate(_arrivals(dice, rate, 1.5 * HOUR))
        ]
    planner = _one_at_a_time(*machines)
    return Setting(machines=machines, calls=calls, planner=planner, fifo_limit=100)


def _single_model(dice: random.Random) -> Setting:
    machines = {"only": Machine(load=10, slots=4)}
    calls = [
        Call(id=f"r{n}", model="only", client=f"c{n % 3}", service=dice.uniform(2, 8), at=at)
        for n, at in enumerate(_arrivals(dice, 0.4, HOUR))
    ]
    return Setting(machines=machines, calls=calls, planner=_one_at_a_time(*machines))


def _cancelled_bursts(dice: random.Random) -> Setting:
    """An editor asks at every key and takes nine of ten requests back."""
    machines = {"a": Machine(load=6), "b": Machine(load=6), "c": Machine(load=6)}
    calls: list[Call] = []
    for burst, at in enumerate(_arrivals(dice, 1 / 40, 2 * HOUR)):
        for n in range(9):
            gone = dice.expovariate(1 / 4.0) + 0.2 if dice.random() < 0.9 else None
            calls.append(
                Call(
                    id=f"burst-{burst}-{n}",
                    model=dice.choice("abc"),
                    client=f"c{n}",
                    service=dice.uniform(1, 4),
                    at=at + dice.uniform(0, 3),
                    cancel=gone,
                )
            )
    return Setting(machines=machines, calls=calls, planner=_one_at_a_time(*machines))


SCENARIOS: dict[str, tuple[str, Callable[[random.Random], Setting]]] = {
    "two-agents": ("Two agents, two models, one GPU", _two_agents),
    "two-agents-and-a-chat": ("Two agents and somebody who chats", _two_agents_and_a_chat),
    "three-chats": ("Three people, three models", _three_chats),
    "images-and-a-chat": ("Batches of images, and a chat", _images_and_a_chat),
    "batch-job-and-a-chat": ("A thousand documents, and a chat", _batch_job_and_a_chat),
    "hammered-and-rare": ("One model hammered, one rare", _hammered_and_rare),
    "ten-models-48-gb": ("Ten models on 48 GB, by matrix", _ten_models_48_gb),
    "near-saturation": ("Three models near saturation", _near_saturation),
    "single-model": ("One model: no swap may ever happen", _single_model),
    "cancelled-bursts": ("Bursts of which 90 % are cancelled", _cancelled_bursts),
}
"""Name: what it is, and how it is made."""


def setting(name: str, seed: int) -> Setting:
    """The scenario `name` made from `seed`; the same seed gives the same scenario."""
    _summary, make = SCENARIOS[name]
    return make(random.Random(f"{name} {seed}"))  # noqa: S311  # nothing secret
