"""The shipped snippets for nginx and Caddy, with the real programs in front of the real one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from tests.integration.certificates import self_signed
from tests.integration.processes import free_port
from tests.integration.program import Program, demo_config, started

PACKAGING = Path(__file__).parents[2] / "packaging"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
CADDY = shutil.which("caddy")
REQUIRED = bool(os.environ.get("LLAMASWAP_REQUIRE_ALL"))


def needs(program: str | None, name: str) -> pytest.MarkDecorator:
    """Skip where a program is missing; where everything is required, fail instead."""
    missing = program is None and not REQUIRED
    return pytest.mark.skipif(missing, reason=f"{name} is not installed: snippet not tried")


def nginx_config(folder: Path, port: int, upstream: str) -> Path:
    """The snippet inside a whole configuration, with this test's address and certificate."""
    snippet = (PACKAGING / "nginx" / "llamaswap.conf").read_text()
    cert, key = self_signed(folder, "localhost")
    for old, new in (
        ("127.0.0.1:8080", upstream.removeprefix("http://")),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/certs/llm.example.org.pem", str(cert)),
        ("/etc/ssl/private/llm.example.org.key", str(key)),
    ):
        assert old in snippet
        snippet = snippet.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{snippet}\n}}\n"
    )
    return path


def caddy_config(folder: Path, port: int, upstream: str) -> Path:
    snippet = (PACKAGING / "caddy" / "Caddyfile").read_text()
    assert "llm.example.org {" in snippet
    assert "reverse_proxy 127.0.0.1:8080" in snippet
    snippet = snippet.replace("llm.example.org {", f"http://127.0.0.1:{port} {{")
    snippet = snippet.replace("127.0.0.1:8080", upstream.removeprefix("http://"))
    path = folder / "Caddyfile"
    path.write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{snippet}")
    return path


@asynccontextmanager
async def running(command: list[str], url: str, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The reverse proxy, once it answers."""
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    log = folder / "proxy.log"
    with log.open("w") as output:
        process = await trio.lowlevel.open_process(command, stdout=output, stderr=output, env=env)
    try:
        async with httpx.AsyncClient(
            base_url=url, verify=False, trust_env=False, timeout=60
        ) as http:
            with trio.fail_after(30):
                while True:
                    assert process.poll() is None, log.read_text()
                    try:
                        if (await http.get("/health")).status_code == 200:
                            break
                    except httpx.TransportError:
                        pass
                    await trio.sleep(0.05)
            yield http
    finally:
        with trio.CancelScope(shield=True):
            process.kill()  # a polite one waits for streams to end
            await process.wait()


async def streams_as_it_comes(program: Program, http: httpx.AsyncClient) -> None:
    """Tokens, events, logs and uploads pass unbuffered; the client's address arrives."""
    body = {
        "model": "demo-small",
        "stream": True,
        "max_tokens": 40,  # 60 a second: two thirds of a second from first to last
        "messages": [{"role": "user", "content": "x"}],
    }
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        arrived = [trio.current_time() async for _ in answer.aiter_raw()]
    # buffered, everything would come in one or two reads at the end
    assert len(arrived) >= 10
    assert arrived[-1] - arrived[0] >= 0.3
    async with http.stream("GET", "/logs/stream/proxy") as log:
        chunks = log.aiter_raw()
        with trio.fail_after(20):
            seen = b""
            while b"POST /v1/chat/completions" not in seen:
                seen += await anext(chunks)
        await http.get("/running", headers={"User-Agent": "while-it-streams"})
        with trio.fail_after(20):
            while b"while-it-streams" not in seen:
                seen += await anext(chunks)
        await chunks.aclose()  # type: ignore[attr-defined]
    big = {"model": "demo-embed", "input": "x" * 3_000_000}
    answer = await http.post("/v1/embeddings", json=big)
    assert answer.status_code == 200
    assert "127.0.0.1" in program.log()


@needs(NGINX, "nginx")
async def test_nginx_passes_streams_on_as_they_come(tmp_path: Path) -> None:
    assert NGINX is not None, "nginx is required here and not installed"
    async with started("-config", demo_config(tmp_path)) as program:
        port = free_port()
        config = nginx_config(tmp_path, port, program.url)
        command = [NGINX, "-p", str(tmp_path), "-c", str(config)]
        async with running(command, f"https://127.0.0.1:{port}", tmp_path) as http:
            with trio.fail_after(60):
                await streams_as_it_comes(program, http)


@needs(CADDY, "caddy")
async def test_caddy_passes_streams_on_as_they_come(tmp_path: Path) -> None:
    assert CADDY is not None, "caddy is required here and not installed"
    async with started("-config", demo_config(tmp_path)) as program:
        port = free_port()
        config = caddy_config(tmp_path, port, program.url)
        command = [CADDY, "run", "--config", str(config), "--adapter", "caddyfile"]
        async with running(command, f"http://127.0.0.1:{port}", tmp_path) as http:
            with trio.fail_after(60):
                await streams_as_it_comes(program, http)


@needs(CADDY, "caddy")
def test_caddy_accepts_the_file_as_shipped(tmp_path: Path) -> None:
    assert CADDY is not None, "caddy is required here and not installed"
    done = subprocess.run(
        [CADDY, "validate", "--adapter", "caddyfile", "--config", PACKAGING / "caddy/Caddyfile"],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
