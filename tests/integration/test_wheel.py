"""What people install: built from this tree, put into empty environments, run from there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest
import trio

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
VERSION_LINE = re.compile(r"version: \S+ \(\S+\), built at .+\n")


def run(*words: str | Path, env: dict[str, str] | None = None) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(
        words, capture_output=True, text=True, env={**clean, **(env or {})}, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


HAS_UI = (ROOT / "llamaswap/_web/manifest.json").exists() or shutil.which("npm") is not None
"""Whether packages made here hold the web UI: it is built, or can be."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist; the wheel is made from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    env: dict[str, str] = {} if HAS_UI else {"LLAMASWAP_NO_UI": "1"}
    run(UV, "build", "--quiet", "--out-dir", folder, ROOT, env=env)
    return folder


def test_without_npm_a_package_is_not_made_silently_without_its_page(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns("_web", ".*", "node_modules", "tests", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=ignored)
    tools = tmp_path / "tools"  # a search path with neither Node nor npm
    tools.mkdir()
    build: list[str | Path] = [UV, "build", "--wheel", "--python", sys.executable, tree]
    bare = {**os.environ, "PATH": str(tools)}
    refused = subprocess.run(build, capture_output=True, text=True, env=bare, timeout=170)
    assert refused.returncode != 0
    said = " ".join(refused.stderr.split())
    assert "the web UI is not built and npm is not installed: install Node" in said
    assert "LLAMASWAP_NO_UI=1" in said
    run(*build, env={"PATH": str(tools), "LLAMASWAP_NO_UI": "1"})
    [made] = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        assert not any("_web" in name for name in archive.namelist())


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [path] = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and what it asks for, nothing of this tree."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    run(UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python", wheel)
    return folder


def test_the_wheel_holds_the_program_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        metadata = archive.read(next(n for n in archive.namelist() if n.endswith("METADATA")))
    assert {top for top in tops if not top.endswith(".dist-info")} == {"llamaswap"}
    assert b"License-Expression: MIT" in metadata


def test_the_sdist_holds_what_a_packager_needs(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in (
        "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml",
        "packaging/systemd/llamaswap.service", "docs/operations.md", "llamaswap/cli.py",
    ):  # fmt: skip
        assert wanted in names
    assert not any(".venv" in name or "node_modules" in name for name in names)


@pytest.mark.parametrize("program", ["llamaswap", "llama-swap"])
def test_both_console_scripts_are_the_program(environment: Path, program: str) -> None:
    assert VERSION_LINE.fullmatch(run(environment / "bin" / program, "-version"))


def test_every_command_explains_itself_there(environment: Path) -> None:
    script = (
        "from llamaswap.cli import main; from llamaswap.commands.table import COMMANDS;"
        "print([main(['help', word]) for word in COMMANDS], len(COMMANDS))"
    )
    shown = run(environment / "bin" / "python", "-I", "-c", script)
    codes, _, count = shown.splitlines()[-1].rpartition(" ")
    assert codes == str([0] * int(count))
    assert int(count) > 10


async def test_the_demo_serves_and_shows_its_page_from_there(
    environment: Path, tmp_path: Path
) -> None:
    from tests.integration.program import URL, demo_config

    config = demo_config(tmp_path).replace(sys.executable, str(environment / "bin" / "python"))
    process = await trio.lowlevel.open_process(
        [environment / "bin" / "llamaswap", "-config", config, "-listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(60):
            said = b""
            while (match := URL.search(said.decode())) is None:
                data = await process.stdout.receive_some()
                assert data
                said += data
            async with httpx.AsyncClient(base_url=match[1], trust_env=False, timeout=60) as http:
                answer = await http.post(
                    "/v1/chat/completions",
                    json={"model": "demo-small", "max_tokens": 3, "messages": []},
                )
                assert answer.json()["usage"]["completion_tokens"] == 3
                page = await http.get("/ui/")
                assert page.status_code == (200 if HAS_UI else 503)
                assert ("<html" if HAS_UI else "UI not built") in page.text
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(40):
                await process.wait()
            await process.stdout.aclose()
    assert process.returncode == 0


def test_uv_tool_install_gives_the_program(wheel: Path, tmp_path: Path) -> None:
    env = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    run(UV, "tool", "install", "--quiet", "--python", sys.executable, wheel, env=env)
    assert VERSION_LINE.fullmatch(run(tmp_path / "bin" / "llamaswap", "-version"))


def test_pip_and_pipx_instructions_use_a_wheel_that_pip_can_install(
    wheel: Path, tmp_path: Path
) -> None:
    """pipx is pip in an environment of its own, so trying pip there tries both."""
    run(UV, "venv", "--quiet", "--seed", "--python", sys.executable, tmp_path / "venv")
    pip = tmp_path / "venv" / "bin" / "pip"
    run(pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    assert "llamaswap" in run(pip, "list", "--format=freeze")
