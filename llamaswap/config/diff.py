"""Which models a new configuration leaves alone.

A process has to be replaced only if what it was started with changed. Everything else about a model
(its ttl, names, filters, limits, what people read about it) takes effect while it runs.

Source: config §1.7 step 8, lifecycle §1.11.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import asdict, frozen

from llamaswap.config.schema import Config, Model

PROCESS_FIELDS = ("cmd", "cmd_stop", "proxy", "env", "check_endpoint")
"""What a process is started, found ready, reached and stopped with."""


@frozen(kw_only=True)
class Difference:
    """The models of two configurations; every id of either is in exactly one list, sorted."""

    unchanged: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    """Described differently, but their processes may stay."""
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


def compare(old: Config, new: Config) -> Difference:
    """What happened to each model, wherever its automatic port went.

    A model that is unchanged may have another automatic port in `new` only if `new` was loaded
    without `sticky_ports`.
    """
    both = sorted(old.models.keys() & new.models.keys())
    same = {model for model in both if _same(old.models[model], new.models[model])}
    rest = [model for model in both if model not in same]
    kept = {model for model in rest if same_process(old.models[model], new.models[model])}
    return Difference(
        unchanged=tuple(model for model in both if model in same),
        adjusted=tuple(model for model in rest if model in kept),
        changed=tuple(model for model in rest if model not in kept),
        removed=tuple(sorted(old.models.keys() - new.models.keys())),
        added=tuple(sorted(new.models.keys() - old.models.keys())),
    )


def same_process(old: Model, new: Model) -> bool:
    """Whether a process started for `old` serves `new` as well."""
    return all(getattr(old, name) == getattr(new, name) for name in PROCESS_FIELDS)


def automatic_ports(config: Config) -> dict[str, int]:
    """The ports to hand to the next load as `sticky_ports`."""
    ports = ((model.id, model.auto_port) for model in config.models.values())
    return {model: port for model, port in ports if port is not None}


def _same(old: Model, new: Model) -> bool:
    if old == new:
        return True
    if old.auto_port is None or new.auto_port is None or old.auto_port == new.auto_port:
        return False
    return bool(_without_port(old) == _without_port(new))


def _without_port(model: Model) -> Any:
    values = asdict(model, filter=lambda attribute, _value: attribute.eq is not False)
    return _blanked(values, re.compile(rf"(?<!\d){model.auto_port}(?!\d)"), model.auto_port)


def _blanked(value: Any, pattern: re.Pattern[str], port: int | None) -> Any:
    """`value` with `port` blanked wherever it may have been put in."""
    match value:
        case str():
            return pattern.sub("${PORT}", value)
        case dict():
            return {
                _blanked(key, pattern, port): _blanked(item, pattern, port)
                for key, item in value.items()
            }
        case list() | tuple():
            return [_blanked(item, pattern, port) for item in value]
        case _:
            return "${PORT}" if type(value) is int and value == port else value
