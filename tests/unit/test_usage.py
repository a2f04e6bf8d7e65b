"""Token counts and speeds in every dialect. Source: http-api §7.2."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llamaswap.telemetry.usage import LARGEST, Tokens, UsageReader

TIMINGS = {
    "prompt_n": 20,
    "predicted_n": 50,
    "prompt_per_second": 100.0,
    "predicted_per_second": 40.0,
    "prompt_ms": 200,
    "predicted_ms": 1250,
    "cache_n": 8,
}


def of_document(document: object) -> Tokens:
    reader = UsageReader()
    reader.document(json.dumps(document).encode())
    return reader.result()


def of_events(*events: object) -> Tokens:
    reader = UsageReader()
    for event in events:
        reader.event(event if isinstance(event, bytes) else json.dumps(event).encode())
    return reader.result()


def reported(**known: Any) -> Tokens:
    """What was parsed, the rest not reported."""
    nothing = {"cached": -1, "drafted": -1, "accepted": -1, "prompt_speed": -1, "speed": -1}
    return Tokens(**{**nothing, "fresh": known.get("input", 0), **known})


def test_openai_counts_cached_tokens_within_the_prompt() -> None:
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    assert of_document({"usage": usage}) == reported(input=12, output=7, cached=4, fresh=8)


def test_responses() -> None:
    usage = {
        "input_tokens": 12,
        "output_tokens": 7,
        "input_tokens_details": {"cached_tokens": 4},
    }
    wanted = reported(input=12, output=7, cached=4, fresh=8)
    assert of_document({"usage": usage}) == wanted
    completed = {"type": "response.completed", "response": {"output": [], "usage": usage}}
    assert of_events({"type": "response.created", "response": {"usage": None}}, completed) == wanted


def test_anthropic_counts_cached_tokens_beside_the_prompt() -> None:
    start = {
        "type": "message_start",
        "message": {
            "usage": {"input_tokens": 9, "cache_read_input_tokens": 30, "output_tokens": 1}
        },
    }
    delta = {"type": "message_delta", "usage": {"output_tokens": 15}}
    wanted = reported(input=9, output=15, cached=30, fresh=9)
    assert of_events(start, {"type": "ping"}, delta) == wanted
    usage = {"input_tokens": 9, "output_tokens": 15, "cache_read_input_tokens": 30}
    assert of_document({"type": "message", "usage": usage}) == wanted


def test_timings_of_llama_server_go_before_usage() -> None:
    found = of_document({"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "timings": TIMINGS})
    assert found == reported(
        input=20, output=50, cached=8, prompt_speed=100.0, speed=40.0, took_ms=1450, fresh=20
    )


def test_timings_without_speeds_and_cache() -> None:
    assert of_document({"timings": {"prompt_n": 3, "predicted_n": 4}}) == reported(
        input=3, output=4, prompt_speed=0.0, speed=0.0
    )


@pytest.mark.parametrize(
    ("extra", "drafts"),
    [
        ({"draft_n": 9, "draft_n_accepted": 4}, (9, 4)),
        ({"draft_n": 9}, (-1, -1)),
        ({"draft_n_accepted": 4}, (-1, -1)),
    ],
)
def test_drafts_count_only_together(extra: dict[str, int], drafts: tuple[int, int]) -> None:
    found = of_document({"timings": {**TIMINGS, **extra}})
    assert (found.drafted, found.accepted) == drafts


def test_an_array_of_infill_says_it_in_its_last_element() -> None:
    reader = UsageReader()
    assert reader.document(
        json.dumps([{"timings": {"prompt_n": 1}}, {"timings": TIMINGS}]).encode()
    )
    assert reader.result().input == 20


def test_metrics_of_vllm() -> None:
    metrics = {"time_to_first_token_ms": 70, "mean_itl_ms": 10}
    found = of_document(
        {"usage": {"prompt_tokens": 14, "completion_tokens": 5}, "metrics": metrics}
    )
    assert found.prompt_speed == pytest.approx(200)
    assert found.speed == pytest.approx(100)


def test_metrics_leave_cached_tokens_out_of_the_prompt_speed() -> None:
    usage = {"prompt_tokens": 14, "prompt_tokens_details": {"cached_tokens": 7}}
    found = of_document({"usage": usage, "metrics": {"time_to_first_token_ms": 70}})
    assert found.prompt_speed == pytest.approx(100)


@pytest.mark.parametrize(
    ("speculative", "drafts"),
    [
        ({"num_draft_tokens": 6, "num_accepted_draft_tokens": 2}, (6, 2)),
        ({"num_draft_tokens": 6}, (-1, -1)),
        (None, (-1, -1)),
    ],
)
def test_speculative_decoding_of_vllm(speculative: object, drafts: tuple[int, int]) -> None:
    found = of_document({"metrics": {"speculative_decoding": speculative}})
    assert (found.drafted, found.accepted) == drafts


def test_empty_metrics_do_not_erase_what_timings_say() -> None:
    found = of_document(
        {
            "timings": {**TIMINGS, "draft_n": 9, "draft_n_accepted": 4},
            "metrics": {"speculative_decoding": {}},
        }
    )
    assert (found.drafted, found.accepted, found.speed) == (9, 4, 40.0)


def test_later_counts_replace_earlier_ones_only_if_they_say_something() -> None:
    found = of_events(
        {"usage": {"prompt_tokens": 11, "completion_tokens": 1, "cache_read_input_tokens": 3}},
        {"usage": {"prompt_tokens": 0, "completion_tokens": 5, "cache_read_input_tokens": -1}},
        {"usage": None},
    )
    assert (found.input, found.output, found.cached) == (11, 5, 3)


@pytest.mark.parametrize(
    "document",
    [{}, {"choices": []}, {"usage": None}, {"usage": 3}, {"timings": "fast"}, [], [1], 7, "usage"],
)
def test_what_says_nothing_gives_zeros(document: object) -> None:
    assert of_document(document) == Tokens()
    assert of_events(document) == Tokens()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"usage":',
        b"\xff\xfe",
        b'"usage"',
        b'[{"usage":1}',
        b"RIFF\0\x01" * 9,
        b"[" * 5000,
    ],
)
def test_what_is_no_json_gives_zeros(data: bytes) -> None:
    reader = UsageReader()
    reader.document(data)
    reader.event(data + b' "usage"')
    assert reader.result() == Tokens()


@pytest.mark.parametrize("value", ["12", None, True, [], {}, 1e400])
def test_a_count_that_is_none_is_passed_over(value: object) -> None:
    text = json.dumps({"usage": {"prompt_tokens": value, "input_tokens": 5}})
    reader = UsageReader()
    reader.document(text.replace("Infinity", "1e400").encode())
    assert reader.result().input in (5, 0)


def test_a_count_is_never_larger_than_the_store_can_hold() -> None:
    assert of_document({"usage": {"prompt_tokens": 10**30}}).input == LARGEST
