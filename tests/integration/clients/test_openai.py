"""OpenAI's own Python client, unmodified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.integration.clients.conftest import KEY
from tests.integration.http_cases.stage import Server

ANSWER = "The answer is forty-two."
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


@pytest.fixture
def ai(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{server.port}/v1", api_key=KEY, max_retries=0, timeout=60
    ) as client:
        yield client


def test_chat(ai: openai.OpenAI) -> None:
    answer = ai.chat.completions.create(model="gpt-alias", messages=HELLO)
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage is not None
    assert answer.usage.total_tokens == 12
    raw = ai.chat.completions.with_raw_response.create(model="gpt", messages=HELLO)
    assert raw.headers["x-request-id"] == "req_1"


def test_a_stream_of_chat(ai: openai.OpenAI) -> None:
    pieces = list(ai.chat.completions.create(model="gpt", messages=HELLO, stream=True))
    said = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert said == ANSWER
    assert pieces[-1].usage is not None
    assert pieces[-2].choices[0].finish_reason == "stop"


def test_tools(ai: openai.OpenAI) -> None:
    answer = ai.chat.completions.create(model="gpt", messages=HELLO, tools=TOOLS)
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert json.loads(calls[0].function.arguments) == {"city": "Zürich"}
    with ai.chat.completions.stream(model="gpt", messages=HELLO, tools=TOOLS) as stream:
        stream.until_done()
        whole = stream.get_final_completion().choices[0]
    assert whole.finish_reason == "tool_calls"
    assert whole.message.tool_calls is not None
    assert whole.message.tool_calls[0].function.name == "weather"
    assert json.loads(whole.message.tool_calls[0].function.arguments) == {"city": "Zürich"}


def test_embeddings(ai: openai.OpenAI) -> None:
    found = ai.embeddings.create(model="gpt", input=["a", "b"])  # base64 on the wire
    assert [item.embedding for item in found.data] == [[0.5, -0.25, 1.0]] * 2


def test_responses(ai: openai.OpenAI) -> None:
    assert ai.responses.create(model="gpt", input="hello").output_text == ANSWER
    events = list(ai.responses.create(model="gpt", input="hello", stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == ANSWER
    assert events[-1].type == "response.completed"


def test_a_file_for_transcription(ai: openai.OpenAI) -> None:
    found = ai.audio.transcriptions.create(model="gpt", file=("a.wav", b"\x00\xff" * 500_000))
    size, _, kind = found.text.partition(" bytes, ")
    assert int(size) > 1_000_000
    assert kind == "multipart/form-data"


def test_models(ai: openai.OpenAI) -> None:
    assert "gpt" in [model.id for model in ai.models.list()]


async def test_the_asynchronous_client_under_trio(server: Server) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{server.port}/v1",
        api_key=KEY,
        max_retries=0,
        timeout=60,
    ) as ai:
        stream = await ai.chat.completions.create(model="gpt", messages=HELLO, stream=True)
        said = [p.choices[0].delta.content or "" async for p in stream if p.choices]
        assert "".join(said) == ANSWER


def test_a_load_reads_as_reasoning_and_the_answer_follows(
    server: Server, ai: openai.OpenAI
) -> None:
    server.unload("slow")
    pieces = list(ai.chat.completions.create(model="slow", messages=HELLO, stream=True))
    deltas: list[Any] = [piece.choices[0].delta for piece in pieces if piece.choices]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought.startswith("━━━━━\nllama-swap loading model: slow\n")
    assert thought.endswith("s)\n━━━━━\n \n")
    assert "".join(delta.content or "" for delta in deltas) == ANSWER
    assert pieces[0].object == "chat.completion.chunk"
    assert pieces[0].model == "slow"


# --- errors become the right exceptions -----------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_what_the_model_server_refuses(
    ai: openai.OpenAI, status: int, error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error, match=f"scripted {status}") as caught:
        ai.chat.completions.create(model="gpt", messages=HELLO, user=f"status {status}")
    assert caught.value.status_code == status


def test_an_unknown_model(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no router for requested model") as caught:
        ai.chat.completions.create(model="nobody", messages=HELLO)
    assert (caught.value.code, caught.value.type) == ("not_found", "invalid_request_error")


def test_a_wrong_key(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="invalid or missing API key") as caught:
        ai.with_options(api_key="no").chat.completions.create(model="gpt", messages=HELLO)
    assert (caught.value.code, caught.value.type) == ("unauthorized", "authentication_error")


def test_a_model_that_does_not_start(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="exited prematurely") as caught:
        ai.chat.completions.create(model="broken", messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (500, "internal_error")


def test_a_model_server_that_hangs_up(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="gpt: ") as caught:
        ai.chat.completions.create(model="gpt", messages=HELLO, user="reset")
    assert (caught.value.status_code, caught.value.code) == (502, "bad_gateway")


def test_a_stream_that_breaks_off(ai: openai.OpenAI) -> None:
    stream = ai.chat.completions.create(model="gpt", messages=HELLO, stream=True, user="cut")
    with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)):
        list(stream)


def test_a_failure_in_a_loading_stream(ai: openai.OpenAI) -> None:
    stream = ai.chat.completions.create(model="broken-slowly", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="exited prematurely") as caught:
        list(stream)
    assert caught.value.code == "internal_error"


def test_a_refusal_in_a_loading_stream(server: Server, ai: openai.OpenAI) -> None:
    server.unload("slow")
    stream = ai.chat.completions.create(
        model="slow", messages=HELLO, stream=True, user="status 422"
    )
    with pytest.raises(openai.APIError, match="scripted 422"):
        list(stream)


def test_a_client_that_stops_listening_frees_its_connection(
    server: Server, ai: openai.OpenAI
) -> None:
    for _ in range(20):  # more than the model's limit of requests at once
        with ai.chat.completions.create(model="gpt", messages=HELLO, stream=True) as stream:
            next(iter(stream))
    assert ai.chat.completions.create(model="gpt", messages=HELLO).choices
