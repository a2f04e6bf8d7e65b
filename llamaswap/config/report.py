"""What the command line shows of a configuration: a summary, and the resolved whole as YAML.

Neither shows a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from llamaswap.config.load import Loaded
from llamaswap.config.resolved import as_document
from llamaswap.config.scalars import resolve
from llamaswap.config.schema import Config, Group, Model
from llamaswap.config.settings import DEFAULT_UNLOAD_TIMEOUT

HIDDEN = "***"
SHORTEST = 6
"""Characters a key must have to be looked for in other texts: a shorter one would hit words."""
_SECRET_PARTS = frozenset(
    (
        "apikey", "auth", "authorization", "credential", "credentials", "key", "keys", "pass",
        "passphrase", "passwd", "password", "secret", "secrets", "token", "tokens",
    )
)  # fmt: skip
_SECRET_FLAG = re.compile(
    r"""(--?(?:[\w-]*-)?(?:key|token|secret|password|passwd)(?:=|\s+))("[^"]*"|'[^']*'|\S+)""",
    re.IGNORECASE,
)
_FILE_FLAG = re.compile(r"--?[\w-]*file[\w-]*", re.IGNORECASE)
_VARIABLE = re.compile(r"""\b([A-Za-z_][A-Za-z0-9_]*)=("[^"]*"|'[^']*'|[^\s"']+)""")
_CREDENTIALS = re.compile(r"(\b(?:Bearer|Basic)\s+)[^\s\"']+", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"(//[^/@\s:]*:)[^/@\s]+(@)")


def summary(loaded: Loaded) -> str:
    """The configuration on a page: models with their ports, who runs with whom, peers."""
    return "\n".join(_lines(loaded))


def printable(config: Config) -> str:
    """The resolved configuration as YAML, secrets hidden.

    Apart from the secrets it loads back to the same configuration; automatic ports are fixed ones.
    """
    return yaml.dump(
        _without_unchosen(hide_secrets(as_document(config)), config),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )


def hide_secrets(document: dict[str, Any]) -> dict[str, Any]:
    """`document` (as of `as_document`) with every value hidden that is, or looks like, a secret.

    Secrets are the keys of clients and peers wherever they stand; what looks like one: values of
    variables, flags, headers and parameters with such a name, passwords in URLs.
    """
    known = [*document["apiKeys"], *(peer["apiKey"] for peer in document["peers"].values())]
    secrets = sorted({key for key in known if len(key) >= SHORTEST}, key=len, reverse=True)
    models = {name: _hidden_in_model(model) for name, model in document["models"].items()}
    peers = {name: _hidden_in_peer(peer) for name, peer in document["peers"].items()}
    keys = [HIDDEN for _key in document["apiKeys"]]
    hidden: dict[str, Any] = _replaced(document | {"models": models, "peers": peers}, secrets)
    return hidden | {"apiKeys": keys}


def _hidden_in_model(model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **model,
        "cmd": without_secret_words(model["cmd"]),
        "cmdStop": without_secret_words(model["cmdStop"]),
        "proxy": without_password(model["proxy"]),
        "env": [_without_secret_value(entry) for entry in model["env"]],
        "filters": _without_secret_entries(model["filters"]),
        "metadata": _without_secret_entries(model["metadata"]),
    }


def _hidden_in_peer(peer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **peer,
        "apiKey": peer["apiKey"] and HIDDEN,
        "proxy": without_password(peer["proxy"]),
        "filters": _without_secret_entries(peer["filters"]),
    }


def _replaced(value: Any, secrets: list[str]) -> Any:
    """`value` with each of `secrets` hidden in all its texts; keys stay."""
    match value:
        case str():
            for secret in secrets:
                value = value.replace(secret, HIDDEN)
            return value
        case dict():
            return {key: _replaced(entry, secrets) for key, entry in value.items()}
        case list():
            return [_replaced(item, secrets) for item in value]
        case _:
            return value


def _without_secret_entries(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: HIDDEN
                if isinstance(entry, str) and entry and _names_a_secret(key)
                else _without_secret_entries(entry)
                for key, entry in value.items()
            }
        case list():
            return [_without_secret_entries(item) for item in value]
        case _:
            return value


