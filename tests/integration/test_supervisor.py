"""The run loop with real processes. Source: lifecycle §1, §2, §5.7."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, evolve, field

from llamaswap.config.schema import DEFAULT_GROUP, Config, Group, Model, Routing, Timeouts
from llamaswap.errors import (
    ModelUnknown,
    ModelUnloaded,
    ShuttingDown,
    TooManyRequests,
    UpstreamExited,
)
from llamaswap.nursery.guardian import Guardian
from llamaswap.nursery.process_group import owner_id
from llamaswap.nursery.supervisor import Supervisor
from llamaswap.planning.events import CancelJob, JobId, ProcessState
from llamaswap.telemetry.loghub import LogHub
from tests.integration.processes import descendants, fake_command, free_port, is_alive, settled

READY, STOPPED = ProcessState.READY, ProcessState.STOPPED


def model(name: str, *flags: str, **keys: Any) -> Model:
    port = free_port()
    keys.setdefault("proxy", f"http://127.0.0.1:{port}")
    return Model(id=name, cmd=fake_command("--name", name, *flags, port=port), **keys)


def configure(*models: Model, groups: dict[str, Group] | None = None, **keys: Any) -> Config:
    named = dict(groups or {})
    taken = {member for group in named.values() for member in group.members}
    rest = tuple(sorted(model.id for model in models if model.id not in taken))
    named[DEFAULT_GROUP] = Group(members=rest)
    return Config(
        models={model.id: model for model in models}, routing=Routing(groups=named), **keys
    )


@define
class Rig:
    supervisor: Supervisor
    changes: list[str] = field(factory=list)
    times: list[float] = field(factory=list)
    """When each change was told."""
    others: set[int] = field(factory=set)
    """Processes that were there before: servers that other tests share."""

    def processes(self) -> set[int]:
        """Everything started since then that still runs."""
        return {process.pid for process in descendants()} - self.others

    def when(self, change: str) -> float:
        """The time of the last such change."""
        return max(t for c, t in zip(self.changes, self.times, strict=True) if c == change)

    def state(self, name: str) -> ProcessState:
        return self.supervisor.states()[name]

    def pid(self, name: str) -> int:
        pid = self.supervisor._upstreams[name].pid
        assert pid is not None
        return pid

    def starts(self) -> list[str]:
        return [change.split()[0] for change in self.changes if change.endswith("> starting")]

    async def use(self, name: str) -> None:
        async with self.supervisor.lease(name) as lease:
            assert lease.model == name


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Rig]:
    changes: list[str] = []
    times: list[float] = []

    def changed(model: str, old: ProcessState, new: ProcessState) -> None:
        changes.append(f"{model} {old.value} > {new.value}")
        times.append(trio.current_time())

    supervisor = Supervisor(config, LogHub(), Guardian(owner_id()), changed)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        yield Rig(supervisor, changes, times, {process.pid for process in descendants()})
        await supervisor.shut_down(0)
        nursery.cancel_scope.cancel()


async def test_a_model_is_started_for_its_first_request_and_swapped_out_for_another() -> None:
    async with running(configure(model("a"), model("b"))) as rig:
        await rig.use("a")
        first = rig.pid("a")
        await rig.use("b")
        assert not is_alive(first)
        assert rig.state("a") is STOPPED
        assert rig.changes.index("a stopping > stopped") < rig.changes.index("b stopped > starting")


async def test_waiting_requests_are_collated_into_one_load_per_model() -> None:
    names = ["a", "b", "c"] * 2
    served: list[str] = []
    async with running(configure(*(model(name) for name in "abc"))) as rig:

        async def request(name: str) -> None:
            async with rig.supervisor.lease(name):
                served.append(name)
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(request, name)
                await trio.testing.wait_all_tasks_blocked()
        assert served == ["a", "a", "b", "b", "c", "c"]
        assert rig.starts() == ["a", "b", "c"]


async def test_models_that_may_run_together_start_side_by_side() -> None:
    groups = {"p": Group(members=("a", "b"), swap=False)}
    config = configure(
        model("a", "--ready-after", "0.5"), model("b", "--ready-after", "0.5"), groups=groups
    )
    async with running(config) as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.use, "a")
            nursery.start_soon(rig.use, "b")
        assert sorted(rig.changes[:2]) == ["a stopped > starting", "b stopped > starting"]
        assert rig.state("a") is rig.state("b") is READY


async def test_a_busy_model_is_not_evicted() -> None:
    async with running(configure(model("a"), model("b"))) as rig:
        async with trio.open_nursery() as nursery, rig.supervisor.lease("a"):
            nursery.start_soon(rig.use, "b")
            await trio.sleep(0.3)
            assert rig.state("a") is READY
            assert rig.state("b") is STOPPED
        assert rig.state("b") is READY


async def test_a_failed_start_reaches_every_waiter_and_the_next_request_tries_again() -> None:
    bad = model("a", "--exit-after", "0.2", "--exit-code", "3", "--health", "503")
    async with running(configure(bad)) as rig:
        failures: list[UpstreamExited] = []

        async def request() -> None:
            try:
                await rig.use("a")
            except UpstreamExited as exc:
                failures.append(exc)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(request)
        assert len(failures) == 3
        assert len({id(failure) for failure in failures}) == 3
        assert rig.starts() == ["a"]
        await request()
        assert rig.starts() == ["a", "a"]


async def test_unknown_models_and_full_ones_are_refused() -> None:
    async with running(configure(model("a", concurrency_limit=1))) as rig:
        with pytest.raises(ModelUnknown):
            await rig.use("nobody")
        async with rig.supervisor.lease("a"):
            with pytest.raises(TooManyRequests):
                await rig.use("a")
        await rig.use("a")


async def test_a_request_cancelled_in_the_queue_never_causes_a_start() -> None:
    async with running(configure(model("a"), model("b"))) as rig:
        async with rig.supervisor.lease("a"):
            with trio.move_on_after(0.1):
                await rig.use("b")
        await trio.sleep(0.2)
        assert rig.starts() == ["a"]
        assert rig.state("a") is READY


async def test_a_start_nobody_waits_for_any_more_still_completes() -> None:
    async with running(configure(model("a", "--ready-after", "0.4"))) as rig:
        with trio.move_on_after(0.1):
            await rig.use("a")
        await settled(lambda: rig.state("a") is READY)


async def test_a_job_that_has_ended_is_cancelled_without_harm() -> None:
    """Whoever unloads may be heard before the job's own report, which is queued behind."""
    async with running(configure(model("a"))) as rig:
        await rig.use("a")
        rig.supervisor._apply([CancelJob(JobId(1))])
        await rig.use("a")


