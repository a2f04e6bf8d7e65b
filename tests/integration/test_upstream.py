"""The life of one upstream process, with real processes. Source: lifecycle §1, §5.7."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field

from llamaswap.config.schema import Model
from llamaswap.errors import (
    LlamaswapError,
    ShuttingDown,
    StartAborted,
    UpstreamError,
    UpstreamExited,
    UpstreamNotReady,
    UpstreamNotSpawned,
)
from llamaswap.nursery import health
from llamaswap.nursery.guardian import Guardian
from llamaswap.nursery.process_group import owner_id
from llamaswap.nursery.upstream import TRANSITIONS, Upstream
from llamaswap.planning.events import ProcessState, StopReason
from tests.integration.processes import fake_command, free_port, is_alive, read_pids, settled

STARTING, READY = ProcessState.STARTING, ProcessState.READY
STOPPING, STOPPED = ProcessState.STOPPING, ProcessState.STOPPED
UNLOAD = StopReason.UNLOAD


@define
class RecordingLog:
    """Keeps what a real log would keep."""

    data: bytearray = field(factory=bytearray)
    calls: list[str] = field(factory=list)

    def write(self, data: bytes) -> None:
        self.data += data

    def started(self) -> None:
        self.calls.append("started")

    def stopped(self, *, requested: bool) -> None:
        self.calls.append("stopped on request" if requested else "stopped by itself")


@define
class Rig:
    """Makes upstreams and remembers their states."""

    nursery: trio.Nursery
    guardian: Guardian = field(factory=lambda: Guardian(owner_id()))
    log: RecordingLog = field(factory=RecordingLog)
    states: list[ProcessState] = field(factory=list)
    made: list[Upstream] = field(factory=list)

    def upstream(self, cmd: str, *, start_timeout: float = 10.0, **keys: Any) -> Upstream:
        upstream = Upstream(
            model=Model(id="m", cmd=cmd, **keys),
            start_timeout=start_timeout,
            mark_owner=self.guardian.owner,
            nursery=self.nursery,
            log=self.log,
            guardian=self.guardian,
            on_state=lambda _model, state: self.states.append(state),
            next_run=count(1).__next__,
        )
        self.made.append(upstream)
        return upstream

    def serving(self, *flags: str, start_timeout: float = 10.0, **keys: Any) -> Upstream:
        """An upstream of the misbehaving server on a free port."""
        port = free_port()
        keys.setdefault("proxy", f"http://127.0.0.1:{port}")
        return self.upstream(fake_command(*flags, port=port), start_timeout=start_timeout, **keys)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with trio.open_nursery() as nursery:
        rig = Rig(nursery)
        yield rig
        for upstream in rig.made:
            await upstream.shut_down(0)
        nursery.cancel_scope.cancel()


async def test_normal_life_passes_through_four_states(rig: Rig) -> None:
    upstream = rig.serving()
    await upstream.ensure_ready()
    pid = upstream.pid
    assert pid is not None
    assert is_alive(pid)
    await upstream.stop(5, UNLOAD)
    assert rig.states == [STARTING, READY, STOPPING, STOPPED]
    assert not is_alive(pid)
    assert rig.log.calls == ["started", "stopped on request"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_somebody_else_on_its_port_is_named_before_the_model_starts(
    rig: Rig, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    port = free_port()
    upstream = rig.upstream("true", proxy=f"http://{host}:{port}", check_endpoint="none")
    await upstream.ensure_ready()
    await settled(lambda: upstream.state is STOPPED)
    assert "is taken" not in caplog.text
    with socket.create_server(("127.0.0.1", port)):
        await upstream.ensure_ready()  # a warning: the command may free the port, or use it
        await settled(lambda: upstream.state is STOPPED)
    [record] = [r for r in caplog.records if "is taken" in r.getMessage()]
    assert record.levelname == "WARNING"
    assert f"<m> port {port} is taken" in record.getMessage()
    assert f"by process {os.getpid()} (" in record.getMessage()


async def test_ready_means_that_the_health_endpoint_said_200(rig: Rig) -> None:
    upstream = rig.serving("--ready-after", "0.7")
    began = trio.current_time()
    await upstream.ensure_ready()
    assert trio.current_time() - began >= 0.7


async def test_without_a_check_it_is_ready_at_spawn_even_if_the_command_then_fails(
    rig: Rig,
) -> None:
    upstream = rig.upstream("false", proxy="http://127.0.0.1:1", check_endpoint=" none ")
    await upstream.ensure_ready()
    await settled(lambda: rig.states == [STARTING, READY, STOPPED])
    assert rig.log.calls == ["started", "stopped by itself"]


async def test_a_command_that_exits_while_starting_fails_the_start_at_once(rig: Rig) -> None:
    upstream = rig.upstream(
        "sh -c 'echo out of memory >&2; exit 3'", proxy="http://127.0.0.1:1", start_timeout=60
    )
    with pytest.raises(UpstreamExited, match=r"exit status 3[\s\S]*out of memory"):
        await upstream.ensure_ready()
    assert rig.states == [STARTING, STOPPED]


async def test_a_failed_start_can_be_tried_again(rig: Rig, tmp_path: Path) -> None:
    flag = tmp_path / "second"
    port = free_port()
    upstream = rig.upstream(
        f"sh -c 'test -e {flag} || {{ touch {flag}; exit 1; }}; exec {fake_command(port=port)}'",
        proxy=f"http://127.0.0.1:{port}",
    )
    with pytest.raises(UpstreamExited):
        await upstream.ensure_ready()
    await upstream.ensure_ready()
    assert upstream.state is READY


async def test_a_server_that_never_gets_healthy_is_stopped(rig: Rig) -> None:
    upstream = rig.serving("--health", "503", start_timeout=0.6)
    with pytest.raises(UpstreamNotReady, match=r"timed out after 0\.6s.*503"):
        await upstream.ensure_ready()
    assert rig.states == [STARTING, STOPPING, STOPPED]
    assert upstream.pid is None


async def test_a_probe_that_hangs_does_not_outlive_the_deadline(rig: Rig) -> None:
    upstream = rig.serving("--health", "hang", start_timeout=0.6)
    with pytest.raises(UpstreamNotReady):
        await upstream.ensure_ready()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cmd": "true", "proxy": ""}, "upstream proxy missing"),
        ({"cmd": "# only\n # comments", "proxy": "http://h:1"}, "empty command"),
        ({"cmd": "no-such-program-at-all x", "proxy": "http://h:1"}, "no-such-program-at-all x"),
        ({"cmd": "./nowhere/at/all", "proxy": "http://h:1"}, "no such file"),
        ({"cmd": "true", "proxy": "ftp://h"}, "no http"),
    ],
)
async def test_what_cannot_be_spawned_says_why(
    rig: Rig, keys: dict[str, Any], message: str
) -> None:
    upstream = rig.upstream(**keys)
    with pytest.raises(UpstreamNotSpawned, match=message):
        await upstream.ensure_ready()
    assert rig.states == [STARTING, STOPPED]


async def test_the_program_is_found_in_our_own_path_only(rig: Rig, tmp_path: Path) -> None:
    program = tmp_path / "only-here"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    upstream = rig.upstream(
        "only-here", proxy="http://h:1", check_endpoint="none", env=(f"PATH={tmp_path}",)
    )
    with pytest.raises(UpstreamNotSpawned, match="only-here"):
        await upstream.ensure_ready()


async def test_env_is_added_to_ours_and_the_last_entry_wins(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_INHERITED", "kept")
    upstream = rig.upstream(
        "sh -c 'echo $FAKE_INHERITED $FAKE_NEW $FAKE_EMPTY.; sleep 60'",
        proxy="http://h:1",
        check_endpoint="none",
        env=("FAKE_NEW=a", "FAKE_NEW=b=c", "FAKE_EMPTY=", "nonsense"),
    )
    await upstream.ensure_ready()
    await settled(lambda: rig.log.data == b"kept b=c .\n")


async def test_stdout_and_stderr_arrive_in_order_in_one_log(rig: Rig) -> None:
    upstream = rig.upstream(
        "sh -c 'for i in 1 2 3; do echo out$i; echo err$i >&2; done; sleep 60'",
        proxy="http://h:1",
        check_endpoint="none",
    )
    await upstream.ensure_ready()
    await settled(lambda: rig.log.data == b"out1\nerr1\nout2\nerr2\nout3\nerr3\n")


async def test_starters_join_one_start_and_share_its_outcome(rig: Rig) -> None:
    upstream = rig.serving("--health", "503", start_timeout=0.6)
    failures: list[LlamaswapError] = []

    async def starter() -> None:
        try:
            await upstream.ensure_ready()
        except UpstreamNotReady as exc:
            failures.append(exc)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(starter)
    assert len(failures) == 3
    assert rig.states.count(STARTING) == 1


async def test_a_cancelled_starter_leaves_the_start_alone(rig: Rig) -> None:
    upstream = rig.serving("--ready-after", "0.4")
    with trio.move_on_after(0.1) as scope:
        await upstream.ensure_ready()
    assert scope.cancelled_caught
    await settled(lambda: upstream.state is READY)


async def test_ensure_ready_on_ready_returns_and_after_shutdown_raises(rig: Rig) -> None:
    upstream = rig.serving()
    for _ in range(3):
        await upstream.ensure_ready()
    await upstream.shut_down(5)
    assert upstream.state is ProcessState.SHUTDOWN
    with pytest.raises(ShuttingDown):
        await upstream.ensure_ready()
    await upstream.stop(1, UNLOAD)


async def test_a_crash_while_ready_is_noticed_and_the_next_wish_starts_again(rig: Rig) -> None:
    upstream = rig.serving()
    await upstream.ensure_ready()
    first = upstream.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await settled(lambda: upstream.state is STOPPED)
    await upstream.ensure_ready()
    assert upstream.pid != first
    assert rig.states == [STARTING, READY, STOPPED, STARTING, READY]


async def test_stop_while_starting_aborts_with_the_callers_grace(rig: Rig) -> None:
    upstream = rig.serving("--health", "503", "--ignore-term", "--say", "up")
    errors: list[Exception] = []

    async def starter() -> None:
        try:
            await upstream.ensure_ready()
        except StartAborted as exc:
            errors.append(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(starter)
        await settled(lambda: rig.log.data == b"up\n")
        began = trio.current_time()
        await upstream.stop(0.5, UNLOAD)
        assert trio.current_time() - began >= 0.4
    assert len(errors) == 1
    assert rig.states == [STARTING, STOPPING, STOPPED]


async def test_stop_in_the_same_instant_as_readiness_is_a_stop(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = rig.serving()

    async def answered_and_stopped(*_: object, **__: object) -> None:
        # what the task finds that waits for the probe: its answer is there, and so is the stop
        upstream.request_stop(1, UNLOAD)

    monkeypatch.setattr(health, "wait_ready", answered_and_stopped)
    with pytest.raises(StartAborted):
        await upstream.ensure_ready()
    assert rig.states == [STARTING, STOPPING, STOPPED]
    monkeypatch.undo()
    await upstream.ensure_ready()
    assert upstream.state is READY


async def test_a_defect_of_ours_costs_one_process_and_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = rig.serving()

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("not thought of")

    monkeypatch.setattr(health, "wait_ready", broken)
    with pytest.raises(UpstreamError, match="defect in llamaswap"):
        await upstream.ensure_ready()
    assert rig.states == [STARTING, STOPPING, STOPPED]
    assert upstream.pid is None
    assert "because of a defect in llamaswap" in caplog.text
    monkeypatch.undo()
    await upstream.ensure_ready()


async def test_stop_in_the_same_instant_as_the_start_spawns_nothing(
    rig: Rig, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    upstream = rig.upstream(f"touch {touched}", proxy="http://h:1")

    def stop_at_once(_model: str, state: ProcessState) -> None:
        rig.states.append(state)
        if state is STARTING:
            upstream.request_stop(1, UNLOAD)

    upstream.on_state = stop_at_once
    with pytest.raises(StartAborted):
        await upstream.ensure_ready()
    assert rig.states == [STARTING, STOPPING, STOPPED]
    assert not touched.exists()


async def test_start_while_stopping_waits_and_starts_a_fresh_process(rig: Rig) -> None:
    upstream = rig.serving("--term-delay", "0.5")
    await upstream.ensure_ready()
    first = upstream.pid
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream.stop, 5, UNLOAD)
        await settled(lambda: upstream.state is STOPPING)
        await upstream.ensure_ready()
    assert upstream.pid != first
    assert rig.states == [STARTING, READY, STOPPING, STOPPED, STARTING, READY]


async def test_one_that_ignores_sigterm_is_killed_when_its_grace_is_over(
    rig: Rig, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    upstream = rig.serving("--ignore-term", "--mark", str(mark))
    await upstream.ensure_ready()
    began = trio.current_time()
    await upstream.stop(0.6, UNLOAD)
    assert trio.current_time() - began >= 0.6
    assert mark.read_text() == "term\n"


async def test_a_signal_that_is_not_permitted_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As for a server that `sudo` runs; here only SIGTERM is refused."""

    def refuse(leader: int, number: signal.Signals) -> None:
        if number is signal.SIGTERM:
            raise PermissionError
        killpg(leader, number)

    killpg = os.killpg
    monkeypatch.setattr(os, "killpg", refuse)
    upstream = rig.serving()
    await upstream.ensure_ready()
    child = upstream.pid
    await upstream.stop(0.2, UNLOAD)
    assert child is not None
    assert not is_alive(child)
    [record] = [r for r in caplog.records if "not permitted" in r.getMessage()]
    assert record.levelname == "WARNING"
    assert f"SIGTERM to process group {child} " in record.getMessage()


