"""From the text of `cmd` to an argv and an environment. Source: lifecycle §1.3, config part 4."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from llamaswap.config.argv import split_command
from llamaswap.config.schema import Model
from llamaswap.errors import UpstreamNotSpawned
from llamaswap.nursery.masking import shown_command
from llamaswap.nursery.process_group import MARK_VARIABLE, Mark


def start_argv(model: Model) -> list[str]:
    """The argv of the model's server, its program found.

    Raises:
        UpstreamNotSpawned: `cmd` holds no word, or there is no such program.
    """
    argv = split_command(model.cmd)
    if not argv:
        raise UpstreamNotSpawned(
            f"unable to get sanitized command: empty command (models.{model.id}.cmd)"
        )
    return [find_program(argv), *argv[1:]]


def stop_argv(model: Model, pid: int) -> list[str]:
    """The argv of `cmdStop` for leader `pid`; empty: stop with SIGTERM.

    Raises:
        UpstreamNotSpawned: there is no such program.
    """
    argv = split_command(model.cmd_stop.replace("${PID}", str(pid)))
    return [find_program(argv), *argv[1:]] if argv else []


def find_program(argv: Sequence[str]) -> str:
    """Look the first word up in the program's own PATH, never in one from the model's `env`.

    Raises:
        UpstreamNotSpawned: nothing executable by that name.
    """
    word = argv[0]
    if os.sep in word:
        if os.access(word, os.X_OK) and not Path(word).is_dir():
            return word
        reason = "permission denied" if Path(word).exists() else "no such file"
    else:
        # an empty or `.` entry would run whatever lies in the working directory
        entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
        path = os.pathsep.join(entry for entry in entries if entry not in ("", "."))
        found = shutil.which(word, path=path)
        if found is not None:
            return found
        reason = "executable file not found in $PATH"
    shown = shown_command(argv)
    raise UpstreamNotSpawned(f"failed to start command '{shown}': {word}: {reason}")


def environment(model: Model, mark: Mark) -> Mapping[str, str]:
    """The program's own environment, then the model's `env`, then our mark."""
    env = dict(os.environ)
    for entry in model.env:
        name, equals, value = entry.partition("=")
        if equals and name:
            env[name] = value
    env[MARK_VARIABLE] = str(mark)
    return env