async def test_a_crash_is_recovered_by_the_next_request() -> None:
    async with running(configure(model("a"))) as rig:
        await rig.use("a")
        os.kill(rig.pid("a"), signal.SIGKILL)
        await settled(lambda: rig.state("a") is STOPPED)
        await rig.use("a")
        assert rig.starts() == ["a", "a"]


async def test_an_idle_model_is_unloaded_after_its_ttl_and_not_before() -> None:
    async with running(configure(model("a", ttl=1))) as rig:
        await rig.use("a")
        used = trio.current_time()
        await settled(lambda: rig.state("a") is STOPPED)
        assert rig.when("a ready > stopping") - used > 1


async def test_traffic_keeps_a_model_beyond_its_ttl() -> None:
    async with running(configure(model("a", ttl=1))) as rig:
        await rig.use("a")
        last = began = trio.current_time()
        while trio.current_time() < began + 1.5:
            await rig.use("a")
            gap = trio.current_time() - last
            assert gap > 1 or rig.starts() == ["a"]  # a stalled machine proves nothing
            last += gap
            await trio.sleep(0.01)


async def test_the_ttl_of_a_model_nobody_used_runs_from_ready() -> None:
    async with running(configure(model("a", "--ready-after", "0.4", ttl=1))) as rig:
        with trio.move_on_after(0.1):
            await rig.use("a")
        await settled(lambda: rig.state("a") is STOPPED and rig.starts() == ["a"])
        assert rig.when("a ready > stopping") - rig.when("a starting > ready") > 1


