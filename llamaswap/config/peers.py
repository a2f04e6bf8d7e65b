"""Checking and resolving peers, selectors and profiles: everything that names other things.

Source: config §2.7 to §2.9.
"""

from __future__ import annotations

from collections.abc import Mapping

from llamaswap.config.models import resolve_filters, resolve_timeouts
from llamaswap.config.names import Names
from llamaswap.config.problems import Findings
from llamaswap.config.schema import Peer, Profile
from llamaswap.config.sections import PeerSection, ProfileSection, RootSection
from llamaswap.config.urls import url_doubt, url_fault

PEER_RESPONSE_HEADER = 60


def resolve_peers(written: RootSection, names: Names, findings: Findings) -> dict[str, Peer]:
    """All peers in the order of their ids; their models become known to `names`."""
    peers = {peer: _peer(peer, written.peers[peer], findings) for peer in sorted(written.peers)}
    for peer in peers.values():
        names.all_known &= bool(peer.models)
        for model in sorted(peer.models):
            _name(peer.id, model, names, findings)
    for full in sorted(names.peer_models):
        if owner := _other_owner(full, written, names):
            offering, _model = names.peer_models[full]
            text = f"'{full}' is {owner}, and also what peer '{offering}' offers; rename one"
            findings.error("E-PEER-CLASH", ("peers", offering, "models"), text)
    return peers


def resolve_profiles(
    written: Mapping[str, ProfileSection],
    names: Names,
    selectors: Mapping[str, object],
    findings: Findings,
) -> dict[str, Profile]:
    """All profiles in the order of their names."""
    return {
        name: _profile(name, written[name], names, selectors, findings) for name in sorted(written)
    }


def _peer(peer: str, section: PeerSection, findings: Findings) -> Peer:
    path = ("peers", peer)
    if not section.proxy:
        text = f"peer '{peer}' needs 'proxy', the URL of the server"
        findings.error("E-PEER-PROXY", (*path, "proxy"), text)
    elif fault := url_fault(section.proxy):
        text = f"peer '{peer}': '{section.proxy}' is no URL: {fault}"
        findings.error("E-PEER-URL", (*path, "proxy"), text)
    elif doubt := url_doubt(section.proxy):
        text = f"peer '{peer}' cannot be reached at '{section.proxy}': {doubt}"
        findings.warn("W-URL", (*path, "proxy"), text)
    if not section.models and not findings.is_doubtful((*path, "models")):
        text = f"peer '{peer}' needs 'models', the list of models it offers"
        findings.error("E-PEER-MODELS", (*path, "models"), text)
    return Peer(
        id=peer,
        proxy=section.proxy,
        models=tuple(dict.fromkeys(section.models)),
        api_key=section.api_key,
        filters=resolve_filters(section.filters),
        timeouts=resolve_timeouts(
            section.timeouts,
            (*path, "timeouts"),
            findings,
            response_header=PEER_RESPONSE_HEADER,
        ),
    )


def _name(peer: str, model: str, names: Names, findings: Findings) -> None:
    full = f"{peer}/{model}"
    first = names.peer_models.setdefault(full, (peer, model))
    names.bare.setdefault(model, set()).add(full)
    if first != (peer, model):
        text = (
            f"'{full}' means model '{first[1]}' of peer '{first[0]}' and model '{model}' of "
            f"peer '{peer}'; rename a peer"
        )
        findings.error("E-PEER-AMBIG", ("peers", peer, "models"), text)


def _other_owner(full: str, written: RootSection, names: Names) -> str | None:
    if full in names.models:
        return f"the id of model '{full}'"
    if full in names.aliases:
        return f"an alias of model '{names.aliases[full]}'"
    if full in written.selectors:
        return f"the id of selector '{full}'"
    pinned = (name for name, profile in sorted(written.profiles.items()) if full in profile.pins)
    profile = next(pinned, None)
    return None if profile is None else f"a pin of profile '{profile}'"


def _profile(
    name: str,
    section: ProfileSection,
    names: Names,
    selectors: Mapping[str, object],
    findings: Findings,
) -> Profile:
    path = ("profiles", name)
    if not name.strip():
        findings.error("E-PROF-NAME", path, "a profile needs a name that is not blank")
    if not section.pins:
        text = f"profile '{name}' needs 'pins', at least one requested name and its target"
        findings.error("E-PROF-EMPTY", (*path, "pins"), text)
    for pin, target in section.pins.items():
        here = (*path, "pins", pin)
        if not pin.strip():
            text = f"profile '{name}': the requested name '{pin}' is blank"
            findings.error("E-PROF-PIN", here, text)
        unknown = target not in selectors and names.resolve(target) is None
        if target and unknown and names.all_known:
            text = (
                f"profile '{name}': '{pin}' is pinned to '{target}', which is no model, alias, "
                "peer model or selector"
            )
            findings.error("E-PROF-TARGET", here, text)
    return Profile(name=name, pins=section.pins, description=section.description)
