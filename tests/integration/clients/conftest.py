"""One program for all clients."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.http_cases.stage import Server, running
from tests.integration.processes import free_ports

HERE = Path(__file__).parent
KEY = "sesame"


def config() -> str:
    scripted = shlex.join([sys.executable, "-I", "-S", str(HERE / "sdk_server.py")])
    sockets = shlex.join([sys.executable, str(HERE / "websocket_server.py")])
    return f"""
startPort: {free_ports()}
apiKeys: [{KEY}]
models:
  gpt:
    cmd: {scripted} --port ${{PORT}}
    aliases: [gpt-alias]
  slow:
    cmd: {scripted} --port ${{PORT}} --delay 1.5
    sendLoadingState: true
  broken:
    cmd: {scripted} --port ${{PORT}} --exit 3
  broken-slowly:
    cmd: {scripted} --port ${{PORT}} --exit 3 --delay 0.3
    sendLoadingState: true
  sockets:
    cmd: {sockets} ${{PORT}}
groups:
  all: {{swap: false, exclusive: false, members: [gpt, slow, broken, broken-slowly, sockets]}}
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("clients"), config(), KEY) as found:
        yield found
