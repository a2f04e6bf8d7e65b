"""Large uploads: what they cost the program in memory. Source: http-api §2.4."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import psutil
import pytest

from tests.integration.http_cases.stage import Server, settled

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")

MIB = 1024 * 1024
SIZE = 100 * MIB
PIECE = bytes(range(256)) * 4096


def part(name: str, content: bytes, more: str = "") -> bytes:
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def peak(process: psutil.Process) -> int:
    """The most memory the process has had since `forget_peak`, bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def forget_peak(process: psutil.Process) -> None:
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def upload(server: Server, before: bytes, after: bytes, query: str = "") -> dict[str, object]:
    """POST a multipart body whose middle is a file of `SIZE` bytes, made as it is sent."""
    opening = before + part("file", b"", '; filename="a.wav"').removesuffix(b"\r\n")
    closing = b"\r\n" + after + b"--XX--\r\n"
    length = len(opening) + SIZE + len(closing)
    connection = server.connect()
    try:
        connection.send(
            "POST",
            f"/v1/audio/transcriptions?mode=digest{query}",
            {
                "Content-Type": "multipart/form-data; boundary=XX",
                "Content-Length": str(length),
            },
        )
        connection.sock.sendall(opening)
        for _ in range(SIZE // len(PIECE)):
            connection.sock.sendall(PIECE)
        connection.sock.sendall(closing)
        reply = connection.reply()
        assert reply.status == 200, reply
        found: dict[str, object] = reply.json()
        return found
    finally:
        connection.close()


def expected(before: bytes, after: bytes) -> dict[str, object]:
    digest = hashlib.sha256(before + part("file", b"", '; filename="a.wav"').removesuffix(b"\r\n"))
    for _ in range(SIZE // len(PIECE)):
        digest.update(PIECE)
    digest.update(b"\r\n" + after + b"--XX--\r\n")
    size = len(before) + len(part("file", b"", '; filename="a.wav"')) - 2 + SIZE
    return {"size": size + len(after) + len(b"\r\n--XX--\r\n"), "sha256": digest.hexdigest()}


@pytest.mark.parametrize("place", ["before the file", "behind the file"])
def test_a_file_of_100_mb_is_held_once_and_its_name_is_rewritten(
    open_server: Server, place: str
) -> None:
    open_server.load("whisper")
    assert open_server.process is not None
    process = psutil.Process(open_server.process.pid)
    asked, sent = part("model", b"whisper"), part("model", b"whisper-large")
    in_front = place == "before the file"
    # the first large body makes the allocator ready for all later ones
    base = process.memory_info().rss
    forget_peak(process)
    found = upload(open_server, asked if in_front else b"", b"" if in_front else asked)
    grown = peak(process) - base
    assert found == expected(sent if in_front else b"", b"" if in_front else sent)
    assert grown <= SIZE + 10 * MIB, f"{grown / MIB:.1f} MiB"
    settled(lambda: process.memory_info().rss - base < 10 * MIB)  # and nothing of it stays
