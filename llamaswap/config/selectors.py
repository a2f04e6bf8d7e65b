"""Checking and resolving selectors.

Source: config §2.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from llamaswap.config.names import Names
from llamaswap.config.problems import Findings, KeyPath
from llamaswap.config.routing import may_run_together
from llamaswap.config.schema import Routing, Selector
from llamaswap.config.sections import SelectorSection

STRATEGIES = ("warm", "pin", "spillover")


def resolve_selectors(
    written: Mapping[str, SelectorSection],
    names: Names,
    routing: Routing | None,
    findings: Findings,
) -> dict[str, Selector]:
    """All selectors in the order of their ids. `routing` is None if it is itself in error."""
    return {
        selector: _selector(selector, written, names, routing, findings)
        for selector in sorted(written)
    }


def _selector(
    selector: str,
    written: Mapping[str, SelectorSection],
    names: Names,
    routing: Routing | None,
    findings: Findings,
) -> Selector:
    section = written[selector]
    path: KeyPath = ("selectors", selector)
    _check_name(selector, names, findings)
    if section.strategy not in STRATEGIES:
        what = (
            f"'{section.strategy}' is none of" if section.strategy else "'strategy' must be one of"
        )
        text = f"selector '{selector}': {what} {', '.join(STRATEGIES)}"
        findings.error("E-SEL-STRAT", (*path, "strategy"), text)
    if not section.targets and not findings.is_doubtful((*path, "targets")):
        text = f"selector '{selector}' needs 'targets', a list of models"
        findings.error("E-SEL-TARGETS", (*path, "targets"), text)
    for index, target in enumerate(section.targets):
        _check_target(selector, section, index, target, written, names, findings)
    if section.strategy == "spillover":
        if section.settings.spillover < 1:
            text = f"selector '{selector}': {section.settings.spillover} is too low; at least 1"
            findings.error("E-SEL-SPILL", (*path, "settings", "spillover"), text)
        if not findings.is_doubtful((*path, "targets")) and names.all_known:
            _check_spillover(selector, section, names, routing, findings)
    return Selector(
        id=selector,
        strategy=cast(Literal["warm", "pin", "spillover"], section.strategy),
        targets=tuple(section.targets),
        spillover=section.settings.spillover,
        name=section.name,
        description=section.description,
        unlisted=section.unlisted,
        metadata=section.metadata,
    )


def _check_name(selector: str, names: Names, findings: Findings) -> None:
    path = ("selectors", selector)
    if not selector.strip():
        findings.error("E-SEL-NAME", path, "a selector needs an id that is not blank")
    if selector in names.models:
        text = f"the selector '{selector}' has the id of a model; rename one"
        findings.error("E-SEL-MODEL", path, text)
    elif selector in names.aliases:
        owner = names.aliases[selector]
        text = f"the selector '{selector}' has the name of an alias of model '{owner}'; rename one"
        findings.error("E-SEL-ALIAS", path, text)


def _check_target(
    selector: str,
    section: SelectorSection,
    index: int,
    target: str,
    written: Mapping[str, SelectorSection],
    names: Names,
    findings: Findings,
) -> None:
    path = ("selectors", selector, "targets", index)
    who = f"selector '{selector}', target {index}: '{target}'"
    if target in written and target not in names.models:  # such a selector has its own problem
        text = f"{who} is a selector; targets are models"
        findings.error("E-SEL-CHAIN", path, text)
    elif names.resolve(target) is None:
        if names.all_known:
            text = f"{who} is no model, alias or peer model that is offered by exactly one peer"
            findings.error("E-SEL-UNKNOWN", path, text)
    elif section.strategy == "warm" and names.local(target) is None and names.aliases_known:
        text = f"{who} runs on a peer, but the strategy warm takes only local models"
        findings.error("E-SEL-LOCAL", path, text)


def _check_spillover(
    selector: str,
    section: SelectorSection,
    names: Names,
    routing: Routing | None,
    findings: Findings,
) -> None:
    path: KeyPath = ("selectors", selector, "targets")
    seen: set[str] = set()
    for index, target in enumerate(section.targets):
        real = names.resolve(target)
        assert real is not None
        if real in seen:
            text = f"selector '{selector}': target {index}, '{target}', is '{real}' once more"
            findings.error("E-SEL-DUP", (*path, index), text)
        seen.add(real)
    local = seen & names.models
    if routing is not None and not may_run_together(routing, local):
        both = ", ".join(sorted(local))
        text = (
            f"selector '{selector}' spills over between {both}, which cannot run together; put "
            "them into one group with 'swap: false' or one set of the matrix"
        )
        findings.error("E-SEL-COEXIST", path, text)
