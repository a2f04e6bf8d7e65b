"""How long it takes to load a large configuration, and to start.

    python -m bench.config

Prints medians and extremes over several rounds; the numbers in docs/benchmarks.md come from here.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llamaswap.config.json_schema import json_schema
from llamaswap.config.load import load_config
from llamaswap.config.report import printable

MODELS = 200
GROUPS = 10


def large_configuration() -> str:
    """200 models with macros in macros, model macros, aliases, filters and metadata."""
    lines = [
        "macros:",
        "  ctx: 8192",
        "  base: /srv/models",
        "  server: llama-server --port ${PORT} --host 127.0.0.1",
        "  flags: --flash-attn on -ngl 99 --ctx-size ${ctx}",
        "models:",
    ]
    for number in range(MODELS):
        lines += [
            f"  model-{number:03}:",
            "    macros:",
            f"      quant: Q{number % 8}_K_M",
            "      file: ${base}/${MODEL_ID}-${quant}.gguf",
            "    cmd: |",
            "      ${server}",
            "      ${flags}",
            "      # a comment that mentions ${nothing}",
            "      -m ${file}",
            f"    aliases: [alias-{number}, 'org/${{MODEL_ID}}']",
            "    ttl: 600",
            "    filters:",
            "      stripParams: top_p, seed",
            "      setParamsByID: {'${MODEL_ID}:hot': {temperature: 1.2}}",
            "    metadata: {quant: '${quant}', ctx: '${ctx}'}",
        ]
    lines.append("groups:")
    size = MODELS // GROUPS
    for group in range(GROUPS):
        members = [f"model-{number:03}" for number in range(group * size, (group + 1) * size)]
        lines.append(f"  group-{group}: {{swap: false, members: [{', '.join(members)}]}}")
    return "\n".join(lines) + "\n"


def milliseconds(began: float) -> float:
    """Since `began`."""
    return (time.perf_counter() - began) * 1000


def load_times(path: Path, rounds: int) -> list[float]:
    """Files to resolved configuration, imports done."""
    times = []
    for _ in range(rounds):
        gc.collect()
        began = time.perf_counter()
        loaded = load_config(path, None, environ=os.environ)
        times.append(milliseconds(began))
        assert len(loaded.config.models) == MODELS
    return times


def check_times(path: Path, rounds: int) -> list[float]:
    """The whole command."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "llamaswap", "-config", str(path), "-check-config"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        times.append(milliseconds(began))
    return times


def start_times(path: Path, rounds: int, target: bytes, status: bytes) -> list[float]:
    """From the start of the interpreter to the first byte of the answer to `target`."""
    return [_start_time(path, target, status) for _ in range(rounds)]


def _start_time(path: Path, target: bytes, status: bytes) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "llamaswap", "-config", str(path)]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "-listen", f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                client = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                time.sleep(0.001)
        with client:
            client.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
            answer = client.recv(4096)
            taken = milliseconds(began)
        assert status in answer.partition(b"\r\n")[0], answer
        return taken
    finally:
        process.terminate()
        process.wait()


def show(what: str, times: list[float]) -> None:
    """Print one row."""
    median = statistics.median(times)
    print(f"| {what} | {median:,.0f} | {min(times):,.0f} | {max(times):,.0f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {rounds} rounds\n")
    print("| ms | median | best | worst |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder, "large.yaml"), Path(folder, "small.yaml")
        large.write_text(large_configuration(), encoding="utf-8")
        small.write_text("models: {m: {cmd: 'server --port ${PORT}'}}\n", encoding="utf-8")
        show(f"load {MODELS} models with macros", load_times(large, rounds))
        config = load_config(large, None, environ=os.environ).config
        began = time.perf_counter()
        printable(config)
        show(f"print {MODELS} models", [milliseconds(began)])
        began = time.perf_counter()
        json_schema()
        show("make the schema", [milliseconds(began)])
        show(f"`-check-config`, {MODELS} models", check_times(large, rounds))
        for name, path in (("1 model", small), (f"{MODELS} models", large)):
            show(f"start to /health, {name}", start_times(path, rounds, b"/health", b"200"))
        show("start to /v1/models, 1 model", start_times(small, rounds, b"/v1/models", b"200"))


if __name__ == "__main__":
    main()
