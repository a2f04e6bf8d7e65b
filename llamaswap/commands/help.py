"""`help [COMMAND]`: list the commands, or explain one of them."""

from __future__ import annotations

from collections.abc import Sequence

from llamaswap.commands.arguments import Argument, Line
from llamaswap.commands.dispatch import command_module
from llamaswap.commands.table import COMMANDS
from llamaswap.flags import UsageError, usage

LINE = Line(
    name="help",
    summary="List the commands, or explain one of them.",
    arguments=(Argument("COMMAND", "the command to explain", required=False, kind="command"),),
)
EXIT_CODES = """\
Exit codes: 0 done; 1 it could not be done, and stderr says why; 2 the command line makes no
sense; 130 interrupted with Ctrl-C.
"""


def run(arguments: Sequence[str]) -> int:
    """Print help on stdout."""
    word = LINE.read(arguments).argument()
    if not word:
        print(overview(), end="")
        return 0
    if word not in COMMANDS:
        raise UsageError(f"there is no command '{word}'")
    line = getattr(command_module(word), "LINE", None)
    print(line.usage() if isinstance(line, Line) else f"{word}: {COMMANDS[word]}", end="\n")
    return 0


def overview() -> str:
    """Flags of the server, commands, exit codes."""
    commands = "\n".join(f"  {word:<24}{summary}" for word, summary in COMMANDS.items())
    return (
        f"{usage()}\nCommands: python -m llamaswap COMMAND …\n\n{commands}\n\n"
        f"More about one of them: python -m llamaswap help COMMAND\n\n{EXIT_CODES}"
    )
