"""Scheduler `batch` with real processes: windows, queues, waits, and what is learned for good."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import trio
from attrs import define, evolve, field

from llamaswap.config.schema import Batch, Config, Model, Routing
from llamaswap.nursery.expectations import expectations
from llamaswap.nursery.slots import slots_in
from llamaswap.planning import batch
from llamaswap.telemetry.cost_file import cost_path, keep_costs, read_costs
from tests.integration.processes import fake_command, free_port, settled
from tests.integration.program import started, write
from tests.integration.test_helpers import FAKE_VLLM
from tests.integration.test_supervisor import Rig, configure, model, running


@define
class Waiter:
    """Remembers what it was told while it waited."""

    places: list[int] = field(factory=list)
    waits: list[float] = field(factory=list)
    granted: bool = False

    def admitted(self) -> None:
        pass

    def position(self, place: int, wait: float) -> None:
        self.places.append(place)
        self.waits.append(wait)

    async def use(self, rig: Rig, name: str) -> None:
        async with rig.supervisor.lease(name, self):
            self.granted = True


def by_batch(config: Config, **settings: float) -> Config:
    routing = evolve(
        config.routing,
        scheduler="batch",
        batch=Batch(**settings),  # type: ignore[arg-type]
    )
    assert isinstance(routing, Routing)
    return evolve(config, routing=routing)


async def test_the_server_says_how_many_requests_it_gets_at_once() -> None:
    config = by_batch(configure(model("a", "--slots", "1")))
    async with running(config) as rig:
        await rig.use("a")
        scheduler = rig.supervisor._scheduler
        assert isinstance(scheduler, batch.Batch)
        await settled(lambda: scheduler._slots == {"a": 1})
        second = Waiter()
        async with trio.open_nursery() as nursery:
            async with rig.supervisor.lease("a"):
                nursery.start_soon(second.use, rig, "a")
                await settled(lambda: second.places == [1])
                assert not second.granted
        assert second.granted


@pytest.mark.parametrize(
    ("words", "slots"),
    [("dev=3", 3), ("dev=3 --max-num-seqs 2", 2), ("", None)],
    ids=["it tells", "its flag is enough", "nothing is known"],
)
async def test_vllm_is_granted_what_it_works_on_at_once(
    words: str, slots: int | None, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "asked"
    program = f"{sys.executable} -I -S {FAKE_VLLM} {port} {log}"
    served = Model(id="v", cmd=f"{program} {words}", proxy=f"http://127.0.0.1:{port}")
    async with running(by_batch(configure(served))) as rig:
        await rig.use("v")
        scheduler = rig.supervisor._scheduler
        assert isinstance(scheduler, batch.Batch)
        if slots is not None:
            await settled(lambda: scheduler._slots == {"v": slots})
        else:
            await settled(lambda: "/server_info" in log.read_text())
            assert scheduler._slots == {}
        assert ("/server_info" in log.read_text()) == ("--max-num-seqs" not in words)


@pytest.mark.parametrize(
    ("command", "slots"),
    [
        ("vllm serve m --max-num-seqs 32 --port 1", 32),
        ("vllm serve m --max-num-seqs=32", 32),
        ("docker run x --max_num_seqs 4 --max-num-seqs 8", 8),
        ("python -m sglang.launch_server --max-running-requests 16", 16),
        ("vllm serve m --max-num-seqs", None),
        ("vllm serve m --max-num-seqs -1", None),
        ("vllm serve m --max-num-seqs 0", None),
        ("vllm serve m --max-num-seqs-x 3 max-num-seqs 4", None),
        ("", None),
    ],
)
def test_a_command_tells_by_its_flags(command: str, slots: int | None) -> None:
    assert slots_in(command) == slots


async def test_an_operators_limit_is_the_window_and_nobody_is_asked() -> None:
    config = by_batch(configure(model("a", "--slots", "7", concurrency_limit=1)))
    async with running(config) as rig:
        second = Waiter()
        async with trio.open_nursery() as nursery:
            async with rig.supervisor.lease("a"):
                nursery.start_soon(second.use, rig, "a")
                await settled(lambda: second.places == [1])
            await settled(lambda: second.granted)
        scheduler = rig.supervisor._scheduler
        assert isinstance(scheduler, batch.Batch)
        assert scheduler._slots == {}


async def test_who_waits_for_another_model_is_told_how_long_it_may_take() -> None:
    config = by_batch(configure(model("a"), model("b", "--ready-after", "0.3")))
    async with running(config) as rig:
        rig.supervisor.costs.note_load("b", 20.0)
        waiter = Waiter()
        async with trio.open_nursery() as nursery:
            async with rig.supervisor.lease("a"):
                nursery.start_soon(waiter.use, rig, "b")
                await settled(lambda: waiter.places == [1])
            await settled(lambda: waiter.granted)
        assert waiter.waits[0] >= 20.0


async def test_a_reload_changes_the_scheduler_and_whoever_waits_goes_on_waiting() -> None:
    config = configure(model("a"), model("b"))
    async with running(config) as rig:
        waiter = Waiter()
        async with trio.open_nursery() as nursery:
            async with rig.supervisor.lease("a"):
                nursery.start_soon(waiter.use, rig, "b")
                await settled(lambda: waiter.places == [1])
                await rig.supervisor.reconfigure(by_batch(config))
                assert isinstance(rig.supervisor._scheduler, batch.Batch)
                assert not waiter.granted
            await settled(lambda: waiter.granted)
        assert rig.starts() == ["a", "b"]


CONFIG = """
startPort: {port}
routing:
  scheduler:
    use: batch
    settings: {{batch: {{maxQueue: 1}}}}
