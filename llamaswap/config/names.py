"""Who answers to which name: model ids, aliases, peer models.

Source: config §2.5, §2.5.2, §2.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import define, field

from llamaswap.config.env import MARK
from llamaswap.config.model_sections import ModelSection
from llamaswap.config.problems import Findings, KeyPath


def _names_models(path: KeyPath) -> bool:
    """Whether what stands at `path` may be the name of a model."""
    return path == ("models",) or (path[0] == "models" and len(path) == 2 and MARK in str(path[1]))


def _names_aliases(path: KeyPath) -> bool:
    by_id = path[2:3] == ("filters",) and (len(path) == 3 or path[3] == "setParamsByID")
    return path[0] == "models" and (len(path) == 2 or path[2] == "aliases" or by_id)


def _names_others(path: KeyPath) -> bool:
    return path == ("selectors",) or (
        path[0] == "peers" and (len(path) <= 2 or path[2] == "models")
    )


@define
class Names:
    """All names a request may use, and what each means."""

    models: frozenset[str]
    aliases: dict[str, str] = field(factory=dict)
    """Alias, explicit or derived, to model id; also those that a model id shadows."""
    of_model: dict[str, list[str]] = field(factory=dict)
    """Each model's aliases, the derived ones last."""
    peer_models: dict[str, tuple[str, str]] = field(factory=dict)
    """Full name to peer and model."""
    bare: dict[str, set[str]] = field(factory=dict)
    """Bare name of a peer model to its full names."""
    models_known: bool = True
    """Whether all models are in `models`: a name that none of them has is an error."""
    aliases_known: bool = True
    """The same of `aliases`."""
    all_known: bool = True
    """The same of everything else that has a name."""

    def local(self, name: str) -> str | None:
        """The local model `name` means."""
        return name if name in self.models else self.aliases.get(name)

    def resolve(self, name: str) -> str | None:
        """The local model or full peer name `name` means. Selectors are not looked at."""
        if (model := self.local(name)) is not None:
            return model
        if name in self.peer_models:
            return name
        full = self.bare.get(name, set())
        return next(iter(full)) if len(full) == 1 else None


def collect_aliases(models: Mapping[str, ModelSection], findings: Findings) -> Names:
    """The alias table: what models list, then what their `setParamsByID` keys add."""
    names = Names(
        frozenset(models),
        models_known=_all_read(findings, _names_models),
        aliases_known=_all_read(findings, _names_models, _names_aliases),
        all_known=_all_read(findings, _names_models, _names_aliases, _names_others),
    )
    for model in sorted(models):
        _explicit(model, models[model], names, findings)
    for model in sorted(models):
        _derived(model, models[model], names, findings)
    return names


def _all_read(findings: Findings, *kinds: Callable[[KeyPath], bool]) -> bool:
    if findings.incomplete:
        return False
    return not any(names(path) for path in findings.spoiled() for names in kinds)


def _explicit(model: str, section: ModelSection, names: Names, findings: Findings) -> None:
    names.of_model[model] = list(section.aliases)
    for index, alias in enumerate(section.aliases):
        path = ("models", model, "aliases", index)
        owner = names.aliases.setdefault(alias, model)
        if owner != model or alias in section.aliases[:index]:
            both = "twice" if owner == model else f"and so has model '{owner}'"
            text = f"model '{model}' has the alias '{alias}' {both}; each alias stands once"
            findings.error("E-ALIAS-DUP", path, text)
        elif alias in names.models:
            text = f"'{alias}' is also the id of a model, and that is what the name means"
            findings.warn("W-SHADOWED", path, text)


def _derived(model: str, section: ModelSection, names: Names, findings: Findings) -> None:
    for key in sorted(section.filters.set_params_by_id):
        if key == model:
            continue
        path = ("models", model, "filters", "setParamsByID", key)
        if key in names.models:
            text = f"model '{model}' cannot use '{key}', which is the id of another model"
            findings.error("E-BYID-MODEL", path, text)
            continue
        owner = names.aliases.setdefault(key, model)
        if owner != model:
            text = f"model '{model}' cannot use '{key}', which is an alias of model '{owner}'"
            findings.error("E-BYID-ALIAS", path, text)
        elif key not in names.of_model[model]:
            names.of_model[model].append(key)
