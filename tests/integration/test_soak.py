"""A life of a minute: traffic, swaps, crashes, reloads, disconnects, floods; then all as before.

Ten minutes of it: `make soak`. Source: issue, long run.
"""

from __future__ import annotations

import pytest

from tests.integration.soak import soak

SECONDS = 60.0
SEED = 8


@pytest.mark.timeout(300)
async def test_after_a_wild_life_everything_is_as_it_was_and_every_request_accounted_for() -> None:
    print(await soak(SECONDS, SEED))
