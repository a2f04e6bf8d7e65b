"""From a word on the command line to the command's exit code.

Exit codes of every command: 0 done; 1 it could not be done, and a line on stderr says why; 2 the
command line makes no sense; 130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from llamaswap.commands.arguments import HelpWanted
from llamaswap.commands.table import COMMANDS
from llamaswap.errors import LlamaswapError
from llamaswap.flags import UsageError

INTERRUPTED = 130


def command_module(word: str) -> ModuleType:
    """The module of a command that `COMMANDS` names."""
    return import_module(f"llamaswap.commands.{word.replace('-', '_')}")


def run_command(word: str, arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. `word` may be no command: then 2."""
    if word not in COMMANDS:
        near = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        _say(f"llamaswap: there is no command '{word}'{hint} (python -m llamaswap help)")
        return 2
    try:
        return int(command_module(word).run(arguments))
    except HelpWanted as wish:
        print(wish, end="")
        return 0
    except UsageError as exc:
        _say(f"llamaswap {word}: {exc} (python -m llamaswap help {word})")
        return 2
    except LlamaswapError as exc:
        _say(f"llamaswap {word}: {exc}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output (head, less) has what it wanted; nothing may be flushed any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)
