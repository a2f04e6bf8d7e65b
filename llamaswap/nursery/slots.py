"""How many requests does a ready server work on at once? Each kind says so in its own way.

llama.cpp's server: `/props`. vLLM and SGLang have no metric for it; a flag of theirs sets it, and
vLLM tells what it runs with where its development mode is on, as it is for its sleep mode.

Source: scheduling §2, rule 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llamaswap import http_client
from llamaswap.config.argv import split_command
from llamaswap.nursery.endpoint import Endpoint

CONNECT_LIMIT = 0.5
TOTAL_LIMIT = 5.0
INFO_LIMIT = 30.0
"""Seconds for `/server_info`: the first time vLLM looks at its whole environment as well."""
MOST = 100_000
FLAGS = ("--max-num-seqs", "--max-running-requests")
"""Of vLLM; of SGLang."""


async def known_slots(endpoint: Endpoint, command: str) -> int | None:
    """What the server says, or the command that started it. None: neither does."""
    props = await _ask(endpoint, "/props", TOTAL_LIMIT)
    return (
        _plausible(_at(props, "total_slots"))
        or slots_in(command)
        or _plausible(
            _at(
                await _ask(endpoint, "/server_info?config_format=json", INFO_LIMIT),
                "vllm_config",
                "scheduler_config",
                "max_num_seqs",
            )
        )
    )


def slots_in(command: str) -> int | None:
    """The value of the last flag in `command` that sets it."""
    found = list(_flagged(split_command(command)))
    return found[-1] if found else None


def _flagged(words: list[str]) -> Iterator[int]:
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag.replace("_", "-") in FLAGS:  # vLLM takes both spellings
            text = value if equals else "".join(words[at + 1 : at + 2])
            slots = _plausible(int(text) if text.isascii() and text.isdecimal() else None)
            if slots is not None:
                yield slots


async def _ask(endpoint: Endpoint, path: str, limit: float) -> Any:
    url = f"{endpoint.scheme}://{endpoint.authority}"
    path, _, query = path.partition("?")
    url += endpoint.target(path, query)
    return await http_client.get_json(url, connect_timeout=CONNECT_LIMIT, total_timeout=limit)


def _at(document: Any, *steps: str) -> Any:
    for step in steps:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _plausible(slots: Any) -> int | None:
    return slots if type(slots) is int and 0 < slots <= MOST else None
