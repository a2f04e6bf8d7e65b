"""The words that are commands. Imports nothing, because every start of the server passes by.

A command `some-word` is the module `llamaswap.commands.some_word`. It has a function
`run(arguments: Sequence[str]) -> int` that returns the exit code and may raise `UsageError` (exit
code 2) and `LlamaswapError` (exit code 1); where it reads its arguments with `arguments.Line`, the
line is called `LINE`, and help and shell completion know its flags.
"""

from __future__ import annotations

COMMANDS: dict[str, str] = {
    "config-schema": "print the JSON schema of the configuration, for editors",
    "help": "list the commands, or explain one of them",
}
"""Word: what it does, in the order help shows them."""
