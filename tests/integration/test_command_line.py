"""The command line as scripts use it: what it accepts, what it refuses. Source: config §1.1–1.3."""

from __future__ import annotations

import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.integration.processes import fake_command, is_alive, settled
from tests.integration.program import command, started, write
from tests.integration.reload_stage import models, stage


def run(*flags: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*flags), capture_output=True, text=True, timeout=60, cwd=cwd, check=False
    )


def preloading(mark: Path) -> str:
    """A model that leaves a mark when it is started, and a hook that wants it at once."""
    return f"""
models:
  m: {{cmd: "{fake_command("--pids", str(mark))} --port ${{PORT}}"}}
hooks: {{on_startup: {{preload: [m]}}}}
"""


@pytest.mark.parametrize(
    "flags", [["-nope"], ["-config"], ["-watch-config=maybe"], ["-conf", "c.yaml"]]
)
def test_a_command_line_that_makes_no_sense_exits_2_with_usage_on_stderr(flags: list[str]) -> None:
    """cli-03"""
    done = run(*flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert flags[0].partition("=")[0] in done.stderr
    assert "-config-dir" in done.stderr


async def test_the_last_of_repeated_flags_wins(tmp_path: Path) -> None:
    """cli-05"""
    write(tmp_path / "a.yaml", "models: [not, read]")
    path = write(tmp_path / "b.yaml", models("from-b"))
    async with started("-config", str(tmp_path / "a.yaml"), f"-config={path}") as program:
        listed = (await program.http.get("/v1/models")).json()["data"]
        assert [entry["id"] for entry in listed] == ["from-b"]


async def test_flags_end_at_the_first_word_that_is_none(tmp_path: Path) -> None:
    """cli-06, cli-07: what follows is ignored, so the default address is used.

    Somebody may be using that address on the machine the tests run on; then it says so.
    """
    path = write(tmp_path / "c.yaml", models("m"))
    for flags in (
        ["-watch-config", "false", "-listen", "127.0.0.1:0", "-config", path],
        ["-config", path, "extra", "-listen", "127.0.0.1:1"],
    ):
        process = subprocess.Popen(
            command(*flags), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        with process.stdout:
            said = ""
            while ":8080" not in said and (line := process.stdout.readline()):
                said += line
            process.terminate()
            process.stdout.read()
        process.wait(timeout=40)
        assert ":8080" in said


def test_tls_flags_are_checked_before_the_configuration_is_read(tmp_path: Path) -> None:
    """cli-08"""
    done = run("-config", str(tmp_path / "missing.yaml"), "-tls-cert-file", "x.pem")
    assert done.returncode == 1
    assert "-tls-cert-file" in done.stderr
    assert "-tls-key-file" in done.stderr
    assert "missing.yaml" not in done.stderr


def test_what_cannot_listen_starts_no_model(tmp_path: Path) -> None:
    """cli-09"""
    mark = tmp_path / "started"
    path = write(tmp_path / "c.yaml", preloading(mark))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        in_use = f"127.0.0.1:{taken.getsockname()[1]}"
        for flags, words in (
            (["-tls-cert-file", "no.pem", "-tls-key-file", "no.key"], "no.pem"),
            (["-listen", "8080"], "host:port"),
            (["-listen", in_use], "in use"),
        ):
            done = run("-config", path, *flags, cwd=tmp_path)
            assert done.returncode == 1
            assert words in done.stderr
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: {m: [", ["c.yaml:2", "YAML"]),
        (models("m") + "\nrouting: {router: {use: matrix}}", ["c.yaml", "routing.router"]),
        (
            "models: {m: {cmd: 'x ${PORT}'}}\ngroups: {g: {members: [zzz]}}",
            ["c.yaml", "zzz", "groups.g"],
        ),
        ("store: {path: /nonexistent/d/s.db}", ["c.yaml:1", "store.path", "/nonexistent/d"]),
        (
            "models: {m: {cdm: x, ttl: soon}}\nglobalTTL: -1\n",
            ["it has no cmd", "models.m.ttl", "c.yaml:2", "warning: ", "did you mean 'cmd'?"],
        ),
    ],
    ids=["broken YAML", "contradiction", "unknown member", "unwritable store", "several"],
)
def test_a_configuration_that_cannot_be_used_exits_1_and_says_why(
    text: str, words: list[str], tmp_path: Path
) -> None:
    """cli-10"""
    done = run("-config", write(tmp_path / "c.yaml", text))
    assert done.returncode == 1
    assert all(word in done.stderr for word in words), done.stderr


async def test_a_model_that_ignores_every_signal_is_killed_within_the_budget(
    tmp_path: Path,
) -> None:
    """cli-12, first half"""
    text = (
        f"unloadTimeout: 1\nmodels: {{m: {{cmd: '{fake_command('--ignore-term')} --port ${{PORT}}',"
        " checkEndpoint: none}}\nstartPort: 11970\n"
    )
    async with stage(tmp_path, text) as it:
        await it.program.http.get("/upstream/m/health")
        [pid] = it.program.model_pids()
        assert await it.program.stop(signal.SIGINT) == 0
        assert not is_alive(pid)


async def test_it_says_where_it_listens_and_who_can_reach_that(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", models("m"))

    async def one(listen: str, url: str, *, open_to_all: bool) -> None:
        async with started("-config", path, listen=listen) as program:
            assert program.url.startswith(url), listen
            warned = "every host on the network can reach this address" in program.log()
            assert warned == open_to_all, listen
            assert not open_to_all or "-listen localhost:" in program.log(), listen

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(one, "[::1]:0", "http://[::1]:", open_to_all=False))
        nursery.start_soon(partial(one, "localhost:0", "http://127.0.0.1:", open_to_all=False))
        nursery.start_soon(partial(one, "0.0.0.0:0", "http://0.0.0.0:", open_to_all=True))
        nursery.start_soon(partial(one, ":0", "http://", open_to_all=True))


async def test_what_is_doubtful_is_logged_once_at_the_start(tmp_path: Path) -> None:
    async with stage(tmp_path, models("m", tail="globalTLL: 3")) as it:
        [line] = [line for line in it.program.log().splitlines() if "globalTLL" in line]
        assert line.startswith("[WARN] configuration: ")
        assert "did you mean 'globalTTL'?" in line
        [warning] = (await it.facts())["warnings"]
        assert (warning["code"], warning["path"]) == ("W-UNKNOWN-KEY", "globalTLL")


async def test_preloading_is_reported_and_a_failure_costs_nothing_else(tmp_path: Path) -> None:
    text = models("m", tail="hooks: {on_startup: {preload: [bad, nobody, m]}}").replace(
        "groups:", "  bad: {cmd: /no/such/program, proxy: 'http://127.0.0.1:1'}\ngroups:"
    )
    async with stage(tmp_path, text) as it:
        await settled(lambda: "<m> preloaded" in it.program.log())
        assert "[ERROR] <bad> preload failed" in it.program.log()
        assert "/no/such/program" in it.program.log()


def test_check_config_sees_everything_and_starts_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    path = write(tmp_path / "c.yaml", preloading(mark) + "globalTLL: 3\n")
    done = run("-check-config", "-config", path)
    assert done.returncode == 0
    assert "m: port 5800" in done.stdout
    assert "did you mean 'globalTTL'?" in done.stdout + done.stderr
    assert "c.yaml:5" in done.stdout + done.stderr
    assert not mark.exists()


def test_print_config_prints_what_loads_back_and_warns_beside_it(tmp_path: Path) -> None:
    text = models("m", tail="apiKeys: [sk-very-secret]\nglobalTLL: 3")
    path = write(tmp_path / "c.yaml", text)
    done = run("-print-config", "-config", path)
    assert done.returncode == 0
    assert "sk-very-secret" not in done.stdout + done.stderr
    assert "globalTTL" in done.stderr
    again = run("-check-config", "-config", write(tmp_path / "again.yaml", done.stdout))
    assert again.returncode == 0, again.stderr
    assert "groups: 2" in again.stdout
