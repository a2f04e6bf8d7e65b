"""`completion SHELL`: a script that teaches bash, zsh or fish the commands, flags and models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llamaswap.commands.arguments import Argument, Line
from llamaswap.commands.dispatch import command_module
from llamaswap.commands.table import COMMANDS
from llamaswap.flags import FLAGS, UsageError

LINE = Line(
    name="completion",
    summary="Print a completion script for bash, zsh or fish.",
    arguments=(Argument("SHELL", "bash, zsh or fish"),),
    details="""\
bash:  source <(llamaswap completion bash)            in ~/.bashrc
zsh:   source <(llamaswap completion zsh)             in ~/.zshrc, after compinit
fish:  llamaswap completion fish > ~/.config/fish/completions/llamaswap.fish""",
)
SHELLS = ("bash", "zsh", "fish")


def run(arguments: Sequence[str]) -> int:
    """Print the script."""
    shell = LINE.read(arguments).argument()
    if shell not in SHELLS:
        raise UsageError(f"SHELL must be one of {', '.join(SHELLS)}, not {shell!r}")
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](), end="")
    return 0


def flags_of(word: str) -> list[tuple[str, str]]:
    """Name and help of every flag of a command."""
    line = getattr(command_module(word), "LINE", None)
    return [(flag.name, flag.help) for flag in line.flags] if isinstance(line, Line) else []


def completed_by(word: str) -> str:
    """What completes the command's arguments: `model`, `command`, `directory` or nothing."""
    line = getattr(command_module(word), "LINE", None)
    kinds = [argument.kind for argument in line.arguments] if isinstance(line, Line) else []
    return kinds[0] if kinds else ""


def _bash() -> str:
    cases = "\n".join(_bash_case(word) for word in COMMANDS)
    flags = " ".join(f"-{flag.name}" for flag in FLAGS)
    return f"""\
# bash completion of llamaswap
_llamaswap() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[1]}}" words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{" ".join(COMMANDS)} {flags}"
    else
        case "$command" in
{cases}
            -*) words="{flags}" ;;
        esac
    fi
    if [ "${{COMP_WORDS[COMP_CWORD-1]}}" = -config ]; then words=""; fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [ -z "$words" ]; then COMPREPLY=($(compgen -f -- "$current")); fi
}}
complete -o default -F _llamaswap llamaswap llama-swap
"""


def _bash_case(word: str) -> str:
    flags = " ".join(f"-{name}" for name, _ in flags_of(word))
    match completed_by(word):
        case "model":
            more = ' $("${COMP_WORDS[0]}" completion-models 2>/dev/null)'
        case "command":
            more = " " + " ".join(COMMANDS)
        case "directory":
            more = ' $(compgen -d -- "$current")'
        case _:
            more = " " + " ".join(SHELLS) if word == "completion" else ""
    return f'            {word}) words="{flags}{more}" ;;'


def _zsh() -> str:
    words = "\n".join(f"        '{word}:{_plain(text)}'" for word, text in COMMANDS.items())
    return f"""\
#compdef llamaswap llama-swap
# zsh completion of llamaswap
_llamaswap() {{
    local -a commands flags
    commands=(
{words}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        flags=({_zsh_flags((flag.name, flag.help) for flag in FLAGS)})
        _describe flag flags
        return
    fi
    case "$words[2]" in
{chr(10).join(_zsh_case(word) for word in COMMANDS)}
        *) _files ;;
    esac
}}
compdef _llamaswap llamaswap llama-swap
"""


def _zsh_case(word: str) -> str:
    match completed_by(word):
        case "model":
            more = "compadd -- $($words[1] completion-models 2>/dev/null)"
        case "command":
            more = "_describe command commands"
        case "directory":
            more = "_directories"
        case _:
            more = "compadd bash zsh fish" if word == "completion" else "_files"
    return f"        {word}) flags=({_zsh_flags(flags_of(word))}); _describe flag flags; {more} ;;"


def _zsh_flags(flags: object) -> str:
    assert hasattr(flags, "__iter__")
    return " ".join(f"'-{name}:{_plain(text)}'" for name, text in flags)


def _fish() -> str:
    return "".join(f"{line}\n" for line in _fish_lines())


def _fish_lines() -> Iterator[str]:
    yield "# fish completion of llamaswap"
    for program in ("llamaswap", "llama-swap"):
        base = f"complete -c {program}"
        for word, text in COMMANDS.items():
            yield f"{base} -n __fish_use_subcommand -f -a {word} -d '{_plain(text)}'"
        for flag in FLAGS:
            yield f"{base} -n __fish_use_subcommand -o {flag.name} -d '{_plain(flag.help)}'"
        for word in COMMANDS:
            here = f"{base} -n '__fish_seen_subcommand_from {word}'"
            for name, text in flags_of(word):
                yield f"{here} -o {name} -d '{_plain(text)}'"
            match completed_by(word):
                case "model":
                    yield f"{here} -f -a '({program} completion-models 2>/dev/null)'"
                case "command":
                    yield f"{here} -f -a '{' '.join(COMMANDS)}'"
                case _ if word == "completion":
                    yield f"{here} -f -a '{' '.join(SHELLS)}'"


def _plain(text: str) -> str:
    """Text that needs no escaping in single quotes, and no colon for zsh."""
    return text.replace("'", "").replace(":", ",")
