"""Files to a resolved configuration, or to everything that is wrong with them.

Stages: files, merging, macro declarations, expansion, types, meaning. An error ends none of them:
the load goes on to its end with what could be read, so that all problems are reported in one go,
and only those, not what follows from them (see `Findings`).

Source: config §1.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from llamaswap.config import env, sources
from llamaswap.config.document import Table, get, is_null, kind, place_of
from llamaswap.config.expand import Expanded, expand
from llamaswap.config.merge import ENTITY_MAPS, merge
from llamaswap.config.models import resolve_models
from llamaswap.config.names import Names, collect_aliases
from llamaswap.config.peers import resolve_peers, resolve_profiles
from llamaswap.config.problems import (
    ConfigInvalid,
    Findings,
    KeyPath,
    Place,
    Problem,
    gathered,
    key_path,
)
from llamaswap.config.reader import keys_of, read
from llamaswap.config.routing import resolve_routing
from llamaswap.config.schema import Config
from llamaswap.config.sections import RootSection
from llamaswap.config.selectors import resolve_selectors
from llamaswap.config.settings import resolve_api_keys, resolve_settings
from llamaswap.config.yaml12 import Document, read_document


@frozen(kw_only=True)
class Loaded:
    """A configuration that can be used, and what was doubtful about it."""

    config: Config
    warnings: tuple[Problem, ...] = ()
    written: RootSection
    """The same as the operator wrote it, typed and after macros."""
    sources: tuple[str, ...] = ()
    """The files it came from, in the order they were merged."""
    says_nothing: bool = False
    """Whether there is no key in any of them."""
    origins: Mapping[str, Place] = field(factory=dict)
    """Where each top-level key, and each entry of the maps of entities, was written first."""


def load_config(
    config: Path | None,
    config_dir: Path | None,
    *,
    environ: Mapping[str, str],
    sticky_ports: Mapping[str, int] | None = None,
) -> Loaded:
    """Load the configuration from `config` and the directory `config_dir`.

    `sticky_ports`: automatic ports of models that run already, to be kept.

    Raises:
        ConfigInvalid: with every problem there is.
    """
    findings = Findings()
    found = sources.find(config, config_dir, findings.errors)
    findings.incomplete = bool(findings.errors)
    documents = list(_read_all(found, environ, findings))
    if not documents:
        findings.raise_errors()
    tables = [document.root for document in documents if isinstance(document.root, Table)]
    root = merge(tables, findings.errors)
    anchored = frozenset().union(*(document.anchored for document in documents))
    written, resolved = _understood(root, anchored, environ, sticky_ports or {}, findings)
    findings.errors.sort(key=_position(found))
    findings.raise_errors()
    return Loaded(
        config=resolved,
        warnings=gathered(findings.warnings),
        written=written,
        sources=tuple(source.name for source in found),
        says_nothing=not root.entries,
        origins=_origins(root),
    )


def _understood(
    root: Table,
    anchored: frozenset[str],
    environ: Mapping[str, str],
    sticky_ports: Mapping[str, int],
    findings: Findings,
) -> tuple[RootSection, Config]:
    """The merged document, expanded, typed and checked."""
    findings.locate = lambda path: place_of(root, path)
    root = env.substitute_again(root, environ, findings)
    for path in env.spoiled(root) if findings.errors else ():
        findings.spoil(path)
    findings.next_stage()
    expanded = expand(root, keys_of(RootSection), sticky_ports, findings)
    findings.locate = lambda path: place_of(expanded.root, path)
    findings.next_stage()
    written = read(expanded.root, anchored, findings, secret=is_secret)
    findings.next_stage()
    return written, _resolve(written, expanded, findings)


def _position(found: list[sources.Source]) -> Callable[[Problem], tuple[int, int]]:
    """The order of the files and their lines; what stands nowhere comes first."""
    order = {source.name: number for number, source in enumerate(found)}
    return lambda problem: (order.get(problem.file or "", -1), problem.line or 0)


def _origins(root: Table) -> dict[str, Place]:
    paths: list[KeyPath] = [(key,) for key in root.entries]
    for where in sorted(ENTITY_MAPS):
        node = get(root, *map(str, where))
        if isinstance(node, Table):
            paths += [(*where, entry) for entry in node.entries]
    return {key_path(path): place_of(root, path) for path in paths}


def is_secret(path: KeyPath) -> bool:
    """Whether no message may show the value at `path`."""
    return path[:1] == ("apiKeys",) or "apiKey" in path or "env" in path


def _read_all(
    found: list[sources.Source], environ: Mapping[str, str], findings: Findings
) -> Iterator[Document]:
    for source in found:
        try:
            document = _read(source, environ, findings)
        except ConfigInvalid as error:
            findings.errors.extend(error.problems)
            findings.incomplete = True
            continue
        findings.errors.extend(document.duplicates)
        if document.has_more:
            text = "only the first document of a file counts; the rest is not read"
            findings.warnings.append(Problem("W-DOCUMENTS", text, (), Place(source.name, None)))
        yield document


def _read(source: sources.Source, environ: Mapping[str, str], findings: Findings) -> Document:
    written = sources.read(source)
    text, faults = env.substitute(written, environ, source.name)
    document = None
    try:
        document = read_document(text, source.name)
    finally:
        root = None if document is None else document.root
        findings.errors.extend(env.problems_of(faults, root, written, source.name))
    if root is not None and not isinstance(root, Table) and not is_null(root):
        reason = f"the file must hold keys and values, not {kind(root)}"
        raise ConfigInvalid((Problem("E-FILE-TOP", reason, (), root.place),))
    return document


def _resolve(written: RootSection, expanded: Expanded, findings: Findings) -> Config:
    settings = resolve_settings(written, findings)
    names = collect_aliases(written.models, findings)
    models = resolve_models(written, names, expanded, findings)
    routing = resolve_routing(written, names, findings)
    routing_stands = names.aliases_known and not any(
        findings.is_doubtful(path) for path in (("routing", "router"), ("groups",), ("matrix",))
    )
    preload = _preload(written, names, findings)
    api_keys = resolve_api_keys(written, findings)
    peers = resolve_peers(written, names, findings)
    selectors = resolve_selectors(
        written.selectors, names, routing if routing_stands else None, findings
    )
    profiles = resolve_profiles(written.profiles, names, written.selectors, findings)
    return Config(
        **settings,
        macros=written.macros,
        models=models,
        aliases={alias: model for alias, model in names.aliases.items() if alias not in models},
        routing=routing,
        peers=peers,
        selectors=selectors,
        profiles=profiles,
        preload=preload,
        api_keys=api_keys,
    )


def _preload(written: RootSection, names: Names, findings: Findings) -> tuple[str, ...]:
    models = []
    for index, item in enumerate(written.hooks.on_startup.preload):
        name = item.strip()
        model = names.local(name) if name else None
        if model is not None:
            models.append(model)
        elif name and names.aliases_known:
            path = ("hooks", "on_startup", "preload", index)
            findings.warn("W-PRELOAD", path, f"there is no local model '{name}' to preload")
    return tuple(models)
