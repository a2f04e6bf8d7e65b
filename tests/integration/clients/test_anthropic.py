"""Anthropic's own Python client, unmodified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.integration.clients.conftest import KEY
from tests.integration.http_cases.stage import Server

ANSWER = "The answer is forty-two."
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TOOLS: list[Any] = [
    {
        "name": "weather",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]


@pytest.fixture
def ai(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{server.port}", api_key=KEY, max_retries=0, timeout=60
    ) as client:
        yield client


def test_a_message(ai: anthropic.Anthropic) -> None:
    answer = ai.messages.create(model="gpt", max_tokens=100, messages=HELLO)
    assert answer.content[0].type == "text"
    assert answer.content[0].text == ANSWER
    assert answer.usage.output_tokens == 5
    counted = ai.messages.count_tokens(model="gpt-alias", messages=HELLO)
    assert counted.input_tokens == 14


def test_a_stream(ai: anthropic.Anthropic) -> None:
    with ai.messages.stream(model="gpt", max_tokens=100, messages=HELLO) as stream:
        assert list(stream.text_stream) == ["The ", "answer ", "is ", "forty-", "two."]
        assert stream.get_final_message().stop_reason == "end_turn"


@pytest.mark.parametrize("streamed", [False, True])
def test_tools(ai: anthropic.Anthropic, streamed: bool) -> None:
    if streamed:
        with ai.messages.stream(model="gpt", max_tokens=100, messages=HELLO, tools=TOOLS) as stream:
            answer: Any = stream.get_final_message()
    else:
        answer = ai.messages.create(model="gpt", max_tokens=100, messages=HELLO, tools=TOOLS)
    assert answer.stop_reason == "tool_use"
    assert answer.content[0].type == "tool_use"
    assert answer.content[0].input == {"city": "Zürich"}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
    ],
)
def test_what_the_model_server_refuses(
    ai: anthropic.Anthropic, status: int, error: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(error, match=f"scripted {status}"):
        ai.messages.create(
            model="gpt",
            max_tokens=100,
            messages=HELLO,
            metadata={"user_id": f"status {status}"},
        )


def body(error: anthropic.APIStatusError) -> dict[str, Any]:
    assert isinstance(error.body, dict)
    return error.body


def test_an_unknown_model(ai: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="no router for requested model") as caught:
        ai.messages.create(model="nobody", max_tokens=1, messages=HELLO)
    assert body(caught.value)["type"] == "error"


def test_a_wrong_key(ai: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError, match="API key"):
        ai.with_options(api_key="no").messages.create(model="gpt", max_tokens=1, messages=HELLO)


def test_a_model_that_does_not_start(ai: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.InternalServerError, match="exited prematurely") as caught:
        ai.messages.create(model="broken", max_tokens=1, messages=HELLO)
    assert body(caught.value)["type"] == "error"


def test_a_model_server_that_hangs_up(ai: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.InternalServerError) as caught:
        ai.messages.create(model="gpt", max_tokens=1, messages=HELLO, metadata={"user_id": "reset"})
    assert caught.value.status_code == 502


def test_an_error_in_the_middle_of_a_stream(ai: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError, match="too much"):
        with ai.messages.stream(
            model="gpt", max_tokens=1, messages=HELLO, metadata={"user_id": "overloaded"}
        ) as stream:
            stream.until_done()
