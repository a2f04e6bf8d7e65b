"""Command line flags, parsed the way existing scripts and container entry points expect.

One or two dashes, value as next argument or after `=`, no abbreviations; the first argument that is
no flag ends the flags and everything after it is ignored. Source: config §1.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, frozen

TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})
FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})


class UsageError(Exception):
    """The command line makes no sense; the text says why."""


@frozen
class Flag:
    """One flag as the usage text shows it."""

    name: str
    value: str
    """What its value is called; empty for a boolean."""
    help: str


FLAGS = (
    Flag("config", "path", "configuration file; without any, built-in demo models are served"),
    Flag("config-dir", "dir", "directory of *.yml and *.yaml files, merged after -config"),
    Flag("models-dir", "dir", "serve the *.gguf files of a folder, without a configuration file"),
    Flag("listen", "host:port", "address to serve on (default :8080, :8443 with TLS)"),
    Flag("tls-cert-file", "path", "PEM certificate chain; HTTPS together with -tls-key-file"),
    Flag("tls-key-file", "path", "PEM key"),
    Flag("watch-config", "", "reload when the configuration changes"),
    Flag("check-config", "", "check the configuration, print what is wrong or would run, exit"),
    Flag("print-config", "", "print the resolved configuration without its secrets, exit"),
    Flag("version", "", "print the version and exit"),
    Flag("help", "", "print this text and exit"),
)
BY_NAME = {flag.name: flag for flag in FLAGS} | {"h": FLAGS[-1]}


@define
class Options:
    """What the command line says; empty strings stand for what was not given."""

    config: str = ""
    config_dir: str = ""
    models_dir: str = ""
    listen: str = ""
    tls_cert_file: str = ""
    tls_key_file: str = ""
    watch_config: bool = False
    check_config: bool = False
    print_config: bool = False
    version: bool = False
    help: bool = False


def parse_flags(arguments: Sequence[str]) -> Options:
    """Read the flags. The last of repeated ones wins.

    Raises:
        UsageError: unknown flag, missing value, or a boolean that is none.
    """
    options = Options()
    rest = list(arguments)
    while rest:
        word = rest[0]
        if not word.startswith("-") or word in ("-", "--"):
            break
        rest.pop(0)
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {word}")
        flag = BY_NAME.get(name)
        if flag is None:
            raise UsageError(f"flag provided but not defined: -{name}")
        attribute = flag.name.replace("-", "_")
        if not flag.value:
            setattr(options, attribute, _boolean(name, value) if equals else True)
        elif equals:
            setattr(options, attribute, value)
        elif rest:
            setattr(options, attribute, rest.pop(0))
        else:
            raise UsageError(f"flag needs an argument: -{name}")
    return options


def _boolean(name: str, value: str) -> bool:
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise UsageError(f"invalid boolean value {value!r} for -{name}")


def usage() -> str:
    """The flag list."""
    lines = ["Usage: python -m llamaswap [flags]", ""]
    for flag in FLAGS:
        left = f"  -{flag.name} {flag.value}".rstrip()
        lines.append(f"{left:<26}{flag.help}")
    return "\n".join(lines) + "\n"