async def test_a_request_in_flight_holds_the_ttl() -> None:
    async with running(configure(model("a", ttl=1))) as rig, rig.supervisor.lease("a"):
        await trio.sleep(1.5)
        assert rig.state("a") is READY


async def test_unload_stops_at_once_and_fails_those_who_wait() -> None:
    async with running(configure(model("a"), model("b", "--health", "503"))) as rig:
        await rig.use("a")
        pid = rig.pid("a")
        await rig.supervisor.unload(["a"])
        assert not is_alive(pid)
        async with trio.open_nursery() as nursery:

            async def request() -> None:
                with pytest.raises(ModelUnloaded):
                    await rig.use("b")

            nursery.start_soon(request)
            await settled(lambda: rig.state("b") is ProcessState.STARTING)
            await rig.supervisor.unload(["a", "b"])
        await settled(lambda: rig.state("b") is STOPPED)


async def test_unload_does_not_stop_the_process_that_replaced_the_one_asked_about() -> None:
    async with running(configure(model("a", "--term-delay", "0.3"))) as rig:
        await rig.use("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.supervisor.unload, ["a"])
            await settled(lambda: rig.state("a") is ProcessState.STOPPING)
            await rig.use("a")
        await trio.sleep(0.2)
        assert rig.state("a") is READY


async def test_shutdown_fails_those_who_wait_and_lets_the_rest_finish() -> None:
    async with running(configure(model("a"), model("b"))) as rig:
        async with trio.open_nursery() as nursery, rig.supervisor.lease("a"):

            async def request() -> None:
                with pytest.raises(ShuttingDown):
                    await rig.use("b")

            nursery.start_soon(request)
            await trio.testing.wait_all_tasks_blocked()
            rig.supervisor.begin_shutdown()
            await trio.sleep(0.1)
            assert rig.state("a") is READY
        with pytest.raises(ShuttingDown):
            await rig.use("a")
        await rig.supervisor.shut_down(5)
        assert not rig.processes()


async def test_stopping_many_takes_as_long_as_the_slowest() -> None:
    names = [f"m{number}" for number in range(4)]
    groups = {"p": Group(members=tuple(names), swap=False)}
    models = [model(name, "--ignore-term", unload_timeout=1) for name in names]
    async with running(configure(*models, groups=groups)) as rig:
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(rig.use, name)
        with trio.fail_after(3.5):
            await rig.supervisor.shut_down(30)


# --- reload ---------------------------------------------------------------------------------------


def changed(config: Config, name: str, **keys: Any) -> Config:
    models = dict(config.models)
    models[name] = evolve(models[name], **keys)
    return evolve(config, models=models)


async def test_a_reload_keeps_what_did_not_change() -> None:
    groups = {"p": Group(members=("a", "b"), swap=False)}
    config = configure(model("a"), model("b"), groups=groups)
    async with running(config) as rig:
        await rig.use("a")
        await rig.use("b")
        kept, old = rig.pid("a"), rig.pid("b")
        async with rig.supervisor.lease("a"):
            await rig.supervisor.reconfigure(changed(config, "b", env=("X=1",)))
            await settled(lambda: not is_alive(old))
            assert rig.pid("a") == kept
        await rig.use("b")
        assert rig.pid("b") != old
        assert rig.pid("a") == kept


async def test_a_changed_model_drains_before_its_successor_starts() -> None:
    config = configure(model("a"))
    async with running(config) as rig:
        async with trio.open_nursery() as nursery:
            async with rig.supervisor.lease("a"):
                old = rig.pid("a")
                await rig.supervisor.reconfigure(changed(config, "a", env=("X=1",)))
                nursery.start_soon(rig.use, "a")
                await trio.sleep(0.3)
                assert is_alive(old)  # its request goes on
                assert rig.state("a") is ProcessState.STOPPING
            await settled(lambda: not is_alive(old))
        assert rig.state("a") is READY


async def test_draining_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamaswap.nursery.supervisor.DRAIN_LIMIT", 0.2)
    config = configure(model("a"))
    async with running(config) as rig, rig.supervisor.lease("a"):
        old = rig.pid("a")
        await rig.supervisor.reconfigure(changed(config, "a", env=("X=1",)))
        await settled(lambda: not is_alive(old))  # although its request goes on
        await rig.use("a")


async def test_what_no_process_depends_on_reaches_a_running_model() -> None:
    config = configure(model("a"))
    async with running(config) as rig:
        await rig.use("a")
        pid = rig.pid("a")
        new = changed(config, "a", timeouts=Timeouts(response_header=7), unload_timeout=3)
        await rig.supervisor.reconfigure(new)
        async with rig.supervisor.lease("a") as lease:
            assert lease.timeouts.response_header == 7
        assert rig.pid("a") == pid


async def test_a_model_waits_for_whoever_leaves_its_address() -> None:
    """`b` takes the port of `a`, although both could run side by side."""
    groups = {"p": Group(members=("a", "b"), swap=False)}
    first = configure(model("a", "--term-delay", "0.3"), model("b"), groups=groups)
    a, b = first.models["a"], first.models["b"]
    swapped = evolve(
        first,
        models={"a": evolve(a, cmd=b.cmd, proxy=b.proxy), "b": evolve(b, cmd=a.cmd, proxy=a.proxy)},
    )
    async with running(first) as rig:
        async with trio.open_nursery() as nursery:
            async with rig.supervisor.lease("a"):
                old = rig.pid("a")
                await rig.supervisor.reconfigure(swapped)
                nursery.start_soon(rig.use, "b")
                await trio.sleep(0.3)
                assert is_alive(old)
                assert rig.starts() == ["a"]
        assert not is_alive(old)
        assert rig.state("b") is READY


async def test_a_removed_model_stops_and_is_unknown_and_may_come_back() -> None:
    config = configure(model("a"), model("b"))
    async with running(config) as rig:
        await rig.use("a")
        old = rig.pid("a")
        await rig.supervisor.reconfigure(configure(config.models["b"]))
        with pytest.raises(ModelUnknown):
            await rig.use("a")
        await rig.use("b")
        assert not is_alive(old)
        await rig.supervisor.reconfigure(config)
        await rig.use("a")


async def test_requests_that_wait_are_decided_again_under_the_new_configuration() -> None:
    first = configure(model("a"), model("b"))
    together = evolve(
        first, routing=Routing(groups={DEFAULT_GROUP: Group(members=("a", "b"), swap=False)})
    )
    async with running(first) as rig, rig.supervisor.lease("a"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.use, "b")
            await trio.sleep(0.2)
            assert rig.starts() == ["a"]
            await rig.supervisor.reconfigure(together)
        assert rig.starts() == ["a", "b"]


async def test_a_model_that_is_starting_while_it_changes_starts_anew_for_its_waiters() -> None:
    config = configure(model("a", "--health", "503"))
    fixed = model("a")
    async with running(config) as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.use, "a")
            await settled(lambda: rig.state("a") is ProcessState.STARTING)
            await rig.supervisor.reconfigure(changed(config, "a", cmd=fixed.cmd, proxy=fixed.proxy))
        assert rig.state("a") is READY


async def test_many_reloads_in_a_row_leave_one_process_and_no_trace() -> None:
    config = configure(model("a", "--term-delay", "0.1"))
    async with running(config) as rig:
        await rig.use("a")
        for number in range(50):
            config = changed(config, "a", env=(f"X={number}",))
            await rig.supervisor.reconfigure(config)
        await rig.use("a")
        assert len(rig.processes()) == 1
        await settled(lambda: not rig.supervisor._retired)


async def test_an_identical_reload_changes_nothing() -> None:
    config = configure(model("a"))
    async with running(config) as rig:
        await rig.use("a")
        before = (rig.pid("a"), list(rig.changes))
        await rig.supervisor.reconfigure(evolve(config))
        await rig.use("a")
        assert (rig.pid("a"), rig.changes) == before