async def test_the_grace_is_honoured(rig: Rig, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    upstream = rig.serving("--term-delay", "0.6", "--mark", str(mark))
    await upstream.ensure_ready()
    child = upstream.pid
    await upstream.stop(30, UNLOAD)
    assert mark.read_text() == "term\n"
    assert child is not None
    assert not is_alive(child)


async def test_grace_zero_kills_at_once(rig: Rig) -> None:
    upstream = rig.serving("--ignore-term")
    await upstream.ensure_ready()
    with trio.fail_after(3):
        await upstream.stop(0, UNLOAD)


async def test_the_earliest_deadline_of_all_stoppers_rules(rig: Rig) -> None:
    upstream = rig.serving("--ignore-term")
    await upstream.ensure_ready()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upstream.stop, 60, UNLOAD)
            await settled(lambda: upstream.state is STOPPING)
            await upstream.stop(0.1, UNLOAD)


async def test_stop_of_a_stopped_one_is_a_silent_success(rig: Rig) -> None:
    upstream = rig.serving()
    await upstream.stop(1, UNLOAD)
    assert rig.states == []


@pytest.mark.parametrize("kind", ["plain", "ignore-term", "setsid"])
async def test_descendants_are_gone_when_stopped_is_published(
    rig: Rig, tmp_path: Path, kind: str
) -> None:
    pids = tmp_path / "pids"
    upstream = rig.serving("--child", kind, "--pids", str(pids))
    await upstream.ensure_ready()
    leader, descendant = await read_pids(pids)
    await upstream.stop(5, UNLOAD)
    assert not is_alive(leader)
    assert not is_alive(descendant)


