"""The main job on real input: llama.cpp servers behind the program, the openai client before it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import psutil
import pytest
import trio

from tests.integration.processes import free_ports, settled
from tests.integration.program import Program, started, write
from tests.integration.tiny_gguf import write_tiny_gguf

SERVER = Path(__file__).with_name("llama_server.py")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    paths = {name: folder / f"{name}.gguf" for name in ("one", "two")}
    for seed, path in enumerate(paths.values()):
        write_tiny_gguf(path, seed)
    return paths


def config(models: dict[str, Path]) -> str:
    def cmd(name: str, *more: str) -> str:
        return shlex.join([sys.executable, str(SERVER), str(models[name]), "${PORT}", *more])

    return f"""
startPort: {free_ports()}
logToStdout: both
models:
  one:
    cmd: {cmd("one")}
    aliases: [first]
  two:
    cmd: {cmd("two")}
  vectors:
    cmd: {cmd("one", "embedding")}
"""


@pytest.fixture
async def program(models: dict[str, Path], tmp_path: Path) -> AsyncIterator[Program]:
    async with started("-config", write(tmp_path / "c.yaml", config(models))) as running:
        yield running


async def in_thread(call: object) -> object:
    assert callable(call)
    return await trio.to_thread.run_sync(call)


def client(program: Program) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{program.url}/v1", api_key="any", max_retries=0)


async def test_chat_completions_embeddings_and_a_swap(program: Program) -> None:
    def talk() -> None:
        with client(program) as ai:
            answer = ai.chat.completions.create(
                model="one", messages=[{"role": "user", "content": "hello"}], max_tokens=8
            )
            assert answer.usage is not None
            assert answer.usage.completion_tokens in range(1, 9)
            text = ai.completions.create(model="first", prompt="once", max_tokens=4)
            assert text.choices[0].text is not None
            pieces = list(
                ai.chat.completions.create(
                    model="two",
                    messages=[{"role": "user", "content": "hello"}],
                    max_tokens=12,
                    stream=True,
                )
            )
            assert len(pieces) > 5
            assert pieces[-1].choices[0].finish_reason is not None
            vectors = ai.embeddings.create(model="vectors", input=["a", "b"])
            assert [len(item.embedding) for item in vectors.data] == [64, 64]

    await in_thread(talk)
    assert await program.running() == {"vectors": "ready"}
    assert len(program.model_pids()) == 1


async def test_rows_tell_what_the_server_reports(program: Program) -> None:
    def talk() -> None:
        asked: Any = [{"role": "user", "content": "hello"}]
        with client(program) as ai:
            for stream in (False, True):
                answer = ai.chat.completions.create(
                    model="one", messages=asked, max_tokens=8, stream=stream
                )
                if stream:
                    list(answer)
            ai.embeddings.create(model="vectors", input=["a", "b"])
        with anthropic.Anthropic(base_url=program.url, api_key="any") as claude:
            with claude.messages.stream(model="one", messages=asked, max_tokens=8) as events:
                list(events)

    await in_thread(talk)
    rows: list[dict[str, Any]] = []
    with trio.fail_after(20):
        while len(rows) < 4:
            rows = (await program.http.get("/api/metrics/activity?order=asc")).json()["data"]
    whole, stream, vectors, messages = (row["tokens"] for row in rows)
    for tokens in (whole, stream):
        assert tokens["output_tokens"] == 8
        assert tokens["tokens_per_second"] > 0
    # the second prompt was the first one's: the server's cache spared it all but a token
    assert whole["input_tokens"] + max(whole["cache_tokens"], 0) == (
        stream["input_tokens"] + max(stream["cache_tokens"], 0)
    )
    assert vectors["input_tokens"] > 0
    assert messages["output_tokens"] == 8
    assert [row["resp_content_type"].partition(";")[0] for row in rows] == [
        "application/json",
        "text/event-stream",
        "application/json",
        "text/event-stream",
    ]


async def test_a_killed_server_is_started_again_by_the_next_request(program: Program) -> None:
    assert (await program.chat("one", max_tokens=2)).status_code == 200
    [pid] = program.model_pids()
    os.kill(pid, signal.SIGKILL)
    await settled(lambda: "exited unexpectedly (signal SIGKILL)" in program.log())
    assert (await program.chat("one", max_tokens=2)).status_code == 200
    assert program.model_pids() != [pid]


async def test_a_client_that_leaves_stops_the_generation(program: Program) -> None:
    assert (await program.chat("one", max_tokens=1)).status_code == 200
    body = {"model": "one", "prompt": "x", "stream": True, "max_tokens": 1900, "ignore_eos": True}
    async with httpx.AsyncClient(base_url=program.url, timeout=30) as other:
        answer = await other.send(
            other.build_request("POST", "/v1/completions", json=body), stream=True
        )
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                async for _ in answer.aiter_raw():
                    pass

            nursery.start_soon(read)
            await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
        await answer.aclose()

    async def busy() -> bool:
        slots = (await program.http.get("/upstream/one/slots")).json()
        return any(slot["is_processing"] for slot in slots)

    with trio.fail_after(5):
        while await busy():
            await trio.sleep(0.05)


async def test_props_infill_completion_and_what_the_model_cannot_do(program: Program) -> None:
    props = await program.http.get("/props", params={"model": "one"})
    assert props.json()["total_slots"] == 4
    answer = await program.http.post(
        "/infill", json={"model": "one", "input_prefix": "a", "input_suffix": "b", "n_predict": 3}
    )
    assert answer.status_code == 200
    assert answer.json()["tokens_predicted"] in range(1, 4)
    answer = await program.http.post(
        "/completion", json={"model": "one", "prompt": "a", "n_predict": 2}
    )
    assert answer.json()["tokens_predicted"] in (1, 2)
    answer = await program.http.post(
        "/v1/rerank", json={"model": "vectors", "query": "a", "documents": ["a", "b"]}
    )
    assert answer.status_code == 501  # the server's own words, untouched
    assert "reranking" in answer.json()["error"]["message"]
    assert "llama-swap" not in answer.text
    answer = await program.http.post("/upstream/one/tokenize", json={"content": "abc"})
    assert len(answer.json()["tokens"]) >= 3


async def test_messages_and_responses_through_their_own_clients(program: Program) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]

    def talk() -> None:
        with anthropic.Anthropic(base_url=program.url, api_key="any", max_retries=0) as ai:
            counted = ai.messages.count_tokens(model="one", messages=hello)
            answer = ai.messages.create(model="one", max_tokens=6, messages=hello)
            assert answer.usage.input_tokens == counted.input_tokens
            assert 0 < answer.usage.output_tokens <= 6  # a model of noise may end early
            with ai.messages.stream(model="first", max_tokens=6, messages=hello) as stream:
                # not the whole message: where the first token is half a character, the server
                # forgets `message_start` (clients/test_anthropic.py has whole ones)
                kinds = [event.type for event in stream]
                assert kinds[-1] == "message_stop"
                assert "message_delta" in kinds
            with pytest.raises(anthropic.NotFoundError):
                ai.messages.create(model="three", max_tokens=6, messages=hello)
        with client(program) as other:
            response = other.responses.create(model="one", input="hi", max_output_tokens=16)
            assert response.usage is not None
            assert response.usage.output_tokens > 0

    await in_thread(talk)


async def test_after_the_end_no_server_is_left(program: Program) -> None:
    assert (await program.chat("one", max_tokens=1)).status_code == 200
    pids = [child.pid for child in program.children()]
    assert await program.stop() == 0
    await settled(lambda: not any(psutil.pid_exists(pid) for pid in pids))


async def test_the_server_tells_batch_how_many_requests_it_works_on(
    models: dict[str, Path], tmp_path: Path
) -> None:
    text = "logLevel: debug\nrouting: {scheduler: {use: batch}}\n" + config(models)
    async with started("-config", write(tmp_path / "c.yaml", text)) as program:
        assert (await program.chat("one", max_tokens=2)).status_code == 200
        props = (await program.http.get("/upstream/one/props")).json()
        wanted = f"<one> works on {props['total_slots']} requests at once"
        await settled(lambda: wanted in program.log())