def _names_a_secret(name: str) -> bool:
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    return not _SECRET_PARTS.isdisjoint(re.split(r"[^a-z]+", words))


def without_secret_words(command: str) -> str:
    """A command without the values of flags, variables and headers whose name is a secret's."""

    def hide_flag(match: re.Match[str]) -> str:
        return match[0] if _FILE_FLAG.match(match[0]) else f"{match[1]}{HIDDEN}"

    def hide_variable(match: re.Match[str]) -> str:
        return f"{match[1]}={HIDDEN}" if _names_a_secret(match[1]) else match[0]

    command = _SECRET_FLAG.sub(hide_flag, command)
    command = _VARIABLE.sub(hide_variable, command)
    return without_password(_CREDENTIALS.sub(rf"\1{HIDDEN}", command))


def without_password(url: str) -> str:
    """A URL, or a text with URLs, without their passwords."""
    return _PASSWORD_IN_URL.sub(rf"\1{HIDDEN}\2", url)


def _without_secret_value(entry: str) -> str:
    name, equals, value = entry.partition("=")
    return f"{name}{equals}{HIDDEN}" if value and _names_a_secret(name) else without_password(entry)


def _without_unchosen(document: dict[str, Any], config: Config) -> dict[str, Any]:
    """`document` without the timeouts nobody chose: writing the default counts as a choice."""
    models = {
        name: {key: value for key, value in model.items() if key != "unloadTimeout" or chosen}
        for name, model in document["models"].items()
        for chosen in [config.models[name].unload_timeout_set]
    }
    kept = document | {"models": models}
    if config.unload_timeout == DEFAULT_UNLOAD_TIMEOUT:
        del kept["unloadTimeout"]
    return kept


class _Dumper(yaml.SafeDumper):
    """Writes what our own dialect reads back: text it would take for a number is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is not yaml.ScalarNode or not implicit[0]:
            return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # stubs
        name = _TAGS[type(resolve(value))]
        return f"tag:yaml.org,2002:{name}"


_TAGS = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _lines(loaded: Loaded) -> Iterator[str]:
    config = loaded.config
    yield f"read from {', '.join(loaded.sources) or 'no file'}"
    yield from _section("models", [_model_line(model) for model in config.models.values()])
    yield from _routing_lines(config)
    yield from _section(
        "peers",
        [f"{peer.id}: {without_password(peer.proxy)}, models {', '.join(peer.models)}"
         for peer in config.peers.values()],
    )  # fmt: skip
    yield from _section(
        "selectors",
        [f"{item.id}: {item.strategy} of {', '.join(item.targets)}"
         for item in config.selectors.values()],
    )  # fmt: skip
    yield from _section(
        "profiles",
        [f"{item.name}: {', '.join(item.pins)}" for item in config.profiles.values()],
    )
    if config.preload:
        yield f"loaded after the start: {', '.join(config.preload)}"
    keys = len(config.api_keys)
    yield f"API keys: {keys}" if keys else "API keys: none, so anyone who reaches the port may ask"


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"{title}: {len(lines)}"
        yield from (f"  {line}" for line in lines)


def _model_line(model: Model) -> str:
    address = without_password(model.proxy)
    where = address if model.auto_port is None else f"port {model.auto_port}"
    also = f", also {', '.join(model.aliases)}" if model.aliases else ""
    return f"{model.id}: {where}{also}"


def _routing_lines(config: Config) -> Iterator[str]:
    routing = config.routing
    if routing.matrix is None:
        groups = [_group_line(name, group) for name, group in routing.groups.items()]
        yield from _section("groups", groups)
    else:
        sets = [f"{name}: {text.strip()}" for name, text in routing.matrix.sets.items()]
        yield from _section("sets", sets)
    yield f"scheduler: {routing.scheduler}"


def _group_line(name: str, group: Group) -> str:
    how = ["one at a time" if group.swap else "all together"]
    how += [] if group.exclusive else ["leaves other groups alone"]
    how += ["never stopped by other groups"] if group.persistent else []
    return f"{name}: {', '.join(group.members) or 'no models'} ({', '.join(how)})"