async def test_what_a_crashed_wrapper_leaves_behind_is_killed(rig: Rig, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    upstream = rig.serving(
        "--child", "ignore-term", "--pids", str(pids), "--exit-after", "0.8", "--exit-code", "4"
    )
    await upstream.ensure_ready()
    _, descendant = await read_pids(pids)
    await settled(lambda: upstream.state is STOPPED)
    assert not is_alive(descendant)
    assert rig.states == [STARTING, READY, STOPPING, STOPPED]


async def test_cmd_stop_gets_the_leaders_pid_and_the_models_environment(
    rig: Rig, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    upstream = rig.serving(
        cmd_stop=f"sh -c 'echo $0 $FAKE_STOP > {out}; echo said; kill -9 $0' ${{PID}}",
        env=("FAKE_STOP=yes",),
    )
    await upstream.ensure_ready()
    pid = upstream.pid
    await upstream.stop(10, UNLOAD)
    assert out.read_text() == f"{pid} yes\n"
    assert rig.log.data == b"said\n"


@pytest.mark.parametrize("cmd_stop", ["false", "no-such-program-at-all"])
async def test_a_failing_cmd_stop_falls_back_to_sigterm_at_once(
    rig: Rig, tmp_path: Path, cmd_stop: str
) -> None:
    mark = tmp_path / "mark"
    upstream = rig.serving("--mark", str(mark), cmd_stop=cmd_stop)
    await upstream.ensure_ready()
    with trio.fail_after(20):
        await upstream.stop(600, UNLOAD)
    assert mark.read_text() == "term\n"


async def test_a_cmd_stop_that_hangs_is_killed_with_the_grace(rig: Rig, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    upstream = rig.serving(cmd_stop=f"sh -c 'echo $$ > {pid_file}; exec sleep 600'")
    await upstream.ensure_ready()
    with trio.fail_after(20):
        await upstream.stop(0.8, UNLOAD)
    assert not is_alive(int(pid_file.read_text()))


async def test_a_successful_cmd_stop_may_leave_processes_running(rig: Rig, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    upstream = rig.serving(
        "--child", "setsid", "--pids", str(pids), cmd_stop="sh -c 'kill -9 $0' ${PID}"
    )
    await upstream.ensure_ready()
    leader, descendant = await read_pids(pids)
    try:
        await upstream.stop(10, UNLOAD)
        assert not is_alive(leader)
        assert is_alive(descendant)
    finally:
        os.kill(descendant, signal.SIGKILL)


async def test_a_flood_of_output_never_blocks_the_child(rig: Rig) -> None:
    upstream = rig.serving("--flood", "30")
    await upstream.ensure_ready()  # it serves only after it has printed everything
    assert len(rig.log.data) == 30 * 1_048_576


async def test_concurrent_starts_and_stops_converge(rig: Rig) -> None:
    upstream = rig.serving()

    async def start() -> None:
        try:
            await upstream.ensure_ready()
        except StartAborted:
            pass

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for turn in range(12):
                nursery.start_soon(start)
                await trio.sleep(0.03 * (turn % 4))
                nursery.start_soon(upstream.stop, 1, UNLOAD)
    await upstream.stop(1, UNLOAD)
    assert upstream.state is STOPPED
    assert upstream.pid is None


async def test_shutdown_while_a_probe_hangs_is_prompt(rig: Rig) -> None:
    upstream = rig.serving("--health", "hang", start_timeout=600)
    async with trio.open_nursery() as nursery:

        async def starter() -> None:
            with pytest.raises(StartAborted):
                await upstream.ensure_ready()

        nursery.start_soon(starter)
        await settled(lambda: upstream.pid is not None)
        with trio.fail_after(15):
            await upstream.shut_down(5)
    assert upstream.state is ProcessState.SHUTDOWN


async def test_cancelling_the_nursery_leaves_no_process(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with trio.open_nursery() as nursery:
        rig = Rig(nursery)
        upstream = rig.serving("--child", "ignore-term", "--pids", str(pids), "--ignore-term")
        await upstream.ensure_ready()
        started = await read_pids(pids)
        nursery.cancel_scope.cancel()
    assert not any(is_alive(pid) for pid in started)


def test_the_table_of_transitions_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(ProcessState)
    assert TRANSITIONS[ProcessState.SHUTDOWN] == frozenset()


def test_a_mark_survives_being_written_and_read() -> None:
    from llamaswap.nursery.process_group import Mark, owner_is_alive

    mark = Mark(owner_id(), 7, keep=True)
    assert Mark.parse(str(mark)) == mark
    assert Mark.parse("nonsense") is None
    assert owner_is_alive(mark.owner)
    assert not owner_is_alive(f"{os.getpid()}-1")
    assert sys.executable
