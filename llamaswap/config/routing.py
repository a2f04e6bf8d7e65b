"""Checking and resolving which models run together and which request goes next.

Source: config §2.6, parts 5 and 6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from attrs import define

from llamaswap.config import matrix_dsl
from llamaswap.config.matrix_check import one_set_holds
from llamaswap.config.names import Names
from llamaswap.config.problems import Findings, KeyPath
from llamaswap.config.routing_sections import (
    BatchSection,
    FifoSection,
    GroupSection,
    MatrixSection,
)
from llamaswap.config.schema import DEFAULT_GROUP, Batch, Fifo, Group, Matrix, Routing
from llamaswap.config.sections import RootSection

ROUTERS = ("group", "matrix")
SCHEDULERS = ("fifo", "batch")
_VAR = re.compile(r"[A-Za-z0-9.-]{1,32}")
_NEW: KeyPath = ("routing", "router", "settings")


@define
class _Router:
    """What decides, and where it was written."""

    groups: Mapping[str, GroupSection] | None
    matrix: MatrixSection | None
    path: KeyPath


def resolve_routing(written: RootSection, names: Names, findings: Findings) -> Routing:
    """The canonical form, whichever way it was written."""
    router = _router(written, findings)
    if _contested(written, findings):
        _check_others(written, router, names, findings)
    scheduler = _scheduler(written, findings)
    fifo = _fifo(written.routing.scheduler.settings.fifo, names, findings)
    batch = _batch(written.routing.scheduler.settings.batch, names, findings)
    if router.matrix is not None:
        matrix = _matrix(router.matrix, router.path, names, findings)
        return Routing(router="matrix", matrix=matrix, scheduler=scheduler, fifo=fifo, batch=batch)
    groups = _groups(router.groups or {}, router.path, names, findings)
    groups = _completed(groups, router.path, names, findings)
    return Routing(groups=groups, scheduler=scheduler, fifo=fifo, batch=batch)


def may_run_together(routing: Routing, models: set[str]) -> bool:
    """Whether all `models` can be resident at once. Source: config §2.8."""
    if len(models) < 2:
        return True
    if routing.matrix is not None:
        return one_set_holds(models, routing.matrix.sets, routing.matrix.vars)
    return any(not group.swap and models <= set(group.members) for group in routing.groups.values())


def _contested(written: RootSection, findings: Findings) -> bool:
    """Whether it is written in more than one way, which is an error."""
    new = written.routing.router
    legacy = written.matrix is not None or bool(written.groups)
    mixed = legacy and (new.use or new.settings.matrix is not None or new.settings.groups)
    if mixed:
        old = "matrix" if written.matrix is not None else "groups"
        text = f"'{old}' at the top level and 'routing.router' exclude each other; move it there"
        findings.error("E-ROUTE-MIX", (old,), text)
    both = written.matrix is not None and bool(written.groups)
    if both:
        text = "'groups' and 'matrix' exclude each other; keep one of them"
        findings.error("E-GROUPS-MATRIX", ("matrix",), text)
    return bool(mixed) or both


def _check_others(written: RootSection, router: _Router, names: Names, findings: Findings) -> None:
    """Check what `router` leaves aside: nobody knows which of the ways will stay."""
    settings = written.routing.router.settings
    for path, groups in ((("groups",), written.groups), ((*_NEW, "groups"), settings.groups)):
        if path != router.path:
            _groups(groups, path, names, findings)
    path = (*_NEW, "matrix")
    if settings.matrix is not None and path != router.path:
        _matrix(settings.matrix, path, names, findings)


def _router(written: RootSection, findings: Findings) -> _Router:
    new = written.routing.router
    if new.use not in ("", *ROUTERS):
        text = f"'{new.use}' is no router; use {' or '.join(ROUTERS)}"
        findings.error("E-ROUTE-UNKNOWN", ("routing", "router", "use"), text)
    if written.matrix is not None:
        return _Router(None, written.matrix, ("matrix",))
    if written.groups:
        return _Router(written.groups, None, ("groups",))
    if new.use != "matrix":
        return _Router(new.settings.groups, None, (*_NEW, "groups"))
    if new.settings.matrix is None and not findings.incomplete:
        text = "'use: matrix' needs 'routing.router.settings.matrix'"
        findings.error("E-ROUTE-MATRIX", ("routing", "router", "use"), text)
    if new.settings.matrix is None:
        return _Router({}, None, (*_NEW, "groups"))
    return _Router(None, new.settings.matrix, (*_NEW, "matrix"))


def _groups(
    written: Mapping[str, GroupSection], path: KeyPath, names: Names, findings: Findings
) -> dict[str, Group]:
    owners: dict[str, str] = {}
    result = {}
    for group, section in written.items():
        members = _members(group, section.members, (*path, group, "members"), names, findings)
        for member in members:
            if (owner := owners.setdefault(member, group)) != group:
                text = f"model '{member}' is in group '{group}' and in group '{owner}'; keep one"
                index = [names.local(name) for name in section.members].index(member)
                findings.error("E-GROUP-MULTI", (*path, group, "members", index), text)
        result[group] = Group(
            members=tuple(members),
            swap=section.swap,
            exclusive=section.exclusive,
            persistent=section.persistent,
        )
    return result


def _members(
    group: str, written: list[str], path: KeyPath, names: Names, findings: Findings
) -> list[str]:
    result: list[str] = []
    plain = set(names.models.intersection(written))
    for index, member in enumerate(written):
        here = (*path, index)
        model = names.local(member)
        if model is None:
            if names.aliases_known:
                text = f"group '{group}': there is no model '{member}'"
                findings.error("E-GROUP-MEMBER", here, text)
        elif member not in names.models:
            text = f"group '{group}': '{member}' is an alias; the model '{model}' is the member"
            findings.warn("W-ALIAS", here, text)
            if model not in result and model not in plain:
                result.append(model)
        elif member in result:
            text = f"model '{member}' stands twice in group '{group}'; once is enough"
            findings.error("E-GROUP-DUP", here, text)
        else:
            result.append(model)
    return result


def _completed(
    groups: dict[str, Group], path: KeyPath, names: Names, findings: Findings
) -> dict[str, Group]:
    """`groups` with the implicit one, which holds every model that is in no other."""
    own = groups.get(DEFAULT_GROUP)
    grouped = {member for group in groups.values() for member in group.members}
    others = tuple(sorted(names.models - grouped))
    if own is None:
        return groups | {DEFAULT_GROUP: Group(members=others)}
    text = f"'{DEFAULT_GROUP}' is also the group of all models in no other; they are added to it"
    findings.warn("W-DEFAULT-GROUP", (*path, DEFAULT_GROUP), text)
    completed = Group(
        members=own.members + others,
        swap=own.swap,
        exclusive=own.exclusive,
        persistent=own.persistent,
    )
    return groups | {DEFAULT_GROUP: completed}


def _matrix(written: MatrixSection, path: KeyPath, names: Names, findings: Findings) -> Matrix:
    sets = written.sets
    if not sets and not findings.incomplete:
        text = "a matrix needs 'sets' with at least one set of models that may run together"
        findings.error("E-MX-NOSETS", (*path, "sets"), text)
    for name, model in written.vars.items():
        here = (*path, "vars", name)
        if not _VAR.fullmatch(name):
            text = f"the var '{name}' must be 1 to 32 letters, digits, '.' or '-'"
            findings.error("E-MX-VARKEY", here, text)
        if model not in names.models and names.models_known:
            text = f"the var '{name}' stands for '{model}', which is no model id"
            findings.error("E-MX-VARMODEL", here, text)
    known = names.models_known and not findings.is_spoiled((*path, "vars"))
    costs = _costs(written, path, names, findings, known=known)
    for problem in matrix_dsl.check_sets(sets or {}, written.vars, names.models):
        if problem.code == "E-MX-IDENT" and not known:
            continue
        if problem.code == "E-MX-REF" and findings.incomplete:
            continue
        text = f"set '{problem.set_name}': {problem.text}"
        findings.error(problem.code, (*path, "sets", problem.set_name), text)
    return Matrix(sets=sets or {}, vars=written.vars, evict_costs=costs)


def _costs(
    written: MatrixSection, path: KeyPath, names: Names, findings: Findings, *, known: bool
) -> dict[str, int]:
    result: dict[str, int] = {}
    for key, cost in written.evict_costs.items():
        here = (*path, "evict_costs", key)
        if cost <= 0:
            text = f"the cost {cost} of '{key}' is too low; it must be at least 1"
            findings.error("E-MX-COST", here, text)
        model = written.vars.get(key, key)
        if model not in names.models:
            if key not in written.vars and known:
                text = f"'{key}' is neither a var nor a model id"
                findings.error("E-MX-COSTKEY", here, text)
            continue
        if model in result:
            text = (
                f"model '{model}' has two costs; the larger one, {max(cost, result[model])}, counts"
            )
            findings.warn("W-COST", here, text)
        result[model] = max(cost, result.get(model, cost))
    return result


def _scheduler(written: RootSection, findings: Findings) -> Literal["fifo", "batch"]:
    match written.routing.scheduler.use:
        case "batch":
            return "batch"
        case "fifo" | "":
            return "fifo"
        case other:
            text = f"'{other}' is no scheduler; use {' or '.join(SCHEDULERS)}"
            findings.error("E-SCHED-UNKNOWN", ("routing", "scheduler", "use"), text)
            return "fifo"


def _fifo(section: FifoSection, names: Names, findings: Findings) -> Fifo:
    path = ("routing", "scheduler", "settings", "fifo")
    return Fifo(
        priority=_priority(section.priority, (*path, "priority"), names, findings),
        max_wait=_at_least_zero(section.max_wait, (*path, "maxWait"), findings),
    )


def _batch(section: BatchSection, names: Names, findings: Findings) -> Batch:
    path = ("routing", "scheduler", "settings", "batch")
    if section.max_queue < 1:
        text = f"{section.max_queue} is too low; 1 is used"
        findings.warn("W-VALUE", (*path, "maxQueue"), text)
    return Batch(
        priority=_priority(section.priority, (*path, "priority"), names, findings),
        max_wait=_at_least_zero(section.max_wait, (*path, "maxWait"), findings),
        max_queue=max(section.max_queue, 1),
        patience=_at_least_zero(section.patience, (*path, "patience"), findings),
        min_visit=_at_least_zero(section.min_visit, (*path, "minVisit"), findings),
    )


def _at_least_zero(value: float, path: KeyPath, findings: Findings) -> float:
    if value < 0:
        findings.warn("W-VALUE", path, f"{value:g} makes no sense; 0 is used")
    return max(value, 0.0)


def _priority(
    written: Mapping[str, int], path: KeyPath, names: Names, findings: Findings
) -> dict[str, int]:
    result: dict[str, int] = {}
    for name, priority in written.items():
        model = names.local(name)
        if model is None:
            if names.aliases_known:
                text = f"there is no model '{name}'"
                findings.error("E-PRIO-MODEL", (*path, name), text)
        elif name == model:
            result[model] = priority
        elif model not in written:  # the real id wins over an alias
            result.setdefault(model, priority)
    return result
