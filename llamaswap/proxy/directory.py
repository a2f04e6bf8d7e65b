"""Every name a request may use and where it leads, looked up in one step. Source: http-api §2.2.

Built once per configuration, so that a request to a plain model pays for nothing it does not use.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from llamaswap.config.schema import Config, Filters, Model, Selector
from llamaswap.proxy.environment import OutgoingProxies
from llamaswap.proxy.json_edit import Edits
from llamaswap.proxy.peers import PeerLink


@frozen(eq=False)
class Destination:
    """What a name means: a local model, or a model of a peer."""

    requested: str
    """The name itself."""
    model: str
    """Real id of a local model; for a peer's the name as requested."""
    peer: PeerLink | None = None
    edits: Edits | None = None
    """What is done to JSON bodies; None: nothing."""
    body_model: str | None = None
    """The model's name in bodies, if it is not the requested one."""
    query_model: str | None = None
    """The model's name in queries and urlencoded bodies, if it is not the requested one."""


@frozen(eq=False)
class Directory:
    """The names of one configuration."""

    selectors: Mapping[str, Selector] = field(factory=dict)
    _known: Mapping[str, Destination] = field(factory=dict)
    links: Mapping[str, PeerLink] = field(factory=dict)

    @classmethod
    def of(
        cls, config: Config, proxies: OutgoingProxies, before: Directory | None = None
    ) -> Directory:
        """Build the directory; `before`: whose links to unchanged peers are kept."""
        old = before.links if before is not None else {}
        links = {
            peer.id: old[peer.id]
            if peer.id in old and old[peer.id].peer == peer
            else PeerLink.to(peer, proxies)
            for peer in config.peers.values()
        }
        known = _peers(config, links)
        for alias, model in config.aliases.items():
            known[alias] = _local(config.models[model], alias)
        for model in config.models:  # local names win, ids before aliases
            known[model] = _local(config.models[model], model)
        return cls(config.selectors, known, links)

    def find(self, name: str) -> Destination | None:
        """Where a name leads: local id, alias, a peer's full name, a bare name only one peer has.

        Selectors and profiles are not looked at.
        """
        return self._known.get(name)

    def resolved(self, name: str) -> str:
        """One spelling for all names of the same model: the real id, or the peer's full name."""
        found = self._known.get(name)
        if found is None:
            return name
        if found.peer is None:
            return found.model
        return f"{found.peer.peer.id}/{found.query_model or found.requested}"


def _local(model: Model, name: str) -> Destination:
    return Destination(
        name,
        model.id,
        edits=_edits(model.filters, name),
        body_model=model.use_model_name or None,
    )


def _peers(config: Config, links: Mapping[str, PeerLink]) -> dict[str, Destination]:
    """Full names, and bare names that stand for one peer only; a full name wins."""
    full: dict[str, Destination] = {}
    bare: dict[str, Destination | None] = {}
    for peer in config.peers.values():
        for model in dict.fromkeys(peer.models):
            name = f"{peer.id}/{model}"
            link, filters = links[peer.id], peer.filters
            full[name] = Destination(name, name, link, _edits(filters, name), model, model)
            alone = Destination(model, model, link, _edits(filters, model))
            bare[model] = None if model in bare else alone
    return {**{name: found for name, found in bare.items() if found is not None}, **full}


def _edits(filters: Filters, requested: str) -> Edits | None:
    by_id = filters.set_params_by_id.get(requested) or {}
    return Edits.of(filters.strip_params, filters.set_params, by_id) or None
