"""The notify protocol against a socket as systemd opens it. Source: sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from llamaswap.service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def told(sock: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(sock.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_the_variables_are_taken_out_of_the_environment(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "500000", "OTHER": "1"}
    service = ServiceManager.from_environment(environ)
    assert environ == {"OTHER": "1"}
    assert service.watchdog == 0.5
    service.ready("0 of 2 models ready")
    service.status("1 of 2 models ready")
    service.stopping()
    assert told(manager) == [
        f"READY=1\nSTATUS=0 of 2 models ready\nMAINPID={os.getpid()}",
        "STATUS=1 of 2 models ready",
        "STOPPING=1\nSTATUS=stopping",
    ]


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"llamaswap-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.setblocking(False)
        ServiceManager.from_environment({"NOTIFY_SOCKET": f"@{name}"}).status("x")
        assert told(sock) == ["STATUS=x"]


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_without_a_socket_nothing_is_said(address: str) -> None:
    service = ServiceManager.from_environment({"NOTIFY_SOCKET": address})
    service.ready("x")
    assert not service.address


def test_a_watchdog_for_another_process_is_not_ours(manager: socket.socket) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "500000",
        "WATCHDOG_PID": str(os.getpid() + 1),
    }
    assert ServiceManager.from_environment(environ).watchdog == 0


async def test_signs_of_life_come_twice_per_limit(
    manager: socket.socket, autojump_clock: MockClock
) -> None:
    service = ServiceManager(manager.getsockname(), watchdog=30)
    with trio.move_on_after(59):
        await service.keep_alive()
    assert told(manager) == ["WATCHDOG=1"] * 4


async def test_without_a_watchdog_there_are_none(manager: socket.socket) -> None:
    await ServiceManager(manager.getsockname()).keep_alive()
    assert told(manager) == []


def test_a_manager_that_is_gone_or_full_stops_nothing(
    manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    service = ServiceManager(manager.getsockname())
    for _ in range(2000):  # nobody reads: the queue fills, and no call waits
        service.status("x")
    assert len(told(manager)) < 2000
    gone = ServiceManager("/nowhere/notify")
    gone.status("x")
    gone.status("y")
    assert len(caplog.records) == 1
    assert "/nowhere/notify" in caplog.text
