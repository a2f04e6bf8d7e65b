"""What README and docs show: blocks of code, and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")


@frozen
class Block:
    """One fenced block."""

    file: str
    line: int
    language: str
    """All that stands behind the fence."""
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def documents() -> list[Path]:
    """README, CHANGELOG and everything below docs/."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks() -> Iterator[Block]:
    """Every fenced block."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            yield Block(str(path.relative_to(ROOT)), line, match[1].strip(), match[2])


def commands() -> Iterator[tuple[str, str]]:
    """Where it stands, and the command, for every line of every `sh` block."""
    for block in blocks():
        if block.language == "sh":
            for number, line in enumerate(block.text.splitlines()):
                if line.strip() and not line.startswith("#"):
                    yield f"{block.file}:{block.line + number}", line
