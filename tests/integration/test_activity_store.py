"""The activity database of the whole program. Source: telemetry §5, part 9 (T91, T94, T97)."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.integration.processes import fake_command, free_ports, settled
from tests.integration.program import Program, command, started, write


def configuration(path: Path | None, more: str = "") -> str:
    store = f"store: {{path: {path}}}\n" if path is not None else ""
    ports = f"startPort: {free_ports()}\n"
    return f"{ports}models:\n  m:\n    cmd: {fake_command()} --port ${{PORT}}\n{store}{more}"


async def rows(program: Program, count: int) -> list[dict[str, Any]]:
    """All rows, once there are as many."""
    with trio.fail_after(20):
        while True:
            answer = await program.http.get("/api/metrics/activity")
            found: list[dict[str, Any]] = answer.json()["data"]
            if len(found) == count:
                return found
            await trio.sleep(0.02)


def stored(path: Path) -> list[tuple[int, str, int]]:
    """What another program reads in the file."""
    db = sqlite3.connect(path)
    found = db.execute("SELECT id, model_id, resp_status_code FROM activity ORDER BY id").fetchall()
    db.close()
    return found


def test_T91_a_file_that_is_no_database_keeps_it_from_starting(tmp_path: Path) -> None:
    broken = tmp_path / "a.db"
    broken.write_text("{}")
    path = write(tmp_path / "c.yaml", configuration(broken))
    done = subprocess.run(
        command("-config", path, "-listen", "127.0.0.1:0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "store.path" in done.stderr
    assert str(broken) in done.stderr
    assert broken.read_text() == "{}"


@pytest.mark.parametrize("kind", ["no database", "other path", "same path"])
async def test_T91_T97_a_reload_takes_another_store_only_if_it_can_be_used(
    tmp_path: Path, kind: str
) -> None:
    first, second = tmp_path / "a.db", tmp_path / "b.db"
    path = write(tmp_path / "c.yaml", configuration(first))
    async with started("-config", path) as program:
        assert (await program.chat("m")).status_code == 200
        assert (await rows(program, 1))[0]["has_capture"]
        if kind == "no database":
            second.write_text("{}")
        target = first if kind == "same path" else second
        write(tmp_path / "c.yaml", configuration(target, "captureBuffer: 4\n"))
        program.process.send_signal(signal.SIGHUP)
        word = "reload failed" if kind == "no database" else "configuration reloaded"
        await settled(lambda: word in program.log())
        assert (await program.chat("m")).status_code == 200
        kept = await rows(program, 1 if kind == "other path" else 2)
        assert kept[0]["model"] == "m"
        assert await program.stop() == 0
    assert len(stored(first)) == (1 if kind == "other path" else 2)
    assert second.exists() is (kind != "same path")


async def test_T94_a_client_that_aborts_leaves_a_row_that_outlives_the_program(
    tmp_path: Path,
) -> None:
    database = tmp_path / "a.db"
    slow = configuration(database).replace("--port", "--work 30 --port")
    async with started("-config", write(tmp_path / "c.yaml", slow)) as program:
        host, port = program.url.removeprefix("http://").split(":")
        body = b'{"model":"m"}'
        with socket.create_connection((host, int(port))) as client:
            client.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            with trio.fail_after(20):
                while (await program.running()).get("m") != "ready":
                    await trio.sleep(0.02)
        row = (await rows(program, 1))[0]
        assert (row["resp_status_code"], row["error_msg"]) == (499, "client disconnected")
        assert await program.stop() == 0
    assert stored(database) == [(1, "m", 499)]
    assert not database.with_name("a.db-wal").exists()  # it was moved into the file


async def test_rows_are_there_after_the_program_was_killed(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    path = write(tmp_path / "c.yaml", configuration(database))
    async with started("-config", path) as program:
        assert (await program.chat("m")).status_code == 200
        assert (await program.chat("nobody")).status_code == 404
        await rows(program, 2)
        await program.stop(signal.SIGKILL)
    async with started("-config", path) as program:
        found = await rows(program, 2)
        assert [(row["id"], row["model"]) for row in found] == [(2, "nobody"), (1, "m")]
        assert not any(row["has_capture"] for row in found)
        assert "2 rows so far" in program.log()


async def test_no_more_rows_are_kept_in_memory_than_the_configuration_says(tmp_path: Path) -> None:
    def text(most: int) -> str:
        return configuration(None, f"metricsMaxInMemory: {most}\n")

    path = tmp_path / "c.yaml"
    async with started("-config", write(path, text(3))) as program:
        for _ in range(5):
            assert (await program.chat("m")).status_code == 200
        await these_rows(program, [5, 4, 3])
        write(path, text(2))
        program.process.send_signal(signal.SIGHUP)
        await settled(lambda: "configuration reloaded" in program.log())
        assert (await program.chat("m")).status_code == 200
        await these_rows(program, [6, 5])


async def these_rows(program: Program, ids: list[int]) -> None:
    """Wait until the rows with these `ids` are all there is."""
    found: list[int] = []
    with trio.move_on_after(20):
        while found != ids:
            answer = (await program.http.get("/api/metrics/activity")).json()
            found = [row["id"] for row in answer["data"]]
            await trio.sleep(0.02)
    assert found == ids


async def test_an_operator_cancels_by_number(tmp_path: Path) -> None:
    slow = configuration(None).replace("--port", "--ready-after 60 --port")
    async with started("-config", write(tmp_path / "c.yaml", slow)) as program:
        answers: list[int] = []

        async def ask() -> None:
            answer = await program.chat("m")
            answers.append(answer.status_code)
            assert answer.json()["error"]["code"] == "request_cancelled"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            with trio.fail_after(20):
                while (await program.http.post("/api/inflight/1/cancel")).status_code != 200:
                    await trio.sleep(0.02)
        assert answers == [499]
        again = await program.http.post("/api/inflight/1/cancel")
        assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")
        assert (await program.http.post("/api/inflight/x/cancel")).status_code == 404
        assert (await program.http.get("/api/inflight/1/cancel")).status_code == 405
        row = (await rows(program, 1))[0]
        assert (row["resp_status_code"], row["error_msg"]) == (499, "request cancelled")


async def test_streams_of_events_do_not_hold_the_program_up(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", configuration(None))
    async with started("-config", path) as program:
        host, port = program.url.removeprefix("http://").split(":")
        readers = [socket.create_connection((host, int(port))) for _ in range(3)]
        for reader in readers:
            reader.sendall(b"GET /api/events HTTP/1.1\r\nHost: h\r\n\r\n")
            assert reader.recv(4096).startswith(b"HTTP/1.1 200")
        for _ in range(20):  # nobody reads the events of these
            assert (await program.chat("m")).status_code == 200
        assert await program.stop(within=15) == 0
        for reader in readers:
            reader.close()
