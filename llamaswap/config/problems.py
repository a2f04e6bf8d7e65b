"""What is wrong with a configuration: one problem, and the error that carries them all.

Source: config part 8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from attrs import define, evolve, field, frozen

from llamaswap.errors import LlamaswapError

KeyPath = tuple[str | int, ...]
"""Steps from the root of the document: keys and list indexes."""

_BARE_KEY = re.compile(r'[^\s.\[\]":]+(?:[/:][^\s.\[\]":]+)*', re.ASCII)


class Place(NamedTuple):
    """Where something stands."""

    file: str | None
    line: int | None


NOWHERE = Place(None, None)
NAMED = 5
"""Further places of a mistake that are named; of more it is said how many."""


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
    """The configuration cannot be used; carries everything that is wrong with it.

    `warnings`: what is doubtful besides. They often say why, as an unknown key does that was meant
    for one that is missing.
    """

    def __init__(self, problems: tuple[Problem, ...], warnings: tuple[Problem, ...] = ()) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
        self.warnings = warnings


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


def gathered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """`problems` with what is one mistake to its writer as one: a shared snippet has many places.

    The others are named in the text, so that nothing is lost where a line holds several mistakes.
    """
    alike: dict[object, list[Problem]] = {}
    for problem in problems:
        shared = problem.line is not None and problem.path
        key = (problem.code, problem.text, problem.place, problem.path[-1]) if shared else object()
        alike.setdefault(key, []).append(problem)
    return tuple(first if not rest else _also(first, rest) for first, *rest in alike.values())


def _also(first: Problem, rest: list[Problem]) -> Problem:
    paths = [key_path(problem.path) for problem in rest[:NAMED]]
    if more := len(rest) - len(paths):
        paths.append(f"{more} more")
    return evolve(first, text=f"{first.text} (the same: {', '.join(paths)})")


@define
class Findings:
    """Collects errors and warnings of one load; knows where each key path stands.

    No error stops the load, so that one look shows all of them. What must not be shown are errors
    that are there only because of another: whatever an earlier stage refused is *spoiled*, and no
    later stage has anything to say about it or about what stands below it.
    """

    locate: Callable[[KeyPath], Place] = field(default=lambda _path: NOWHERE)
    errors: list[Problem] = field(factory=list)
    warnings: list[Problem] = field(factory=list)
    incomplete: bool = False
    """Whether a file could not be read: what seems to be missing may stand there."""
    _spoiled: set[KeyPath] = field(factory=set)
    """By earlier stages."""
    _spoiling: list[KeyPath] = field(factory=list)
    """By this stage."""
    _kept: dict[KeyPath, list[int]] = field(factory=dict)

    def error(self, code: str, path: KeyPath, text: str) -> None:
        """Note that the configuration must be refused, if that is not a consequence only."""
        path = self._as_written(path)
        if not self.is_spoiled(path):
            self.errors.append(Problem(code, text, path, self.locate(path)))
            self.spoil(path)

    def warn(self, code: str, path: KeyPath, text: str, *, about_key: bool = False) -> None:
        """Note something that is accepted but looks wrong.

        `about_key`: it is the key that looks wrong, whatever its value is.
        """
        path = self._as_written(path)
        if about_key or not self.is_spoiled(path):
            self.warnings.append(Problem(code, text, path, self.locate(path)))

    def spoil(self, path: KeyPath) -> None:
        """Let no later stage judge what stands at `path`."""
        self._spoiling.append(path)

    def next_stage(self) -> None:
        """Begin a stage: from now on what is spoiled so far is not judged."""
        self._spoiled.update(self._spoiling)
        self._spoiling.clear()

    def is_spoiled(self, path: KeyPath) -> bool:
        """Whether an earlier stage refused `path` or something above it."""
        spoiled = self._spoiled
        return bool(spoiled) and any(path[:end] in spoiled for end in range(1, len(path) + 1))

    def is_doubtful(self, path: KeyPath) -> bool:
        """Whether anything at `path`, above or below it has been refused, also by this stage."""
        return any(
            bad[: len(path)] == path[: len(bad)] for bad in (*self._spoiled, *self._spoiling)
        )

    def spoiled(self) -> list[KeyPath]:
        """Everything that has been refused so far, in no order."""
        return [*self._spoiled, *self._spoiling]

    def keep_items(self, path: KeyPath, indexes: list[int]) -> None:
        """Tell that of the list at `path` only the items with these `indexes` are passed on."""
        self._kept[path] = indexes

    def raise_errors(self) -> None:
        """End the load if anything so far refuses it.

        Raises:
            ConfigInvalid: with all errors so far.
        """
        if self.errors:
            raise ConfigInvalid(gathered(self.errors), gathered(self.warnings))

    def _as_written(self, path: KeyPath) -> KeyPath:
        """`path` with the index that an item has in the file."""
        for at, step in enumerate(path) if self._kept else ():
            if isinstance(step, int) and (kept := self._kept.get(path[:at])) is not None:
                return (*path[:at], kept[step], *path[at + 1 :])
        return path
