"""The words that are commands. Imports nothing, because every start of the server passes by.

A command `some-word` is the module `llamaswap.commands.some_word`. It has a function
`run(arguments: Sequence[str]) -> int` that returns the exit code and may raise `UsageError` (exit
code 2) and `LlamaswapError` (exit code 1); where it reads its arguments with `arguments.Line`, the
line is called `LINE`, and help and shell completion know its flags.
"""

from __future__ import annotations

COMMANDS: dict[str, str] = {
    "init": "write a starting configuration for a folder of GGUF files",
    "check": "configuration, programs, files, ports, GPUs, running instance",
    "status": "models, states, requests and GPUs of a running llamaswap (-watch)",
    "load": "start models and wait until they are ready",
    "unload": "stop one model, or all",
    "logs": "what the program or a model has said (-f follows)",
    "config-schema": "print the JSON schema of the configuration, for editors",
    "simulate": "what another scheduler or layout would have given, from a trace",
    "bench": "send chat requests, report rate and latency",
    "monitor": "what can be measured of this machine and its GPUs (-stream)",
    "fake-model": "a server that pretends to be a model",
    "completion": "completion script for bash, zsh or fish",
    "completion-models": "names of models, for the completion scripts",
    "help": "list the commands, or explain one of them",
}
"""Word: what it does, in the order help shows them."""
