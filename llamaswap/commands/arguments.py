"""What a command takes, read by the same rules as the program's own flags.

One or two dashes, value as next argument or after `=`, no abbreviations, the last of repeated flags
wins. Unlike the program's own flags they may stand before, between and after the other arguments;
after `--` nothing is a flag. Source: telemetry §7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from llamaswap.flags import FALSE, TRUE, UsageError

DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h)")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class HelpWanted(Exception):
    """The command line asks for an explanation of the command."""


@frozen
class Flag:
    """One flag of a command."""

    name: str
    value: str
    """What its value is called; empty for a boolean."""
    help: str
    default: str = ""
    environ: str = ""
    """The environment variable that stands in for it."""
    choices: tuple[str, ...] = ()


@frozen
class Argument:
    """An argument that is no flag."""

    name: str
    help: str
    required: bool = True
    many: bool = False
    kind: str = ""
    """What completes it: `model`, `command`, `file` or `directory`."""


@frozen
class Given:
    """What a command line says."""

    flags: Mapping[str, str]
    arguments: tuple[str, ...]

    def text(self, name: str) -> str:
        """The value of a flag; empty if it was not given and has no default."""
        return self.flags.get(name, "")

    def on(self, name: str) -> bool:
        """Whether a boolean flag is set."""
        return self.flags.get(name) == "true"

    def argument(self, index: int = 0) -> str:
        """The argument at a place; empty if there is none."""
        return self.arguments[index] if index < len(self.arguments) else ""

    def count(self, name: str, *, least: int = 1) -> int:
        """A whole number. Raises UsageError if it is none or below `least`."""
        text = self.text(name)
        if not re.fullmatch(r"-?\d+", text) or int(text) < least:
            raise UsageError(f"-{name} must be a whole number from {least} on, not {text!r}")
        return int(text)

    def number(self, name: str) -> float:
        """Any number. Raises UsageError if it is none."""
        try:
            return float(self.text(name))
        except ValueError:
            raise UsageError(f"-{name} must be a number, not {self.text(name)!r}") from None

    def seconds(self, name: str) -> float:
        """A duration such as `90s`, `1m30s` or `0`, in seconds. Raises UsageError."""
        return parse_duration(name, self.text(name))


def parse_duration(name: str, text: str) -> float:
    """`90s`, `1m30s`, `500ms`, `0` in seconds. Raises UsageError naming the flag."""
    if text == "0":
        return 0.0
    parts = DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"-{name} must be a duration such as 90s or 1m30s, not {text!r}")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


@frozen(kw_only=True)
class Line:
    """Everything a command takes, for reading it, explaining it and completing it."""

    name: str
    summary: str
    flags: tuple[Flag, ...] = ()
    arguments: tuple[Argument, ...] = ()
    details: str = ""
    program: str = "python -m llamaswap"
    rest: str = ""
    """What follows `--` untouched, if the command wants such a thing."""
    _by_name: dict[str, Flag] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {flag.name: flag for flag in self.flags})

    def read(self, arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> Given:
        """Read a command line.

        Raises:
            UsageError: unknown flag, missing value, a boolean that is none, too few or too many
                arguments.
            HelpWanted: `-h` or `-help`; holds the text.
        """
        values = {flag.name: self._default(flag, environ) for flag in self.flags}
        words: list[str] = []
        rest = list(arguments)
        while rest:
            word = rest.pop(0)
            if word == "--":
                words += rest
                break
            if not word.startswith("-") or word == "-":
                words.append(word)
                continue
            name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
            flag = self._by_name.get(name)
            if flag is None and name in ("h", "help"):
                raise HelpWanted(self.usage())
            if flag is None:
                raise UsageError(f"there is no flag {word.partition('=')[0]}")
            if not flag.value:
                values[name] = _boolean(name, value) if equals else "true"
            elif equals or rest:
                values[name] = value if equals else rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: -{name}")
            if flag.choices and values[name] not in flag.choices:
                raise UsageError(f"-{name} must be one of {', '.join(flag.choices)}")
        self._check_number(words)
        return Given(values, tuple(words))

    def _default(self, flag: Flag, environ: Mapping[str, str]) -> str:
        return (environ.get(flag.environ) if flag.environ else None) or flag.default

    def _check_number(self, words: Sequence[str]) -> None:
        least = sum(argument.required for argument in self.arguments)
        if len(words) < least:
            missing = self.arguments[len(words)].name
            raise UsageError(f"{missing} is missing")
        endless = bool(self.rest) or any(argument.many for argument in self.arguments)
        if len(words) > len(self.arguments) and not endless:
            raise UsageError(f"unexpected argument {words[len(self.arguments)]!r}")

    def usage(self) -> str:
        """What `help` shows."""
        shape = " ".join(
            [
                *(["[flags]"] if self.flags else []),
                *(_shape(argument) for argument in self.arguments),
                *([f"-- {self.rest}"] if self.rest else []),
            ]
        )
        lines = [f"Usage: {self.program} {self.name} {shape}".rstrip(), "", self.summary]
        if self.details:
            lines += ["", self.details.strip()]
        if self.arguments or self.flags:
            lines.append("")
        lines += [f"  {argument.name:<24}{argument.help}" for argument in self.arguments]
        lines += [_explained(flag) for flag in self.flags]
        return "\n".join(lines) + "\n"


def _shape(argument: Argument) -> str:
    name = argument.name + ("…" if argument.many else "")
    return name if argument.required else f"[{name}]"


def _explained(flag: Flag) -> str:
    left = f"  -{flag.name} {flag.value}".rstrip()
    notes = [f"default {flag.default}"] if flag.default else []
    notes += [f"environment {flag.environ}"] if flag.environ else []
    notes += [" | ".join(flag.choices)] if flag.choices else []
    return f"{left:<26}{flag.help}" + (f" ({'; '.join(notes)})" if notes else "")


def _boolean(name: str, value: str) -> str:
    if value in TRUE:
        return "true"
    if value in FALSE:
        return ""
    raise UsageError(f"invalid boolean value {value!r} for -{name}")
