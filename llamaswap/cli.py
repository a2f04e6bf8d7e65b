"""The command line: flags, checks before the start, exit codes. Source: config §1.1–1.3.

A first argument that is no flag is a command, see `commands/`. Exit codes: 0 after `-version`, `-h`
and an orderly shutdown; 1 for whatever keeps the program from serving; 2 for a command line that
makes no sense.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llamaswap.errors import LlamaswapError
from llamaswap.flags import Options, UsageError, parse_flags, usage

if TYPE_CHECKING:
    import ssl

    from llamaswap.config.load import Loaded
    from llamaswap.config.watch import Signature, Watched

DEFAULT_SERVER = "llama-server"
DEMO_LISTEN = "127.0.0.1:8080"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program, or the command that the first argument names; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and not arguments[0].startswith("-"):
        from llamaswap.commands.dispatch import run_command  # the server does without

        return run_command(arguments[0], arguments[1:])
    try:
        options = parse_flags(arguments)
    except UsageError as exc:
        print(f"{exc}\n\n{usage()}", file=sys.stderr, end="")
        return 2
    if options.version:
        print(version_line())
        return 0
    if options.help:
        print(usage(), file=sys.stderr, end="")
        return 0
    try:
        return _start(options)
    except LlamaswapError as exc:
        print(f"llamaswap: {exc}", file=sys.stderr)
        for warning in getattr(exc, "warnings", ()):  # of a configuration: they may say why
            print(f"warning: {warning}", file=sys.stderr)
        return 1


def version_line() -> str:
    """`version: 1.2.3 (abcd1234), built at unknown`."""
    from llamaswap.version import BUILD_DATE, COMMIT, VERSION

    return f"version: {VERSION} ({COMMIT}), built at {BUILD_DATE}"


def _start(options: Options) -> int:
    tls = _tls_context(options)
    _check_sources(options)
    demo = not options.config and not options.config_dir and not options.models_dir
    checking = options.check_config or options.print_config
    watched = _watched(options) if options.watch_config and not checking else {}
    loaded = _load_demo() if demo else _load(options)
    if checking:
        from llamaswap.config.report import printable, summary

        for warning in loaded.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(printable(loaded.config) if options.print_config else summary(loaded))
        return 0
    # from here on the program starts; what only a start needs is imported only now
    import trio

    from llamaswap.app import Program
    from llamaswap.demo.welcome import welcome
    from llamaswap.memory import use_one_arena

    use_one_arena()
    default = DEMO_LISTEN if demo else (":8443" if tls else ":8080")
    program = Program(
        loaded=loaded,
        listen=options.listen or default,
        tls=tls,
        load=None if demo else partial(_load, options),
        watched=watched,
        on_listening=(lambda url: print(welcome(url), flush=True)) if demo else (lambda url: None),
    )
    return trio.run(program.run)


def _load(options: Options, sticky_ports: Mapping[str, int] | None = None) -> Loaded:
    from llamaswap.config.load import load_config

    if options.models_dir:
        return _load_folder(Path(options.models_dir), sticky_ports)
    return load_config(*_sources(options), environ=os.environ, sticky_ports=sticky_ports)


def _sources(options: Options) -> tuple[Path | None, Path | None]:
    return (
        Path(options.config) if options.config else None,
        Path(options.config_dir) if options.config_dir else None,
    )


def _watched(options: Options) -> dict[Watched, Signature]:
    """Looked at before the load, so that no later change is missed."""
    from llamaswap.config.watch import sources_of

    return sources_of(*_sources(options))


def _check_sources(options: Options) -> None:
    if not options.models_dir:
        return
    if options.config or options.config_dir:
        raise LlamaswapError(
            "-models-dir serves a folder without a configuration; to change something, write one "
            f"with `init {options.models_dir}` and use it with -config"
        )
    if options.watch_config:
        raise LlamaswapError(
            "-watch-config does not watch -models-dir; SIGHUP makes llamaswap look at it again"
        )


def _load_folder(folder: Path, sticky_ports: Mapping[str, int] | None) -> Loaded:
    from llamaswap.models_folder.folder import scan
    from llamaswap.models_folder.generate import generate

    found = scan(folder.expanduser())
    for reason in found.passed_over:
        print(f"warning: not served: {reason}", file=sys.stderr)
    return _load_text(generate(found, DEFAULT_SERVER), sticky_ports)


def _load_demo() -> Loaded:
    from llamaswap.demo.config import demo_config_text

    return _load_text(demo_config_text(sys.executable))


def _load_text(text: str, sticky_ports: Mapping[str, int] | None = None) -> Loaded:
    """A configuration that we wrote ourselves."""
    import tempfile

    from llamaswap.config.load import load_config

    with tempfile.TemporaryDirectory(prefix="llamaswap-") as folder:
        path = Path(folder, "built-in.yaml")
        path.write_text(text, encoding="utf-8")
        return load_config(path, None, environ=os.environ, sticky_ports=sticky_ports)


def _tls_context(options: Options) -> ssl.SSLContext | None:
    if not options.tls_cert_file and not options.tls_key_file:
        return None
    if not (options.tls_cert_file and options.tls_key_file):
        raise LlamaswapError("-tls-cert-file and -tls-key-file are needed together, or neither")
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(options.tls_cert_file, options.tls_key_file)
    except OSError as exc:
        raise LlamaswapError(
            f"cannot use {options.tls_cert_file} and {options.tls_key_file} for TLS: {exc}"
        ) from exc
    return context
