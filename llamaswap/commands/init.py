"""`init DIR`: a starting configuration for a folder of GGUF files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from llamaswap.commands.arguments import Argument, Flag, Line
from llamaswap.config.load import load_config
from llamaswap.errors import LlamaswapError
from llamaswap.models_folder.folder import Folder, scan
from llamaswap.models_folder.generate import generate

LINE = Line(
    name="init",
    summary="Write a commented starting configuration for a folder of GGUF files.",
    flags=(
        Flag("output", "path", "file to write; - is stdout", default="config.yaml"),
        Flag("force", "", "replace a file that is there"),
        Flag("server", "COMMAND", "command that runs llama-server", default="llama-server"),
    ),
    arguments=(Argument("DIR", "folder that holds the files", kind="directory"),),
    details=(
        "Reads only the headers: architecture, context, size, quantisation; puts split files\n"
        "together and multimodal projectors to the model beside them; groups by memory."
    ),
)


class AlreadyThere(LlamaswapError):
    """The file would be overwritten."""


def run(arguments: Sequence[str]) -> int:
    """Write the file, check it with the loader, say what it holds."""
    given = LINE.read(arguments)
    output = Path(given.text("output"))
    if str(output) != "-" and output.exists() and not given.on("force"):
        raise AlreadyThere(f"{output} is there already; -force replaces it, -output names another")
    folder = _scan(Path(given.argument()).expanduser())
    text = generate(folder, given.text("server"))
    if str(output) == "-":
        print(text, end="")
        return 0
    # a temporary name first: nobody who watches the file may read half of it
    part = output.with_name(f".{output.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        loaded = load_config(part, None, environ=os.environ)
        part.replace(output)
    except OSError as exc:
        raise LlamaswapError(f"cannot write {output}: {exc}") from exc
    finally:
        part.unlink(missing_ok=True)
    print(f"{output}: {len(loaded.config.models)} models")
    for reason in folder.passed_over:
        print(f"not served: {reason}", file=sys.stderr)
    print(f"next: python -m llamaswap check -config {output}")
    return 0


def _scan(path: Path) -> Folder:
    """Look at the files; a bar on stderr shows that something goes on."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading headers", total=None)
        return scan(path, lambda file: bar.update(task, advance=1, description=file.name[:40]))
