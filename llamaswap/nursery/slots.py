"""How many requests does a ready server work on at once? llama.cpp's server says so in `/props`."""

from __future__ import annotations

from typing import Any

from llamaswap import http_client
from llamaswap.nursery.endpoint import Endpoint

CONNECT_LIMIT = 0.5
TOTAL_LIMIT = 5.0


async def reported_slots(endpoint: Endpoint) -> int | None:
    """`total_slots` of `/props`. None: the server does not say."""
    url = f"{endpoint.scheme}://{endpoint.authority}{endpoint.target('/props')}"
    props: Any = await http_client.get_json(
        url, connect_timeout=CONNECT_LIMIT, total_timeout=TOTAL_LIMIT
    )
    slots = props.get("total_slots") if isinstance(props, dict) else None
    return slots if type(slots) is int and 0 < slots <= 100_000 else None
