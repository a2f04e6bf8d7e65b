"""What can be known of a configuration and its machine without starting anything."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from llamaswap.commands.findings import Finding
from llamaswap.config.argv import split_command
from llamaswap.config.load import Loaded
from llamaswap.config.schema import Config, Model
from llamaswap.errors import LlamaswapError
from llamaswap.nursery.command import find_program, start_argv

FILE_FLAGS = frozenset(("-m", "--model", "-mm", "--mmproj", "-md", "--model-draft", "--lora"))
"""Flags of llama-server whose value is a file it reads."""
FILE_ENDINGS = (".gguf", ".bin", ".safetensors")
"""Other values may be names of models, as vLLM takes them."""
GPU_NODES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri/renderD*", "/dev/dxg")


def inspect_config(loaded: Loaded) -> Iterator[Finding]:
    """The configuration itself: it loads, so only doubts and files are left to report."""
    config = loaded.config
    where = ", ".join(loaded.sources)
    yield Finding("configuration", "ok", f"{len(config.models)} models from {where}")
    for warning in loaded.warnings:
        yield Finding("configuration", "warn", str(warning))
    for source in loaded.sources:
        yield from _writable_by_others(Path(source))
    if not config.api_keys:
        text = "no apiKeys: whoever reaches the port may use it and read the logs"
        yield Finding("API keys", "warn", text)


def _writable_by_others(path: Path) -> Iterator[Finding]:
    """The file holds commands: who may write it may run anything."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        text = (
            f"{path} may be changed by others (mode {stat.S_IMODE(mode):04o}), and whoever can "
            f"change it can run commands: chmod go-w {path}"
        )
        yield Finding("configuration", "warn", text)


def inspect_models(config: Config) -> Iterator[Finding]:
    """Every model's programs and files."""
    for model in config.models.values():
        yield from _programs(model)
        yield from _files(model)


def _programs(model: Model) -> Iterator[Finding]:
    topic = f"model {model.id}"
    try:
        yield Finding(topic, "ok", start_argv(model)[0])
    except LlamaswapError as exc:
        yield Finding(topic, "fail", str(exc))
    stop = split_command(model.cmd_stop)
    if stop:
        try:
            find_program(stop)
        except LlamaswapError as exc:
            yield Finding(topic, "fail", f"cmdStop: {exc}")


def _files(model: Model) -> Iterator[Finding]:
    """Model files named in `cmd`. A relative one is taken from here, as the server will take it."""
    words = split_command(model.cmd)
    if not words or Path(words[0]).name in ("docker", "podman", "ssh"):
        return  # its paths are another machine's
    for flag, value in _flag_values(words):
        if value.startswith("~"):
            text = f"{flag} {value}: no shell expands ~ here; write the whole path"
            yield Finding(f"model {model.id}", "fail", text)
        elif value.startswith(("/", ".")) or value.endswith(FILE_ENDINGS):
            if Path(value).exists():
                continue
            text = f"{flag} {value}: no such file (looked from {Path.cwd()})"
            yield Finding(f"model {model.id}", "fail", text)


def _flag_values(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name not in FILE_FLAGS:
            continue
        if equals:
            yield name, value
        elif index + 1 < len(words):
            yield name, words[index + 1]


def inspect_ports(config: Config, *, running: bool) -> Iterator[Finding]:
    """Whether the automatic ports are free. A running llamaswap's models hold some of them."""
    ports = {model.auto_port: model.id for model in config.models.values() if model.auto_port}
    taken = [f"{port} ({model})" for port, model in ports.items() if not port_is_free(port)]
    if not ports:
        yield Finding("ports", "skip", "no model uses ${PORT}")
    elif not taken:
        yield Finding("ports", "ok", f"{min(ports)} to {max(ports)} are free")
    elif running:
        text = f"in use, probably by the models that run: {', '.join(taken)}"
        yield Finding("ports", "ok", text)
    else:
        text = f"in use by other programs: {', '.join(taken)}; choose another startPort"
        yield Finding("ports", "fail", text)


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def inspect_gpu_nodes() -> Iterator[Finding]:
    """Device files of accelerators, and whether this user may open them."""
    found = False
    for pattern in GPU_NODES:
        folder = Path(pattern).parent
        for node in sorted(folder.glob(Path(pattern).name)):
            found = True
            if os.access(node, os.R_OK | os.W_OK):
                yield Finding("GPU devices", "ok", str(node))
            else:
                text = f"{node} may not be opened by this user; add it to group {_group(node)}"
                yield Finding("GPU devices", "fail", text)
    if not found:
        yield Finding("GPU devices", "skip", "no device files of a GPU; models run on the CPU")


def _group(path: Path) -> str:
    try:
        return path.group()
    except KeyError:  # a container often knows the number alone
        return str(path.stat().st_gid)
