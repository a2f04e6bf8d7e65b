"""What is wrong with a configuration: one problem, and the error that carries them all.

Source: config part 8.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from attrs import define, field, frozen

from llamaswap.errors import LlamaswapError

KeyPath = tuple[str | int, ...]
"""Steps from the root of the document: keys and list indexes."""

_BARE_KEY = re.compile(r'[^\s.\[\]":]+(?:[/:][^\s.\[\]":]+)*', re.ASCII)


class Place(NamedTuple):
    """Where something stands."""

    file: str | None
    line: int | None


NOWHERE = Place(None, None)


@frozen
class Problem:
    """One thing that is wrong, or only doubtful; `str(problem)` is the line a person reads."""

    code: str
    """`E-…` of config part 8, or `W-…` for a warning."""
    text: str
    path: KeyPath = ()
    place: Place = NOWHERE

    @property
    def file(self) -> str | None:
        """The file it stands in, as the operator named it."""
        return self.place.file

    @property
    def line(self) -> int | None:
        """The line in that file, from 1."""
        return self.place.line

    def __str__(self) -> str:
        where = ":".join(str(part) for part in self.place if part is not None)
        parts = [where, key_path(self.path), self.text]
        return _on_one_line(f"{': '.join(part for part in parts if part)} [{self.code}]")


class ConfigInvalid(LlamaswapError):
    """The configuration cannot be used; carries every problem of the stage that failed."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def _on_one_line(text: str) -> str:
    """`text` with what would break a line, or a terminal, escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def key_path(path: KeyPath) -> str:
    """`path` as a person writes it: ``models.phi.env[2]``; keys with dots are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE_KEY.fullmatch(step) else f'"{step}"')
    return text


@define
class Findings:
    """Collects errors and warnings of one load; knows where each key path stands."""

    locate: Callable[[KeyPath], Place] = field(default=lambda _path: NOWHERE)
    errors: list[Problem] = field(factory=list)
    warnings: list[Problem] = field(factory=list)

    def error(self, code: str, path: KeyPath, text: str) -> None:
        """Note that the configuration must be refused."""
        self.errors.append(Problem(code, text, path, self.locate(path)))

    def warn(self, code: str, path: KeyPath, text: str) -> None:
        """Note something that is accepted but looks wrong."""
        self.warnings.append(Problem(code, text, path, self.locate(path)))

    def raise_errors(self) -> None:
        """End the load if anything so far refuses it.

        Raises:
            ConfigInvalid: with all errors so far.
        """
        if self.errors:
            raise ConfigInvalid(tuple(self.errors))
