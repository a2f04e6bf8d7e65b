"""One program per configuration, for all cases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.http_cases.stage import Server, serving


@pytest.fixture(scope="session")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The fixture's configuration as it is."""
    with serving(tmp_path_factory.mktemp("open")) as server:
        yield server


@pytest.fixture(scope="session")
def keyed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same with API keys, and without the performance monitor."""
    more = "apiKeys: [k1, k2]\nperformance: {disabled: true}\n"
    with serving(tmp_path_factory.mktemp("keyed"), more, key="k1") as server:
        yield server