store: {{path: {store}}}
models:
  a:
    cmd: {command} --port ${{PORT}}
    concurrencyLimit: 1
"""


@pytest.fixture
def config_path(tmp_path: Path) -> str:
    command = fake_command("--work", "0.5")
    text = CONFIG.format(store=tmp_path / "activity.db", command=command, port=free_port())
    return write(tmp_path / "config.yaml", text)


async def test_a_full_queue_says_when_to_come_back(config_path: str) -> None:
    async with started("-config", config_path) as program:
        statuses: list[int] = []
        retry: list[str] = []

        async def ask() -> None:
            answer = await program.chat("a")
            statuses.append(answer.status_code)
            retry.extend(answer.headers.get_list("retry-after"))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask)
        assert sorted(statuses).count(200) >= 1, program.log()
        assert 429 in statuses
        assert all(int(seconds) >= 1 for seconds in retry)
        assert len(retry) == statuses.count(429)


async def test_what_was_learned_is_known_after_a_restart(config_path: str, tmp_path: Path) -> None:
    async with started("-config", config_path) as program:
        assert (await program.chat("a")).status_code == 200
        assert await program.stop() == 0
    path = cost_path(str(tmp_path / "activity.db"))
    learned = json.loads(path.read_text())
    assert len(learned["a"]["load"]) == 1
    assert learned["a"]["service"][0] >= 0.5
    assert path.stat().st_mode & 0o777 == 0o600
    learned["a"]["load"] = [33.0]
    path.write_text(json.dumps(learned))
    async with started("-config", config_path) as program:
        assert (await program.chat("a")).status_code == 200
        [decision] = (await program.http.get("/api/decisions")).json()["decisions"]
        assert decision["estimate"] == 33.0


async def test_a_damaged_cost_file_is_forgotten_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "costs.json"
    assert await read_costs(path) == {}
    assert not caplog.records
    path.write_text('{"a": ')
    assert await read_costs(path) == {}
    assert "learned costs are forgotten" in caplog.text


async def test_a_cost_file_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.move_on_after(0.05):
        await keep_costs(lambda: tmp_path / "no" / "such" / "folder", lambda: {"a": 1})
    assert "learned costs are not kept" in caplog.text


async def test_the_size_of_the_weights_tells_something_of_the_load(tmp_path: Path) -> None:
    weights = tmp_path / "big.gguf"
    weights.touch()
    os.truncate(weights, 3_000_000_000)  # sparse
    config = Config(
        models={
            "sized": model("sized", "-m", str(weights)),
            "told": model("told", "-m", str(weights), metadata={"load_seconds": 9}),
            "unknown": model("unknown", "-m", str(tmp_path / "absent.gguf")),
        }
    )
    expected = await expectations(config)
    assert expected["sized"].load == pytest.approx(4.0)
    assert expected["told"].load == 9.0
    assert expected["unknown"].load == 10.0
